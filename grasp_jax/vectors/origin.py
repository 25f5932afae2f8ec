"""Where vectors come from, in the words that logs, reports and plots use."""

import ml_collections


def origin(config: ml_collections.ConfigDict) -> str:
    """What made the vectors of a config, in one phrase; empty where the method reads none.

    Args:
      config: the full config; reads `model.method`, `encode`, `text.writer` and `llm.model`.
    """
    settings = config.encode
    if config.model.method == 'none':
        return ''
    if settings.kind == 'precomputed':
        return f'made elsewhere, read from {settings.item_vectors or "files"}'
    written = config.text.writer == 'model'
    texts = f'texts that the language model {config.llm.model} wrote' if written else 'the filled templates'
    if settings.kind == 'sentence_transformers':
        return f'the sentence encoder {settings.model} over {texts}'
    if settings.kind == 'openai':
        return f'the embedding model {settings.model} over {texts}'
    how = 'LSA' if settings.kind == 'lsa' else 'words in random directions'
    return f'{how} over {texts}' if written else f'{how} over the texts, no language model'

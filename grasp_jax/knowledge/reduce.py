"""The stage `reduce`: the items' LLM vectors brought down to the hidden size, from which id embeddings can start."""

import pathlib
from typing import Any

import numpy as np

from grasp_jax.errors import UserError

REDUCED = 'items_reduced.npy'


def reduce_items(items: np.ndarray, width: int, folder: pathlib.Path) -> dict[str, Any]:
    """Writes `items_reduced.npy`, float32 [m + 1, width]: a principal component analysis, row 0 zero.

    The components keep their proportions; the whole is scaled to the standard deviation of a fresh id embedding.

    Args:
      items: [m + 1, E], row 0 the padding item.
      width: H.
      folder: where the file goes.

    Returns:
      Facts: the width and the share of the variance that is kept.

    Raises:
      UserError: there are fewer items or components than that.
    """
    from sklearn.decomposition import PCA
    count, wide = items.shape
    if width > min(count - 1, wide):
        raise UserError(f'config.model.hidden_size={width}: LLM vectors of {count - 1} items, {wide} wide, cannot be '
                        f'reduced to it; use at most {min(count - 1, wide)}, or another method')
    found = PCA(width, svd_solver='covariance_eigh')
    reduced = found.fit_transform(np.asarray(items[1:], np.float32))
    reduced *= START_SCALE / max(float(reduced.std()), 1e-12)
    np.save(folder / REDUCED, np.concatenate([np.zeros((1, width)), reduced]).astype(np.float32), allow_pickle=False)
    return {'width': width, 'variance_kept': round(float(found.explained_variance_ratio_.sum()), 4)}


# Standard deviation of id embeddings at the start, as `models.item_encoders.EMBEDDING_INIT`.
START_SCALE = 0.02


def load_reduced(folder: pathlib.Path) -> np.ndarray:
    """Opens what `reduce_items` wrote."""
    return np.load(folder / REDUCED, allow_pickle=False)

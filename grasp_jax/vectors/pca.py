"""The stage `reduce`: the items' LLM vectors brought down to the hidden size, from which id embeddings can start."""

import pathlib
from typing import Any

import numpy as np
import threadpoolctl

REDUCED = 'items_reduced.npy'
PROJECTION = 'projection.npy'


def reduce_items(items: np.ndarray, width: int, folder: pathlib.Path, projected: bool = False) -> dict[str, Any]:
    """Writes `items_reduced.npy`, float32 [m + 1, width]: a principal component analysis, row 0 zero.

    The components keep their proportions; the whole is scaled to the standard deviation of a fresh id embedding. Where
    there are fewer components than that, the columns behind them are small random numbers as in a fresh one.

    Args:
      items: [m + 1, E], row 0 the padding item.
      width: H.
      folder: where the file goes.
      projected: whether `projection.npy` is written too, float32 [E, width]: the principal components, for vectors that
        are not centred; columns behind them are zero.

    Returns:
      Facts: the width, the number of components and the share of the variance that is kept.
    """
    from sklearn.decomposition import PCA
    count, wide = items.shape
    components = min(width, count - 1, wide)
    found = PCA(components, svd_solver='covariance_eigh')
    with threadpoolctl.threadpool_limits(1):  # sums that threads share are rounded otherwise
        reduced = found.fit_transform(np.asarray(items[1:], np.float32))
    reduced *= START_SCALE / max(float(reduced.std()), 1e-12)
    start = np.random.default_rng(0).normal(0, START_SCALE, (count, width)).astype(np.float32)
    start[0], start[1:, :components] = 0, reduced
    np.save(folder / REDUCED, start, allow_pickle=False)
    if projected:
        projection = np.zeros((wide, width), np.float32)
        projection[:, :components] = found.components_.T
        np.save(folder / PROJECTION, projection, allow_pickle=False)
    return {'width': width, 'components': components,
            'variance_kept': round(float(found.explained_variance_ratio_.sum()), 4)}


# Standard deviation of id embeddings at the start, as `models.item_encoders.EMBEDDING_INIT`.
START_SCALE = 0.02


def load_reduced(folder: pathlib.Path) -> np.ndarray:
    """Opens what `reduce_items` wrote."""
    return np.load(folder / REDUCED, allow_pickle=False)


def load_projection(folder: pathlib.Path) -> np.ndarray | None:
    """Opens the projection that `reduce_items` wrote; None where it was not asked for."""
    path = folder / PROJECTION
    return np.load(path, allow_pickle=False) if path.exists() else None

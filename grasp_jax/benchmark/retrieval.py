"""`benchmark retrieve`: the 10 nearest of every item by exact search, ScaNN and scikit-learn's brute force."""

import pathlib
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from grasp_jax.benchmark import timing, workload
from grasp_jax.common.errors import UserError
from grasp_jax.retrieval import exact, scann_index
from grasp_jax.retrieval.neighbours import recall

_RECALL_ROWS = 2000


def measure(size: workload.Size, k: int, vectors: np.ndarray | None, others: bool = True) -> list[dict[str, Any]]:
    """One row for each search.

    Args:
      size: the workload's; its items are searched where no vectors are given.
      k: neighbours a row.
      vectors: [r, E], or None for clustered random vectors.
      others: whether scikit-learn takes part.

    Raises:
      UserError: there are not more items than neighbours.
    """
    if vectors is None and size.items <= k:
        raise UserError(f'--k={k}: there are {size.items} items; ask for fewer neighbours')
    found = clustered(size.items, size.width) if vectors is None else np.asarray(vectors, np.float32)
    searches: dict[str, Callable[[], np.ndarray]] = {'exact (grasp_jax)': lambda: exact.nearest(found, k)}
    if others:
        searches['scikit-learn brute force'] = lambda: _scikit(found, k)
        _scikit(found[:2 * k + 2], k)  # imports
    if scann_index.installed():
        searches['ScaNN'] = lambda: scann_index.nearest(found, k)
    rows = []
    exact.nearest(found, k, rows=np.zeros(1, int))  # compiles
    for name, search in searches.items():
        begin = time.perf_counter()
        ids, peak = timing.with_peak_memory(search)
        seconds = time.perf_counter() - begin
        rows.append({'search': name, 'rows': len(found), 'width': found.shape[1], 'k': k, 'seconds': seconds,
                     'peak_bytes': peak, 'recall': recall(found, ids, _RECALL_ROWS),
                     'recall_rows': min(_RECALL_ROWS, len(found))})
    return rows


def clustered(count: int, width: int, seed: int = 0) -> np.ndarray:
    """Unit vectors [count, width] around random centres, about 50 to a centre, so that there is something to find."""
    centres = np.empty((max(count // 50, 1), width), np.float32)
    workload.fill_with_unit_vectors(centres, seed)
    noise = np.empty((count, width), np.float32)
    workload.fill_with_unit_vectors(noise, seed + 1)
    noise += centres[np.random.default_rng(seed).integers(len(centres), size=count)]
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    return noise


def load(path: str, k: int) -> np.ndarray:
    """Vectors [rows, width] of a .npy file.

    Raises:
      UserError: the file cannot be read, or holds no finite vectors of more than k rows.
    """
    try:
        found = np.load(pathlib.Path(path), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f'--vectors={path}: cannot be read as a .npy array ({error})') from error
    if not isinstance(found, np.ndarray) or found.ndim != 2 or found.dtype.kind != 'f' or len(found) <= k:
        raise UserError(f'--vectors={path}: holds no array [rows, width] of floating-point numbers with more than '
                        f'{k} rows')
    if not np.isfinite(found).all():
        raise UserError(f'--vectors={path}: has numbers that are not finite')
    return found


def _scikit(vectors: np.ndarray, k: int) -> np.ndarray:
    from sklearn.neighbors import NearestNeighbors
    search = NearestNeighbors(n_neighbors=k + 1, algorithm='brute', metric='cosine', n_jobs=-1).fit(vectors)
    ids = search.kneighbors(return_distance=False)
    others = ids != np.arange(len(vectors))[:, None]
    first = np.argsort(~others, axis=1, kind='stable')[:, :k]
    return np.take_along_axis(ids, first, axis=1).astype(np.int32)

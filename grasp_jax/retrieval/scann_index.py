"""Approximate nearest neighbours by ScaNN, where it is installed."""

import importlib.util

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.retrieval.exact import NONE

# Up to here all rows are scored in quantised form: recall is near 1 and equal input gives equal output. Above, a tree
# of clusters bounds the work; ScaNN seeds its clustering anew in every build, so a few neighbours vary between builds.
TREE_ABOVE = 100_000
_QUANTISE_ABOVE = 2000  # with fewer rows, scoring all of them exactly costs nothing
_SEARCHED = 0.25  # share of the tree's leaves that a query looks into
_BLOCK = 8192


def installed() -> bool:
    """Whether ScaNN can be imported."""
    return importlib.util.find_spec('scann') is not None


def nearest(vectors: np.ndarray, k: int, tree_above: int = TREE_ABOVE) -> np.ndarray:
    """About the k nearest other rows of each row, by cosine similarity, nearest first.

    Self is left out by its number. The index holds all rows in memory in float32.

    Args:
      vectors: [r, E], any float dtype; need not have unit length.
      k: neighbours per row.
      tree_above: rows above which a tree is built.

    Returns:
      int32 [r, k] row numbers; -1 where the search found fewer.

    Raises:
      UserError: ScaNN is not installed.
    """
    try:
        import scann
    except ImportError as error:
        raise UserError(f'retrieve.method=scann needs ScaNN, which is not installed ({error}): pip install '
                        'scann, or use retrieve.method=exact') from error
    count, width = vectors.shape
    unit = np.array(vectors, np.float32, order='C')
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    # One more than k, because a row finds itself too.
    wanted = min(k + 1, count)
    builder = scann.scann_ops_pybind.builder(unit, wanted, 'dot_product')
    if count > tree_above:
        leaves = int(np.sqrt(count))
        builder = builder.tree(num_leaves=leaves, num_leaves_to_search=max(int(_SEARCHED * leaves), 1),
                               training_sample_size=min(count, 250_000))
    if count > _QUANTISE_ABOVE and width > 1:
        builder = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(20 * max(wanted, 10))
    else:
        builder = builder.score_brute_force()
    searcher = builder.build()
    found = np.full((count, k), NONE, np.int32)
    with Bar(total=count, desc='scann neighbours', unit='row', delay=1) as progress:
        for start in range(0, count, _BLOCK):
            ids, scores = searcher.search_batched_parallel(unit[start:start + _BLOCK])
            found[start:start + len(ids)] = _without_self(ids, scores, start, k)
            progress.update(len(ids))
    return found


def _without_self(ids: np.ndarray, scores: np.ndarray, start: int, k: int) -> np.ndarray:
    """int32 [q, k]: drops each row's own number, wherever it stands, and what was not found, and keeps the first k."""
    valid = np.isfinite(scores) & (ids != np.arange(start, start + len(ids))[:, None])
    first = np.argsort(~valid, axis=1, kind='stable')[:, :k]
    kept = np.where(np.take_along_axis(valid, first, axis=1), np.take_along_axis(ids, first, axis=1).astype(np.int64),
                    NONE)
    return np.pad(kept, ((0, 0), (0, k - kept.shape[1])), constant_values=NONE).astype(np.int32)

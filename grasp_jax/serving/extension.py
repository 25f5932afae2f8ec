"""New items in numbers: their neighbours among the known ones, and what stands in for a trained embedding."""

import dataclasses

import numpy as np

from grasp_jax.retrieval.exact import unit
from grasp_jax.serving.assets import Vectors

# Of new items beside ids (docs/results/cold_start.md): cosines are divided by the first, lengths multiplied by the
# second. Chosen on half of the cold items of one run, and reported on the other half.
_NEARNESS, _LENGTH = 0.1, 1.3


@dataclasses.dataclass(frozen=True)
class Extension:
    """New items.

    Attributes:
      own, similar: float32 [x, E], their vectors and the means of their neighbours'.
      neighbours: int64 [x, k], item ids of their neighbours, 0 where there is none.
      cosines: float32 [x, k], of the neighbours.
    """

    own: np.ndarray
    similar: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray


def nearest_known(vectors: Vectors, own: np.ndarray, k: int, groups: np.ndarray | None = None,
                  of_new: np.ndarray | None = None) -> Extension:
    """New items with their neighbours among the known ones, and the means of those' vectors (Eq. 2).

    Args:
      vectors: of the known items.
      own: float32 [x, E], vectors of the new items.
      k: neighbours.
      groups: int [m], groups of the known items, and `of_new` int [x], those of the new ones: neighbours share one.
      of_new: see `groups`.

    Returns:
      the new items; where one has no neighbour, its own vector stands for their mean.
    """
    known, width = len(vectors.items) - 1, own.shape[1]
    k = min(k, known)
    best = np.full((len(own), k), -np.inf, np.float32)
    ids = np.zeros((len(own), k), np.int64)
    asked = unit(own)
    step = max(1, 2 ** 24 // width)
    for start in range(1, known + 1, step):
        keys = unit(vectors.searched[start:start + step])
        found = asked @ keys.T
        if groups is not None and of_new is not None:
            there = np.equal.outer(of_new, groups[start - 1:start - 1 + len(keys)])
            found = np.where(there, found, -np.inf)
        found = np.concatenate([best, found], axis=1)
        numbers = np.concatenate([ids, np.broadcast_to(np.arange(start, start + len(keys)), (len(own), len(keys)))], 1)
        order = np.argsort(-found, axis=1, kind='stable')[:, :k]
        best, ids = np.take_along_axis(found, order, 1), np.take_along_axis(numbers, order, 1)
    ids = np.where(np.isfinite(best), ids, 0)
    count = (ids > 0).sum(axis=1, keepdims=True)  # the row of id 0 is zero
    total = np.asarray(vectors.searched[ids], np.float32).sum(axis=1)
    means = np.where(count > 0, total / np.maximum(count, 1), own)
    return Extension(own, means.astype(np.float32), ids, np.where(ids > 0, best, 0).astype(np.float32))


def identity(embedding: np.ndarray, more: Extension) -> np.ndarray:
    """Id embeddings of new items from those of their neighbours.

    A plain mean is shorter than what it is made of, and a new item would lose to its own neighbours everywhere. So
    nearer ones weigh more, and the length is that of the neighbours, and a little more.

    Args:
      embedding: [rows, H], of the known items by id.
      more: the new items.

    Returns:
      float32 [x, H]; zero without any neighbour.
    """
    there = more.neighbours > 0
    weight = np.exp((more.cosines - more.cosines.max(1, keepdims=True, initial=-1)) / _NEARNESS) * there
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-12)
    known = embedding[more.neighbours]
    mean = np.einsum('xk,xkd->xd', weight, known)
    length = (weight * np.linalg.norm(known, axis=2)).sum(1, keepdims=True)
    return np.asarray(_LENGTH * length * unit(mean), np.float32)

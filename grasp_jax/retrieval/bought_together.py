"""What is bought together says what an item's text should be like: means of neighbours, and vectors mixed with them.

Two items are neighbours where they stand close to each other in a training sequence. The mean of the neighbours'
vectors is what an item's own vector is held against (`wrong_texts`), and what it is mixed with: where a text is wrong,
those of its neighbours still tell what kind of item it is.
"""

from collections.abc import Iterator

import numpy as np
from scipy import sparse

from grasp_jax.data.interactions import Interactions
from grasp_jax.retrieval.exact import unit
from grasp_jax.vectors.vector_files import blocks

WINDOW = 5  # places that neighbours are apart at most
_PAIRS = 2 * 10 ** 8  # that are counted at most, of the newest items of each user
_FEW = 1e-6  # neighbours' neighbours of less weight are none: a sum of float32 leaves as much of nothing


def together(interactions: Interactions, window: int = WINDOW) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1], how strongly two items are bought together: symmetric, zero on the diagonal.

    Two items that are d <= window places apart in a training sequence get 1 / d for it; the sum is divided by the
    square root of both items' own sums.

    Args:
      interactions: all sequences; those of validation and test are not read.
      window: places that two items are apart at most.

    Example:
      >>> bought = Interactions(np.array([0, 5, 9]), np.array([1, 2, 3, 4, 5, 1, 2, 4, 3]), num_items=5)
      >>> table = together(bought)  # users train on 1, 2, 3 and on 1, 2
      >>> table[1, 2] > table[1, 3] > 0, table[1, 4]
      (np.True_, np.float32(0.0))
    """
    newest = max(_PAIRS // (window * max(interactions.num_users, 1)), window + 1)
    kept = interactions.in_training(newest)
    items = np.asarray(interactions.items)[kept].astype(np.int32)
    owner = np.repeat(np.arange(interactions.num_users, dtype=np.int32), interactions.lengths)[kept]
    size = interactions.num_items + 1
    found = sparse.csr_matrix((size, size), dtype=np.float32)
    for apart in range(1, window + 1):
        same = owner[:-apart] == owner[apart:]
        pairs = items[:-apart][same], items[apart:][same]
        found = found + sparse.csr_matrix((np.full(len(pairs[0]), 1 / apart, np.float32), pairs), (size, size))
    found = (found + found.T).tocsr()
    found.setdiag(0)
    found.eliminate_zeros()
    found.sort_indices()
    degree = np.maximum(np.asarray(found.sum(1), np.float32).ravel(), np.float32(1e-12)) ** -0.5
    owners = np.repeat(np.arange(size), np.diff(found.indptr))
    found.data = (found.data * degree[owners] * degree[found.indices]).astype(np.float32)
    return found


def neighbours_mean(table: sparse.csr_matrix, vectors: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """float32 [m + 1, E], the direction in which an item's neighbours and their neighbours point; zero where there are
    none.

    It is that of the mean of the neighbours' vectors plus the mean of the neighbours' neighbours' vectors, the item's
    own left out. With half of the texts wrong, the farther ones make up for the wrong ones among the near: trust tells
    swapped texts of Beauty by an AUC of 0.819 instead of 0.803.

    Args:
      table: of `together`.
      vectors: [m + 1, E] of unit length, row 0 the padding item.
      weight: float32 [m + 1], how much each vector counts; None: all alike.

    Example:
      >>> bought = Interactions(np.array([0, 5]), np.array([1, 2, 3, 2, 1]), num_items=3)
      >>> vectors = np.array([[0, 0], [1, 0], [0, 1], [1, 0]], np.float32)
      >>> neighbours_mean(together(bought), vectors)[2].tolist()  # items 1 and 3 point the same way
      [1.0, 0.0]
    """
    near = np.empty(vectors.shape, np.float32)
    return np.concatenate([means for _, means in means_in_blocks(table, vectors, weight, near)])


def means_in_blocks(table: sparse.csr_matrix, vectors: np.ndarray, weight: np.ndarray | None,
                    near: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Block by block, which rows and their `neighbours_mean`.

    Args:
      table, vectors, weight: as there; `vectors` is float32 and may be a memory map.
      near: float32 [m + 1, E], room for the sums over neighbours; it may be a memory map.
    """
    weighed = table if weight is None else (table @ sparse.diags_array(weight)).tocsr()
    near_count = _sums(table)
    to_itself = _sums(table.multiply(table))  # how often an item is a neighbour of its neighbours
    far_count = table @ near_count - to_itself
    own_count = to_itself if weight is None else to_itself * weight
    for block in blocks(*vectors.shape):
        near[block] = weighed[block] @ vectors
    for block in blocks(*vectors.shape):
        far = table[block] @ near - own_count[block, None] * vectors[block]
        far[far_count[block] < _FEW] = 0
        means = near[block] / np.maximum(near_count[block, None], _FEW)
        yield block, unit(means + far / np.maximum(far_count[block, None], _FEW))


def _sums(table: sparse.sparray) -> np.ndarray:
    return np.asarray(table.sum(1), np.float32).ravel()


def smoothed(vectors: np.ndarray, means: np.ndarray, share: float = 1.0) -> np.ndarray:
    """float32 [m + 1, E], the direction of an item's unit vector plus `share` of its neighbours' mean.

    Example:
      >>> smoothed(np.array([[0, 0], [0, 5]], np.float32), np.array([[0, 0], [0, 1]], np.float32)).tolist()
      [[0.0, 0.0], [0.0, 1.0]]
    """
    return unit(unit(vectors) + np.float32(share) * means)

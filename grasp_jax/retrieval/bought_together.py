"""What is bought together says what an item's text should be like: means of neighbours, and trust in texts.

Two items are neighbours where they stand close to each other in a training sequence. The mean of the neighbours'
vectors is what an item's own vector is held against, and what it can be mixed with: where a text is wrong, those of its
neighbours still tell what kind of item it is.
"""

import pathlib

import numpy as np
from scipy import sparse

from grasp_jax.data.interactions import Interactions, evenly_spread
from grasp_jax.retrieval.exact import unit
from grasp_jax.vectors.vector_files import blocks

WINDOW = 5  # places that neighbours are apart at most
_PAIRS = 2 * 10 ** 8  # that are counted at most, of the newest items of each user
_OTHERS = 1000  # vectors that an item's own is compared with
_TIE = 1e-6  # cosines that differ by less are equal
UNKNOWN = 0.5  # trust in the text of an item without neighbours


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


def neighbours_mean(table: sparse.csr_matrix, vectors: np.ndarray) -> np.ndarray:
    """float32 [m + 1, E], the direction of the mean of the neighbours' unit vectors; zero where there are none.

    Args:
      table: of `together`.
      vectors: [m + 1, E], row 0 the padding item.

    Example:
      >>> bought = Interactions(np.array([0, 5]), np.array([1, 2, 3, 2, 1]), num_items=3)
      >>> vectors = np.array([[0, 0], [2, 0], [0, 1], [3, 0]], np.float32)
      >>> neighbours_mean(together(bought), vectors)[2].tolist()  # items 1 and 3 point the same way
      [1.0, 0.0]
    """
    return unit(np.asarray(table @ unit(vectors), np.float32))


def smoothed(vectors: np.ndarray, means: np.ndarray, share: float = 1.0) -> np.ndarray:
    """float32 [m + 1, E], the direction of an item's unit vector plus `share` of its neighbours' mean.

    Example:
      >>> smoothed(np.array([[0, 0], [0, 5]], np.float32), np.array([[0, 0], [0, 1]], np.float32)).tolist()
      [[0.0, 0.0], [0.0, 1.0]]
    """
    return unit(unit(vectors) + np.float32(share) * means)


def write_smoothed(interactions: Interactions, vectors: np.ndarray, share: float, path: pathlib.Path) -> None:
    """Writes `smoothed` vectors of items, by what is bought together in training, in the dtype of `vectors`.

    Args:
      interactions: all sequences.
      vectors: [m + 1, E], row 0 the padding item.
      share: as in `smoothed`.
      path: of the .npy file.
    """
    table, own = together(interactions), unit(np.asarray(vectors))
    target = np.lib.format.open_memmap(path, mode='w+', dtype=vectors.dtype, shape=vectors.shape)
    for block in blocks(len(own), own.shape[1]):
        target[block] = smoothed(own[block], unit(np.asarray(table[block] @ own, np.float32)), share)
    target[0] = 0
    target.flush()


def trust(vectors: np.ndarray, means: np.ndarray) -> np.ndarray:
    """float32 [m + 1], how well each item's vector fits its neighbours: the share of items' vectors that fit them
    worse, ties counting half.

    A wrong text is as good as that of any other item, so that its trust is anything from 0 to 1; a right one is near 1.

    Args:
      vectors: [m + 1, E], row 0 the padding item.
      means: of `neighbours_mean`; where a row is zero the trust is `UNKNOWN`.

    Example:
      >>> vectors = np.array([[0, 0], [1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
      >>> means = np.array([[0, 0], [1, 0], [1, 0], [1, 0], [0, 0]], np.float32)
      >>> trust(vectors, means).tolist()  # item 3 is bought with items unlike it; item 4 has no neighbours
      [0.5, 0.875, 0.625, 0.125, 0.5]
    """
    own = unit(vectors)
    others = own[1 + evenly_spread(len(own) - 1, _OTHERS)]
    fits = (own * means).sum(1, keepdims=True)
    found = np.full(len(own), UNKNOWN, np.float32)
    for start in range(0, len(own), _OTHERS):
        rows = slice(start, start + _OTHERS)
        against = means[rows] @ others.T
        found[rows] = ((against < fits[rows] - _TIE).mean(1) + (against < fits[rows] + _TIE).mean(1)) / 2
    found[~means.any(1)] = UNKNOWN
    return found

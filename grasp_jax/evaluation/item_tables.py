"""Tables of items by items that baselines score with, counted from training rows alone."""

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sparse

from grasp_jax.data.interactions import Interactions
from grasp_jax.retrieval.bought_together import together
from grasp_jax.retrieval.exact import unit
from grasp_jax.retrieval.neighbours import neighbours
from grasp_jax.vectors.vector_files import blocks

_ENTRIES = 4 * 10 ** 7  # of a table: 320 MB
_PAIRS = 10 ** 9  # of items in the users' histories at most: half a minute of one core
_BLOCK = 1 << 24  # numbers of a block of pairs: 64 MB in float32
_SECOND = 0.5  # what a second step through the graph counts
_OF_TEXTS = 0.1  # what all steps from an item to those of similar vectors count
_ALIKE = 20  # items of similar vectors
_EXACT = 1 << 16  # items up to which they are searched for exactly


def similarities(interactions: Interactions) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1]: of each item the cosines with its nearest others, ties by the smaller id.

    Of very long histories the newest different items alone count, so many that all users have `_PAIRS` pairs at most.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 3, 4, 1, 5, 3, 4]), num_items=5)
      >>> round(similarities(bought)[1, 2].item(), 3)  # item 1 has two buyers, item 2 one of them: 1 / sqrt(2)
      0.707
    """
    table = _training(interactions)
    lengths = np.diff(table.indptr).astype(np.float32)
    norms = np.sqrt(np.maximum(np.bincount(table.indices, minlength=table.shape[1]), 1)).astype(np.float32)
    by_item = table.T.tocsr()
    rows, neighbours = [], max(_ENTRIES // interactions.num_items, 1)
    for start, stop in _blocks(by_item @ lengths):
        found = (by_item[start:stop] @ table).tocsr()
        found.sort_indices()
        owner = np.repeat(np.arange(start, stop), np.diff(found.indptr))
        found.data = np.where(found.indices == owner, 0, found.data / (norms[owner] * norms[found.indices]))
        found.eliminate_zeros()
        rows.append(_nearest(found, neighbours))
    return sparse.vstack(rows, format='csr')


def transitions(interactions: Interactions) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1]: how often one item follows another directly in training.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 3, 4, 1, 2, 5, 3]), num_items=5)
      >>> transitions(bought)[1, 2].item()
      2.0
    """
    before = interactions.in_training()
    last = np.zeros(len(before) + 1, bool)
    last[interactions.indptr[:-1] + interactions.input_lengths('train') - 1] = True
    places = np.flatnonzero(before & ~last[:-1])
    items, size = np.asarray(interactions.items), interactions.num_items + 1
    return sparse.csr_matrix((np.ones(len(places), np.float32), (items[places], items[places + 1])), (size, size))


def graph(interactions: Interactions, vectors: np.ndarray | None = None) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1]: where one or two steps lead, through items that are bought together in training
    (`bought_together.together`) and, where there are vectors, through each item's nearest by them.

    A second step counts half, all steps to similar vectors together `_OF_TEXTS`; both were chosen on the validation of
    Beauty. In the spirit of heuristics on graphs without training, as in arXiv 2605.07125.

    Args:
      interactions: all sequences.
      vectors: [m, E], of items 1..m; None: purchases alone.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 5, 5, 2, 3, 5, 5]), num_items=5)
      >>> steps = graph(bought)  # 1 and 2 are bought together, 2 and 3 are
      >>> steps[1, 2] > steps[1, 3] > 0, steps[1, 4]
      (np.True_, np.float32(0.0))
    """
    most = max(_ENTRIES // interactions.num_items, 1)
    edges = together(interactions)
    if vectors is not None:
        edges = (edges + _OF_TEXTS * _alike(vectors)).tocsr()
    edges.sort_indices()
    edges = _nearest(edges, most)
    rows = []
    for start, stop in _blocks(edges @ np.diff(edges.indptr).astype(np.float32) + 1):
        steps = (edges[start:stop] + _SECOND * (edges[start:stop] @ edges)).tocsr()
        steps.sort_indices()
        rows.append(_nearest(steps, most))
    return sparse.vstack(rows, format='csr')


def _alike(vectors: np.ndarray) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1]: of each item its nearest by cosine, rows sum to 1; zero for item 0."""
    count = len(vectors)
    ids = neighbours(vectors, min(_ALIKE, max(count - 1, 1)), 'exact' if count <= _EXACT else 'auto')
    there = ids >= 0
    owner, near = np.nonzero(there)[0], ids[there]
    cosines = np.concatenate([np.einsum('re,re->r', unit(vectors[owner[some]]), unit(vectors[near[some]]))
                              for some in blocks(len(owner), 2 * vectors.shape[1])] or [np.zeros(0, np.float32)])
    weights = np.maximum(cosines, 0)
    whole = np.maximum(np.bincount(owner, weights, count), 1e-12)
    return sparse.csr_matrix(((weights / whole[owner]).astype(np.float32), (owner + 1, near + 1)),
                             (count + 1, count + 1))


def _training(interactions: Interactions) -> sparse.csr_matrix:
    """float32 [n, m + 1], 1 where a user has an item in training, the newest of each user up to the cap."""
    kept = interactions.in_training(newest_counted(interactions))
    owner = np.repeat(np.arange(interactions.num_users, dtype=np.int32), interactions.lengths)[kept]
    items = np.asarray(interactions.items)[kept]
    shape = (interactions.num_users, interactions.num_items + 1)
    table = sparse.csr_matrix((np.ones(len(items), np.float32), (owner, items)), shape)
    table.data[:] = 1
    return table


def newest_counted(interactions: Interactions) -> int:
    """How many of a user's newest training items item-KNN counts: so many that all users together have `_PAIRS` pairs
    at most, and all of them where they have no more."""
    values, counts = np.unique(interactions.input_lengths('train'), return_counts=True)
    low, high = 1, int(values.max(initial=1))
    while low < high:
        middle = (low + high + 1) // 2
        fits = int((np.minimum(values, middle).astype(np.float64) ** 2 * counts).sum()) <= _PAIRS
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _blocks(costs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose costs add up to a block."""
    block = (np.cumsum(costs, dtype=np.float64) // _BLOCK).astype(np.int64)
    borders = [0, *(np.flatnonzero(np.diff(block)) + 1), len(costs)]
    yield from zip(borders[:-1], borders[1:], strict=True)


def _nearest(found: sparse.csr_matrix, neighbours: int) -> sparse.csr_matrix:
    """Of each row the largest entries, `neighbours` of them."""
    sizes = np.diff(found.indptr)
    kept = np.ones(found.nnz, bool)
    for row in np.flatnonzero(sizes > neighbours):
        own = slice(found.indptr[row], found.indptr[row + 1])
        kept[own] = False
        kept[own.start + np.argsort(-found.data[own], kind='stable')[:neighbours]] = True
    indptr = np.concatenate([[0], np.cumsum(np.minimum(sizes, neighbours))])
    return sparse.csr_matrix((found.data[kept].astype(np.float32), found.indices[kept], indptr), found.shape)

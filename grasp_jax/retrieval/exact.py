"""Exact nearest neighbours by cosine: blocked matrix products with a running top-k.

Neither the table nor the scores must fit into the device's memory: blocks of keys stream past blocks of queries.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.common.progress import Bar

NONE = -1  # stands where a row has fewer neighbours than asked for
_QUERIES, _KEYS = 2048, 8192  # rows per block: 64 MB of scores
_CACHED = 1 << 30  # bytes of keys that stay on the device instead of being sent once per block of queries


def nearest(vectors: np.ndarray, k: int, groups: np.ndarray | None = None,
            rows: np.ndarray | None = None, among: np.ndarray | None = None) -> np.ndarray:
    """The k nearest other rows of each row, by cosine similarity, nearest first.

    Self is left out by its number, so that an equal vector elsewhere is a neighbour. Ties go to the smaller row.

    Args:
      vectors: [r, E], any float dtype, possibly memory-mapped; need not have unit length.
      k: neighbours per row.
      groups: int [r]; neighbours share the row's group. None: all rows are one group.
      rows: int [q], the rows that ask; None: all rows.
      among: int, ascending, the rows that can be found; None: all rows.

    Returns:
      int32 [q, k] row numbers; -1 where a group has fewer than k other rows.
    """
    count = len(vectors)
    groups = np.zeros(count, np.int64) if groups is None else np.asarray(groups)
    rows = np.arange(count) if rows is None else np.asarray(rows)
    among = np.arange(count) if among is None else np.asarray(among)
    # Sorted by group, the keys that a block of queries may see lie next to each other.
    order = among[np.argsort(groups[among], kind='stable')]
    asked = rows[np.argsort(groups[rows], kind='stable')]
    sorted_groups = groups[order]
    keys = _KeyBlocks(vectors, order)
    found = np.full((count, k), NONE, np.int32)
    with Bar(total=len(asked), desc='exact neighbours', unit='row', delay=1) as progress:
        for start in range(0, len(asked), _QUERIES):
            block = asked[start:start + _QUERIES]
            low = int(np.searchsorted(sorted_groups, groups[block[0]], 'left'))
            high = int(np.searchsorted(sorted_groups, groups[block[-1]], 'right'))
            found[block] = _search(keys, vectors, groups, block, range(low // _KEYS, -(-high // _KEYS)), k)
            progress.update(len(block))
    return found[rows]


def nearest_plain(vectors: np.ndarray, k: int, groups: np.ndarray | None = None) -> np.ndarray:
    """What `nearest` computes for all rows, written as a loop: the oracle for tests."""
    normed = unit(vectors)
    found = np.full((len(vectors), k), NONE, np.int32)
    for row in range(len(vectors)):
        others = np.array([other for other in range(len(vectors))
                           if other != row and (groups is None or groups[other] == groups[row])], np.int64)
        closest = others[np.argsort(-(normed[others] @ normed[row]), kind='stable')][:k]
        found[row, :len(closest)] = closest
    return found


class _KeyBlocks:
    """Blocks of unit keys with their row numbers, on the device where they fit, made when first asked for."""

    def __init__(self, vectors: np.ndarray, order: np.ndarray):
        self._vectors, self._order = vectors, order
        self._cache: dict[int, tuple[jax.Array, np.ndarray]] | None = (
            {} if len(vectors) * vectors.shape[1] * 4 <= _CACHED else None)

    def __getitem__(self, number: int) -> tuple[jax.Array, np.ndarray]:
        """Unit keys [K, E] and their int32 [K] row numbers, -1 beyond the last."""
        if self._cache is not None and number in self._cache:
            return self._cache[number]
        size = min(_KEYS, len(self._order))
        ids = self._order[number * _KEYS:(number + 1) * _KEYS]
        block = (jnp.asarray(_filled(unit(self._vectors[ids]), size)), _filled(ids.astype(np.int32), size, NONE))
        if self._cache is not None:
            self._cache[number] = block
        return block


def _search(keys: _KeyBlocks, vectors: np.ndarray, groups: np.ndarray, block: np.ndarray, numbers: range,
            k: int) -> np.ndarray:
    """int32 [block, k]: the neighbours of one block of queries among the given blocks of keys."""
    size = min(_QUERIES, len(vectors))
    queries = jnp.asarray(_filled(unit(vectors[block]), size))
    query_ids = _filled(block.astype(np.int32), size, NONE)
    query_groups = _filled(groups[block].astype(np.int32), size, NONE)
    best = (jnp.full((size, k), -jnp.inf), jnp.full((size, k), NONE, jnp.int32))
    for number in numbers:
        key_vectors, key_ids = keys[number]
        key_groups = np.where(key_ids == NONE, NONE, groups[key_ids]).astype(np.int32)
        best = _merge(*best, queries, query_ids, query_groups, key_vectors, key_ids, key_groups)
    return np.asarray(best[1])[:len(block)]


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _merge(best_scores: jax.Array, best_ids: jax.Array, queries: jax.Array, query_ids: jax.Array,
           query_groups: jax.Array, keys: jax.Array, key_ids: jax.Array,
           key_groups: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Merges one block of keys [K, E] into the best so far [Q, k] of the queries [Q, E]."""
    # HIGHEST: the shortened floats of matrix units would swap close neighbours.
    scores = jnp.matmul(queries, keys.T, precision=jax.lax.Precision.HIGHEST)
    allowed = (query_groups[:, None] == key_groups[None, :]) & (query_ids[:, None] != key_ids[None, :])
    allowed &= (key_ids != NONE)[None, :]
    scores = jnp.where(allowed, scores, -jnp.inf)
    scores, columns = jax.lax.top_k(scores, min(best_ids.shape[1], scores.shape[1]))
    # The best so far come first: on a tie top_k takes the first, which is the smaller row.
    scores = jnp.concatenate([best_scores, scores], axis=1)
    ids = jnp.concatenate([best_ids, key_ids[columns]], axis=1)
    ids = jnp.where(scores > -jnp.inf, ids, NONE)
    scores, columns = jax.lax.top_k(scores, best_ids.shape[1])
    return scores, jnp.take_along_axis(ids, columns, axis=1)


def unit(vectors: np.ndarray, dtype: type[np.floating[Any]] = np.float32) -> np.ndarray:
    """Vectors [r, E] of unit length; zero stays zero."""
    vectors = np.asarray(vectors, dtype)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _filled(rows: np.ndarray, size: int, value: int = 0) -> np.ndarray:
    """Fills up to `size` rows: blocks of one shape compile once."""
    return np.concatenate([rows, np.full((size - len(rows), *rows.shape[1:]), value, rows.dtype)])

"""Neighbours among many wide vectors: candidates by their main directions, put in exact order by the whole vectors.

The table stays memory-mapped. What is found is written down as it is found, so that a killed search goes on.
"""

import collections.abc
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import threadpoolctl

from grasp_jax.common.progress import Bar
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.retrieval.exact import NONE, unit
from grasp_jax.vectors import vector_files

_SAMPLE = 20_000  # rows, evenly spread, that tell the main directions
_QUERIES = 2048  # rows that are put in order together
_PLACES = 8192  # tables of candidates come in multiples of so many rows, so that few programs are compiled
_UNDONE = -2
Search = collections.abc.Callable[[np.ndarray, int, np.ndarray | None], np.ndarray]


def nearest(vectors: np.ndarray, k: int, width: int, candidates: int, search: Search,
            units: collections.abc.Sequence[np.ndarray], groups: np.ndarray | None, folder: pathlib.Path) -> np.ndarray:
    """About the k nearest other rows of each row by cosine similarity, nearest first.

    Args:
      vectors: [r, E], possibly memory-mapped.
      k: neighbours per row.
      width: directions in which candidates are looked for.
      candidates: of each row, at least k.
      search: (vectors, count, groups) -> int [q, count], the nearest rows of the same group by number, `NONE` where
        there are no more.
      units: row numbers that are searched together; a group is in one of them.
      groups: int [r] or None.
      folder: an existing folder; keeps what is found. It must have been made for the same arguments.

    Returns:
      int32 [r, k] row numbers, possibly memory-mapped; `NONE` where a group has fewer than k other rows.
    """
    found = _kept(folder / 'found.npy', len(vectors), k)
    if not (found == _UNDONE).any():
        return found
    narrow, lengths = project(vectors, width, folder)
    with Bar(total=len(vectors), desc='neighbours', unit='row', delay=1) as bar:
        for members in units:
            if (found[members] == _UNDONE).any():
                near = search(narrow[members], candidates, None if groups is None else groups[members])
                near = np.where(near == NONE, NONE, members[near])
            for start in range(0, len(members), _QUERIES):
                rows = members[start:start + _QUERIES]
                if (found[rows] == _UNDONE).any():
                    found[rows] = in_exact_order(vectors, lengths, rows, near[start:start + _QUERIES], k)
                bar.update(len(rows))
            found.flush()
    return found


def project(vectors: np.ndarray, width: int, folder: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """float32 [r, width], unit vectors in the main directions of a sample of them, and [r], the vectors' lengths; made
    once a folder."""
    from sklearn.decomposition import TruncatedSVD
    path = folder / 'narrow.npy'
    if not path.exists():
        lengths = np.empty(len(vectors), np.float32)
        sample = unit(vectors[evenly_spread(len(vectors), _SAMPLE)])
        partial = path.with_suffix('.partial')
        with threadpoolctl.threadpool_limits(1):  # sums that threads share are rounded otherwise
            basis = TruncatedSVD(min(width, *sample.shape), random_state=0).fit(sample).components_.T
            target = np.lib.format.open_memmap(partial, 'w+', np.float32, (len(vectors), basis.shape[1]))
            for block in Bar(vector_files.blocks(*vectors.shape), desc='main directions', unit='block', delay=1):
                some = np.asarray(vectors[block], np.float32)
                lengths[block] = np.maximum(np.linalg.norm(some, axis=1), 1e-12)
                target[block] = (some @ basis) / lengths[block, None]
        target.flush()
        np.save(folder / 'lengths.npy', lengths, allow_pickle=False)
        partial.rename(path)
    return np.load(path, mmap_mode='r', allow_pickle=False), np.load(folder / 'lengths.npy', allow_pickle=False)


def in_exact_order(vectors: np.ndarray, lengths: np.ndarray, rows: np.ndarray, near: np.ndarray,
                   k: int) -> np.ndarray:
    """int32 [q, k]: the k nearest of each row's candidates by whole vectors.

    Args:
      vectors: [r, E].
      lengths: [r], of the vectors.
      rows: int [q], at most `_QUERIES`.
      near: int [q, C], `NONE` where there is none.
      k: at most C.
    """
    near = np.sort(np.pad(near, ((0, _QUERIES - len(rows)), (0, 0)), constant_values=NONE), axis=1)
    queries = np.zeros((_QUERIES, vectors.shape[1]), np.float32)
    queries[:len(rows)] = vectors[rows]
    different, places = np.unique(np.maximum(near, 0), return_inverse=True)
    table = np.zeros((-(-len(different) // _PLACES) * _PLACES, vectors.shape[1]), vectors.dtype)
    table[:len(different)] = vectors[different]
    together = 1 if jax.default_backend() == 'cpu' else _QUERIES  # one row's candidates fit a core's cache
    return np.asarray(_best(queries, table, lengths[np.maximum(near, 0)], places.reshape(near.shape), near, k,
                            together))[:len(rows)]


@functools.partial(jax.jit, static_argnums=(5, 6))
def _best(queries: jax.Array, table: jax.Array, lengths: jax.Array, places: jax.Array, near: jax.Array, k: int,
          together: int) -> jax.Array:
    def scores_of(asked: tuple[jax.Array, jax.Array]) -> jax.Array:
        query, place = asked
        return jnp.matmul(table[place].astype(jnp.float32), query, precision=jax.lax.Precision.HIGHEST)

    products = jax.lax.map(scores_of, (queries, places), batch_size=together)
    scores = jnp.where(near == NONE, -jnp.inf, products / lengths)
    best, columns = jax.lax.top_k(scores, k)
    return jnp.where(best > -jnp.inf, jnp.take_along_axis(near, columns, axis=1), NONE).astype(jnp.int32)


def _kept(path: pathlib.Path, rows: int, k: int) -> np.memmap:
    """int32 [rows, k], memory-mapped and writeable; `_UNDONE` where nothing was found yet."""
    if not path.exists():
        partial = path.with_suffix('.partial')
        with partial.open('wb') as file:
            np.save(file, np.full((rows, k), _UNDONE, np.int32), allow_pickle=False)
        partial.rename(path)
    return np.lib.format.open_memmap(path, 'r+')

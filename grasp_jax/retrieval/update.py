"""Neighbours after a change of some rows: only what can have moved is searched for."""

from typing import NamedTuple

import numpy as np

from grasp_jax.retrieval import exact
from grasp_jax.vectors import vector_files

GONE = -2  # stands where a neighbour is no longer there
_CLOSE = 1e-6  # similarities that the exact search, in float32, may order either way


class Updated(NamedTuple):
    """What came out.

    Attributes:
      found: int32 [r, k], as `exact.nearest` gives.
      searched: rows whose neighbours were searched for among all rows.
      moved: rows whose list is another one than before.
    """

    found: np.ndarray
    searched: int
    moved: int


def update(vectors: np.ndarray, before: np.ndarray, changed: np.ndarray, k: int,
           groups: np.ndarray | None = None) -> Updated:
    """The k nearest other rows of each row, from lists of before.

    A row is searched for anew where it changed, or where one of its neighbours changed or went away; a row of which
    all neighbours stayed can only gain one that changed.

    Args:
      vectors: [r, E].
      before: int [r, k], neighbours before in today's row numbers, in today's order: nearest first, ties by number;
        -1 where there was none, -2 where there was one that is gone. Rows that are new are not looked at.
      changed: bool [r], rows that are new or whose vector (or group) is another one.
      k: neighbours per row.
      groups: int [r] or None, as for `exact.nearest`.

    Returns:
      the same lists as `exact.nearest(vectors, k, groups)`, up to the order of rows that are equally near by rounding,
      as far as the lists before were exact.
    """
    lost = (before == GONE) | (changed[np.maximum(before, 0)] & (before >= 0))
    anew = changed | lost.any(axis=1)
    found = np.asarray(before, np.int32).copy()
    if anew.any():
        rows = np.flatnonzero(anew)
        found[rows] = exact.nearest(vectors, k, groups, rows=rows)
    rest = np.flatnonzero(~anew)
    if changed.any() and len(rest):
        entrants = exact.nearest(vectors, k, groups, rows=rest, among=np.flatnonzero(changed))
        for block in vector_files.blocks(len(rest), 3 * k * vectors.shape[1]):
            rows = rest[block]
            found[rows], close = _best(vectors, rows, np.concatenate([found[rows], entrants[block]], axis=1), k)
            # Where rounding decides, let the same search decide as everywhere else.
            anew[rows[close]] = True
            if close.any():
                found[rows[close]] = exact.nearest(vectors, k, groups, rows=rows[close])
    return Updated(found, int(anew.sum()), int((found != before).any(axis=1).sum()))


def _best(vectors: np.ndarray, rows: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of the candidates [q, c] of rows [q], old ones first; and bool [q], where an old and a new one are
    too close to tell which is nearer."""
    keys = exact.unit(vectors[np.maximum(candidates, 0).ravel()], np.float64).reshape(*candidates.shape, -1)
    scores = np.einsum('qcd,qd->qc', keys, exact.unit(vectors[rows], np.float64))
    scores = np.where(candidates == exact.NONE, -np.inf, scores)
    order = np.lexsort((candidates, -scores), axis=1)[:, :k + 1]
    ranked = np.take_along_axis(scores, order, axis=1)
    with np.errstate(invalid='ignore'):  # both missing
        close = (ranked[:, :-1] - ranked[:, 1:] < _CLOSE) & np.isfinite(ranked[:, 1:])
    mixed = (order[:, :-1] < k) != (order[:, 1:] < k)
    return np.take_along_axis(candidates, order[:, :k], axis=1).astype(np.int32), (close & mixed).any(axis=1)


"""Rows that describe users or items, as JSON values by id."""

import collections
import datetime
import logging
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from grasp_jax.data import nothing
from grasp_jax.data.row_locations import RowLocations

LOG = logging.getLogger(__name__)


def gather(frame: pd.DataFrame, names: Sequence[str], ids: Sequence[str], path: RowLocations,
           id_column: str) -> dict[str, dict[str, Any]]:
    """The values that are not empty of each id; of several rows of an id the fullest, of equally full ones the first.

    Args:
      frame: one row per id, any columns; its index is the number of the row.
      names: of the columns in the result; those of the frame are for messages.
      ids: of the rows.
      path, id_column: where they stand, for messages.
    """
    described = Fullest(_fullness)
    rows = map(path.name, frame.index)
    for row, identity, cells in zip(rows, ids, frame.itertuples(index=False, name=None), strict=True):
        described.add(row, identity, {name: value for name, value in zip(names, map(_plain, cells), strict=True)
                                      if value not in (None, '', [], {})})
    described.warn(path, 'row', f'ids of column {id_column!r}')
    _empty(described.found, described.rows, path, dict(zip(names, map(str, frame.columns), strict=True)))
    return described.found


class Fullest:
    """Descriptions by id: of several of an id the fullest counts, of equally full ones the first.

    Attributes:
      found: the values of each id.
      rows: the name of the row or line that they are from.
    """

    def __init__(self, fullness: Callable[[dict[str, Any]], int] = len):
        """Begins without any; `fullness` says how full a description is."""
        self.found: dict[str, dict[str, Any]] = {}
        self.rows: dict[str, int | str] = {}
        self._fullness = fullness
        self._again: list[tuple[int | str, str]] = []

    def add(self, row: int | str, identity: str, values: dict[str, Any]) -> None:
        """Takes in a description."""
        before = self.found.get(identity)
        if before is not None and before != values:
            self._again.append((row, identity))
        if before is None or self._fullness(values) > self._fullness(before):
            self.found[identity], self.rows[identity] = values, row

    def warn(self, path: pathlib.Path | RowLocations, unit: str, things: str) -> None:
        """Says how many descriptions differ from an earlier one of the same id.

        Args:
          path: where they stand.
          unit: 'row' or 'line'.
          things: what is described.
        """
        if self._again:
            row, identity = self._again[0]
            LOG.warning('%s: %d %ss describe %s again and differently, as %s %s %r; the fullest %s of each counts, '
                        'here %s %s; if it is the wrong one, delete it', path, len(self._again), unit, things, unit,
                        row, identity, unit, unit, self.rows[identity])


def _fullness(values: dict[str, Any]) -> int:
    return sum(value is not None for value in map(nothing.without_nothing, values.values()))


def _empty(found: dict[str, dict[str, Any]], rows: dict[str, int | str], path: RowLocations,
           written: dict[str, str]) -> None:
    """Takes away texts that read as nothing, and those that may where a column has them twice, and says so; `written`
    has the columns' names as they are in the table."""
    perhaps = collections.Counter(
        (name, value.casefold()) for values in found.values() for name, value in values.items()
        if isinstance(value, str) and nothing.may_be_nothing(value))
    count = 0
    example: tuple[str, str, int | str] = ('', '', '')
    for identity, values in found.items():
        for name, value in list(values.items()):
            left = nothing.without_nothing(value)
            if left == value and not (isinstance(value, str) and perhaps[name, value.casefold()] > 1):
                continue
            example = example if count else (written[name], str(value)[:60], rows[identity])
            count += 1
            if left in (None, [], {}) or left == value:
                del values[name]
            else:
                values[name] = left
    if count:
        LOG.warning('%s: %d values read as nothing, as %r in column %r of row %s, and are taken as empty; if this is a '
                    'name, write it otherwise', path, count, example[1], example[0], example[2])


def _plain(value: Any) -> Any:
    """A cell as a JSON value; None where it is empty."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, (list, tuple, np.ndarray)):
        return [part for part in map(_plain, value) if part is not None]
    if isinstance(value, dict):
        return {str(key): _plain(part) for key, part in value.items()}
    if pd.isna(value) or value in (float('inf'), float('-inf')):
        return None
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    return value if isinstance(value, (bool, int, float)) else str(value)

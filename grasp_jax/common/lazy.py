"""Sequences whose entries are made when they are asked for, so that the texts of millions of items never lie in memory
together."""

import collections.abc
import json
import pathlib
from collections.abc import Callable
from typing import Any, Generic, TypeVar, overload

import numpy as np

from grasp_jax.common.errors import UserError

Entry = TypeVar('Entry')
_BLOCK = 1 << 26  # bytes of a file that are searched for line ends together


class Lazy(collections.abc.Sequence, Generic[Entry]):
    """A list whose entry r is `make(r)`, made anew each time."""

    def __init__(self, length: int, make: Callable[[int], Entry]):
        """Takes the number of entries and what makes one."""
        self._length, self._make = length, make

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Entry: ...
    @overload
    def __getitem__(self, place: slice) -> 'Lazy[Entry]': ...

    def __getitem__(self, place: Any) -> Any:
        rows = range(self._length)[place]
        return Lazy(len(rows), lambda row: self._make(rows[row])) if isinstance(place, slice) else self._make(int(rows))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, collections.abc.Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(mine == another for mine, another in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as lists


def json_lines(path: pathlib.Path, read: Callable[[Any], Entry]) -> Lazy[Entry]:
    """Entry r is `read` of the value in line r of a file, which stays on disk.

    Args:
      path: a file with a JSON value in each line.
      read: picks the entry out of the value; what it cannot read it refuses with KeyError, TypeError or ValueError.

    Raises:
      UserError: the file cannot be opened; or, when an entry is asked for, its line cannot be read.
    """
    try:
        data = np.memmap(path, np.uint8, 'r') if path.stat().st_size else np.zeros(0, np.uint8)
    except OSError as error:
        raise UserError(f'{path}: cannot be read ({error}); delete its folder and run again') from error
    ends = [start + np.flatnonzero(data[start:start + _BLOCK] == ord('\n')) for start in range(0, len(data), _BLOCK)]
    stops = np.concatenate([np.zeros(0, np.int64), *ends])
    if len(data) and (not len(stops) or stops[-1] != len(data) - 1):
        raise UserError(f'{path}: cannot be read (its last line is cut off); delete its folder and run again')

    def entry(row: int) -> Entry:
        begin = 0 if row == 0 else int(stops[row - 1]) + 1
        try:
            return read(json.loads(data[begin:stops[row]].tobytes()))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path}, line {row + 1}: cannot be read ({error}); delete its folder and run '
                            'again') from error

    return Lazy(len(stops), entry)

"""Tables of vectors as they are written: centred, of unit length, and counted where they say nothing."""

import pathlib
from typing import NamedTuple, Protocol

import ml_collections
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.vectors import corruption, vector_files

_TINY = 1e-8  # a shorter vector has no direction and becomes zero
_ROUNDING = 1e-6  # what is left of a vector without the mean is rounding where it is a smaller share of it
_HUGE = 1e15  # squares of larger numbers do not fit float32
_MEAN_OF = 100_000  # rows, evenly spread, that tell the mean
_STEP = 1e-4  # projections that are closer fall together, see `_Counts`


class Table(Protocol):
    """What vectors come from: an array, or what makes rows when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(rows, E)."""

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """[len(rows), E]."""


class Written(NamedTuple):
    """What a table holds, padding aside.

    Attributes:
      rows: of them.
      zero: rows of zeros.
      equal: other rows whose vector another row has as well.
      largest: rows that have the most frequent of these vectors, 0 where there is none.
    """

    rows: int
    zero: int
    equal: int
    largest: int


def write_table(folder: pathlib.Path, name: str, source: Table, rows: np.ndarray,
                settings: ml_collections.ConfigDict) -> Written:
    """Writes `source[rows]` as the table 'items' or 'users', wrong in part where that is asked for.

    Raises:
      UserError: a number is too large.
    """
    path, offset = (folder / vector_files.ITEMS, 1) if name == 'items' else (folder / vector_files.USERS, 0)
    dial = settings.corrupt
    if not dial.share or dial.target not in (name, 'both'):
        return _write(path, source, rows, offset, settings)
    who = corruption.chosen(len(rows), dial.share, dial.seed)
    corruption.write_mask(folder, name, len(rows), who)
    if dial.kind == 'swap':
        return _write(path, source, corruption.swapped(rows, who), offset, settings)
    found = _write(path, source, rows, offset, settings)
    corruption.fill_with_noise(np.lib.format.open_memmap(path, mode='r+')[offset:], who, dial.seed)
    return found


@np.errstate(over='ignore', invalid='ignore')  # what comes of it is looked at
def _write(path: pathlib.Path, source: Table, rows: np.ndarray, offset: int,
           settings: ml_collections.ConfigDict) -> Written:
    """Writes `source[rows]` below `offset` rows of zeros, centred if asked.

    Works block by block, so that a table larger than memory passes through.
    """
    count, width = len(rows), source.shape[1]
    target = np.lib.format.open_memmap(path, mode='w+', dtype=settings.dtype, shape=(offset + count, width))
    target[:offset] = 0
    mean = None
    if settings.center and count > 1:
        mean = _mean(source, rows)
        np.save(mean_of(path), mean, allow_pickle=False)
    counts = _Counts(width)
    for block in Bar(vector_files.blocks(count, width), desc=f'write {path.name}', unit='block', delay=1):
        vectors = np.asarray(source[rows[block]], np.float32)
        written = target[offset + block.start:offset + block.stop]
        written[:] = vectors if mean is None else centred(vectors, mean)
        wrong = ~np.isfinite(vectors).all(axis=1) | ~np.isfinite(written).all(axis=1)
        if mean is None:
            wrong |= np.abs(vectors).max(axis=1, initial=0) > _HUGE
        if wrong.any():
            raise UserError(f'{path.stem}: vector {block.start + int(np.argmax(wrong))} has numbers too large for '
                            f'{settings.dtype}; use encode.dtype=float32, or vectors of about unit length')
        counts.add(written)
    target.flush()
    return counts.written()


def mean_of(table: pathlib.Path) -> pathlib.Path:
    """The file of the mean that was taken from a table's vectors."""
    return table.with_name(f'{table.stem}_mean.npy')


@np.errstate(over='ignore', invalid='ignore')
def centred(vectors: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Vectors [r, E] less the mean, of unit length; one that says nothing stays or becomes zero: it was zero, or is the
    mean itself but for rounding."""
    known = np.linalg.norm(vectors, axis=1, keepdims=True) > _TINY
    moved = vectors - mean
    before, size = (np.abs(each).max(axis=1, keepdims=True, initial=0) for each in (vectors, moved))
    known &= ~(size <= _ROUNDING * before)
    if (size > _HUGE).any():
        moved = np.where(size > _HUGE, moved / size, moved)
    norm = np.linalg.norm(moved, axis=1, keepdims=True)
    return np.where(known & ~(norm <= _TINY), moved / np.maximum(norm, _TINY), 0)


def _mean(source: Table, rows: np.ndarray) -> np.ndarray:
    rows = rows[evenly_spread(len(rows), _MEAN_OF)]
    total = np.zeros(source.shape[1])
    for block in vector_files.blocks(len(rows), source.shape[1]):
        total += np.asarray(source[rows[block]], np.float64).sum(axis=0)
    return (total / len(rows)).astype(np.float32)


class _Counts:
    """Counts rows of zeros and rows that are equal, but for rounding, while they pass by: equal rows have equal random
    projections, and four of them, each cut into steps, are together no other row's."""

    def __init__(self, width: int):
        self._directions = np.random.default_rng(0).normal(size=(width, 4)).astype(np.float32)
        self._marks: list[np.ndarray] = []
        self._rows = self._zero = 0

    def add(self, rows: np.ndarray) -> None:
        """Looks at rows [r, E]."""
        rows = np.asarray(rows, np.float32)
        norms = np.linalg.norm(rows, axis=1)
        known = norms > _TINY
        steps = np.round(rows[known] @ self._directions / _STEP).astype(np.int64).view(np.uint64)
        self._marks.append(steps @ np.array([1, 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9], np.uint64))
        self._rows, self._zero = self._rows + len(rows), self._zero + int((~known).sum())

    def written(self) -> Written:
        """What passed by."""
        counts = np.unique(np.concatenate([np.zeros(0, np.uint64), *self._marks]), return_counts=True)[1]
        return Written(self._rows, self._zero, int(counts[counts > 1].sum()), int(counts.max(initial=0)))

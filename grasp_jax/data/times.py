"""Columns of times: numbers, ISO 8601 dates and timestamps as numbers that grow with time."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute as pc

from grasp_jax.common.errors import UserError, shown
from grasp_jax.data import time_units
from grasp_jax.data.row_locations import RowLocations

_BLOCK = 1 << 20  # rows of text that are looked at together
_NUMBER = r'^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$'
_EXPONENT = r'^[+-]?\d(?:[.,](?P<digits>\d*))?e\+?(?P<power>\d+)$'
_NO_DATE = pd.NaT.value
_REMEDY = ('not a time; give numbers that grow with time (as Unix seconds) or ISO 8601 dates (as 2024-01-31, of '
           'the years 1678 to 2261) in the whole column; a row without a time, or with a stand-in for one, has to go')


def read(values: pd.Series, path: RowLocations) -> np.ndarray:
    """Reads and checks a column, whose index holds the rows' numbers.

    Args:
      values: numbers, text or timestamps [r].
      path: the file, for messages.

    Returns:
      int64 or float64 [r]: numbers as they are, dates as nanoseconds since 1970.

    Raises:
      UserError: a row holds no time, or the column mixes units, dates with numbers, or stand-ins with times.
    """
    column = _column(values, path)
    kind = column.type
    dates = pyarrow.types.is_temporal(kind)
    if dates:
        times = _nanoseconds(column, values, path)
    elif pyarrow.types.is_floating(kind):
        times = _floats(column, values, path)
    elif pyarrow.types.is_integer(kind):
        times = _integers(column, values, path)
    elif pyarrow.types.is_large_string(kind):
        times, dates = _text(column, values, path)
    else:
        _refuse(values, path, 0)
    time_units.check(times, path, str(values.name), values.index, dates)
    return times


def _column(values: pd.Series, path: RowLocations) -> pyarrow.ChunkedArray:
    if values.dtype == object:
        return pyarrow.chunked_array([_of_objects(values, path)])
    column = pyarrow.array(values)
    if isinstance(column, pyarrow.Array):
        column = pyarrow.chunked_array([column])
    kinds = pyarrow.types
    if kinds.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if kinds.is_string(column.type) or kinds.is_decimal(column.type):
        column = column.cast(pyarrow.string()).cast(pyarrow.large_string())
    return column


def _of_objects(values: pd.Series, path: RowLocations) -> pyarrow.Array:
    """A column of a JSONL file: whole numbers if all are, else text."""
    if all(type(value) is int and -2**63 <= value < 2**63 for value in values):
        return pyarrow.array(values.to_numpy(), pyarrow.int64())
    found: list[str] = []
    for place, value in enumerate(values):
        if isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            found.append(str(int(value)))
        elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**64:
            found.append(str(value))
        elif isinstance(value, (str, float)) and value == value:
            found.append(value if isinstance(value, str) else str(value))
        else:
            _refuse(values, path, place)
    return pyarrow.array(found, pyarrow.large_string())


def _refuse(values: pd.Series, path: RowLocations, place: int) -> None:
    value = values.iloc[place]
    text = '' if value is None else str(value)
    raise UserError(f'{path.row(values.index[place])}: column {values.name!r} is {shown(text)}, {_REMEDY}')


def _first(mask: Any) -> int:
    return int(np.argmax(np.asarray(mask, bool)))


def _integers(column: pyarrow.ChunkedArray, values: pd.Series, path: RowLocations) -> np.ndarray:
    if column.null_count:
        _refuse(values, path, _first(column.is_null()))
    numbers = np.asarray(column)
    if numbers.dtype == np.uint64 and (numbers >= 2**63).any():
        _refuse(values, path, _first(numbers >= 2**63))
    return numbers.astype(np.int64)


def _floats(column: pyarrow.ChunkedArray, values: pd.Series, path: RowLocations) -> np.ndarray:
    numbers = np.asarray(column.cast(pyarrow.float64()).fill_null(np.nan))
    if not np.isfinite(numbers).all():
        _refuse(values, path, _first(~np.isfinite(numbers)))
    narrow = {'float': 2**24, 'halffloat': 2**11}.get(str(column.type))
    if narrow and (np.abs(numbers) > narrow).any():
        place = _first(np.abs(numbers) > narrow)
        raise UserError(f'{path.row(values.index[place])}: column {values.name!r} is {numbers[place]:.0f}, stored as '
                        f'{column.type}, which cannot tell it from its neighbours; store it as int64 or float64')
    return numbers


def _nanoseconds(column: pyarrow.ChunkedArray, values: pd.Series, path: RowLocations) -> np.ndarray:
    if column.null_count:
        _refuse(values, path, _first(column.is_null()))
    if pyarrow.types.is_time(column.type) or pyarrow.types.is_duration(column.type):
        return np.asarray(column.cast(pyarrow.int64() if column.type.bit_width == 64 else pyarrow.int32()), np.int64)
    try:
        return np.asarray(column.cast(pyarrow.timestamp('ns')).cast(pyarrow.int64()))
    except pyarrow.ArrowInvalid:  # one of them does not fit
        seconds = np.asarray(column.cast(pyarrow.timestamp('s'), safe=False).cast(pyarrow.int64()))
        _refuse(values, path, _first(np.abs(seconds) >= 2**63 // 10**9))
        raise


def _blocks(column: pyarrow.ChunkedArray) -> Iterator[pyarrow.Array]:
    """Text in blocks, trimmed: copies of all of it would be large."""
    return (pc.utf8_trim_whitespace(chunk.slice(start, _BLOCK))
            for chunk in column.chunks for start in range(0, len(chunk), _BLOCK))


def _each(column: pyarrow.ChunkedArray, look: Callable[[pyarrow.Array], Any]) -> np.ndarray:
    """What `look` finds in each row of text."""
    return np.concatenate([np.asarray(look(text)) for text in _blocks(column)])


def _cell(column: pyarrow.ChunkedArray, place: int) -> str:
    return pc.utf8_trim_whitespace(column[place]).as_py()


def _text(column: pyarrow.ChunkedArray, values: pd.Series, path: RowLocations) -> tuple[np.ndarray, bool]:
    """Numbers or dates, and whether they are dates."""
    if column.null_count:
        _refuse(values, path, _first(column.is_null()))
    try:
        return _each(column, lambda text: text.cast(pyarrow.int64())), False
    except pyarrow.ArrowInvalid:
        pass
    numeric = _each(column, lambda text: pc.match_substring_regex(text, _NUMBER, ignore_case=True))
    if numeric.all():
        return _numbers(column, values, path), False
    nanoseconds, clock, offset = map(np.concatenate, zip(*map(_calendar, _blocks(column)), strict=True))
    valid = nanoseconds != _NO_DATE
    if numeric.any() and valid.any():
        one, other = sorted((_first(numeric), _first(valid)))
        raise UserError(f'{path.row(values.index[other])}: column {values.name!r} is {_cell(column, other)!r}, not a '
                        f'time like {_cell(column, one)!r} in row {path.name(values.index[one])}: one is a number '
                        'and one a date; write numbers (as Unix seconds) or ISO 8601 dates in the whole column')
    wrong = ~numeric if numeric.any() else ~valid
    if wrong.any():
        _refuse(values, path, _first(wrong))
    if (clock & offset).any() and (clock & ~offset).any():  # their order would be a guess
        place = _first(clock & ~offset)
        raise UserError(f'{path.row(values.index[place])}: column {values.name!r} is {_cell(column, place)!r}, '
                        'without an offset from UTC, which other rows have; write it in all rows or in none')
    return nanoseconds, True


def _numbers(column: pyarrow.ChunkedArray, values: pd.Series, path: RowLocations) -> np.ndarray:
    """Whole where all are, also where `.0` stands behind: nanoseconds since 1970 do not fit a float64 exactly."""
    def whole(text: pyarrow.Array) -> pyarrow.Array:
        return pc.replace_substring_regex(text, r'^\+?([+-]?\d+)\.0*$|^\+(\d+)$', r'\1\2')

    try:
        return _each(column, lambda text: whole(text).cast(pyarrow.int64()))
    except pyarrow.ArrowInvalid:
        pass
    _refuse_rounded(column, values, path)
    numbers = _each(column, lambda text: pc.replace_substring_regex(whole(text), r'^\+', '').cast(pyarrow.float64()))
    integer = _each(column, lambda text: pc.match_substring_regex(whole(text), r'^[+-]?\d+$'))
    wrong = ~np.isfinite(numbers) | (integer & (np.abs(numbers) >= 2.0**63))
    if wrong.any():
        _refuse(values, path, _first(wrong))
    if (integer & (np.abs(numbers) > 2**53)).any():  # their order would be lost
        place = _first(~integer)
        raise UserError(f'{path.row(values.index[place])}: column {values.name!r} is {_cell(column, place)!r}, no '
                        'whole number, while others are too large to be anything else; write whole numbers in all rows')
    return numbers


def _refuse_rounded(column: pyarrow.ChunkedArray, values: pd.Series, path: RowLocations) -> None:
    """Refuses numbers whose exponent is larger than the digits that are left, as spreadsheets write them."""
    exponents = _each(column, lambda text: pc.match_substring_regex(text, _EXPONENT, ignore_case=True))
    if values.dtype == object or not exponents.any():  # numbers of JSON are what they are
        return
    written = pc.utf8_lower(pc.utf8_trim_whitespace(column.filter(pyarrow.array(exponents))))
    parts = pc.extract_regex(written.combine_chunks(), _EXPONENT)
    digits = np.asarray(pc.utf8_length(parts.field('digits')))
    rounded = np.asarray(parts.field('power').cast(pyarrow.int64())) > digits
    if digits.max() <= 6 and rounded.any():  # else trailing zeros of a longer number
        place = int(np.flatnonzero(exponents)[np.argmax(rounded)])
        raise UserError(f'{path.row(values.index[place])}: column {values.name!r} is {_cell(column, place)!r}, a '
                        'number that a spreadsheet has rounded: its place in the order is lost; write whole numbers')


def _plain_offset(text: pyarrow.Array) -> pyarrow.Array:
    """Dates with the ways of programs to name UTC (`... UTC`, `GMT`, `+0000 UTC`, `Z[UTC]`) as ISO 8601 has them."""
    if not pc.any(pc.match_substring_regex(text, r'(?i)([a-z\]]| [+-]\d\d:?\d\d|(?:UTC|GMT)[+-][\d:]+)$')).as_py():
        return text
    text = pc.replace_substring_regex(text, r'\[[A-Za-z_/+\-0-9]+\]$', '')
    text = pc.replace_substring_regex(text, r'(?i) *(?:Z|[+-]00:?00)? *(?:Etc/)?(?:UTC|GMT|Z)$', 'Z')
    text = pc.replace_substring_regex(text, r'(?i) *(?:UTC|GMT)?([+-]\d\d:?\d\d)$', r'\1')
    return pc.replace_substring_regex(text, r'^(\d{4}-\d\d-\d\d)Z$', r'\1')


def _calendar(text: pyarrow.Array) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """ISO 8601 text as nanoseconds since 1970, `_NO_DATE` where it is no date between 1678 and 2261; numbers are none.

    Returns:
      int64 [r]; bool [r], whether a time of day stands there; bool [r], whether an offset from UTC does.
    """
    plain = _plain_offset(text)
    clock = pc.match_substring_regex(plain, r':|[Tt ]\d')
    offset = pc.match_substring_regex(plain, r'(?i)(?::\d\d|[T ]\d).*(?:Z|[+-]\d\d(?::?\d\d)?)$')
    moments = _usual(plain, pc.all(offset).as_py())
    if moments is None:
        numeric = pc.match_substring_regex(text, _NUMBER, ignore_case=True)
        dated = pc.match_substring_regex(text, r'\d')  # `now` would be the clock's time
        moments = _any_iso(pc.if_else(pc.and_(dated, pc.invert(numeric)), plain, None))
    return moments, np.asarray(clock), np.asarray(offset)


def _usual(text: pyarrow.Array, offset: bool) -> np.ndarray | None:
    """Dates of 1700 to 2199 as most programs write them, a third of the time of `_any_iso`; None where others are."""
    if not pc.all(pc.match_substring_regex(text, r'^(1[7-9]|2[01])\d\d-\d\d-\d\d([T ]\d\d:\d\d|$)')).as_py():
        return None
    try:
        return np.asarray(text.cast(pyarrow.timestamp('ns', 'UTC' if offset else None)).cast(pyarrow.int64()))
    except pyarrow.ArrowInvalid:
        return None


def _any_iso(text: pyarrow.Array) -> np.ndarray:
    moments = pd.to_datetime(pd.Series(text.to_pandas(), dtype=object), format='ISO8601', utc=True, errors='coerce')
    fits = (moments > pd.Timestamp.min.tz_localize('UTC')) & (moments < pd.Timestamp.max.tz_localize('UTC'))
    return moments.where(fits).dt.as_unit('ns').astype('int64').to_numpy()

"""Columns of ids: as text, each distinct one once, and checked.

The checks look at distinct ids and at how many rows each has, so that a reader of any number of rows can call them.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute as pc

from grasp_jax.common.errors import UserError, shown
from grasp_jax.data import nothing, spellings
from grasp_jax.data.row_locations import RowLocations

LOG = logging.getLogger(__name__)

_WHOLE = {'halffloat': 2**11, 'float': 2**24 - 1, 'double': 2**53}  # above, not every whole number can be told apart
_CONTROL = '[\\x00-\\x1f\\x7f\\x{80}-\\x{9f}\\x{2028}\\x{2029}]'
_ROUNDED = re.compile(r'[+-]?(\d)(?:[.,](\d*))?[eE](\+?)(\d{1,3})')
_DAY = (r'^(\d{1,2}[-/. ](jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)([-/. ]\d{2,4})?'
        r'|(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[-/. ]\d{2,4}|\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d\d-\d\d)$')


class Ids(NamedTuple):
    """A column of ids.

    Attributes:
      codes: int32 [r], values index `ids`.
      ids: text [n], distinct, without white space around them.
    """

    codes: np.ndarray
    ids: pyarrow.Array

    def counts(self) -> np.ndarray:
        """int [n], rows of each id."""
        return np.bincount(self.codes, minlength=len(self.ids))


def encode(values: pd.Series, path: RowLocations) -> Ids:
    """Reads a column, whose index holds the rows' numbers; whole numbers stored as floating-point ones are whole.

    Raises:
      UserError: a row is empty or holds what is no id: a truth value, a list, an object, or a number that is not whole
        or too large for its type to tell it from its neighbours.
    """
    column = _text_of_objects(values, path) if values.dtype == object else pyarrow.array(values)
    column = pyarrow.chunked_array([column]) if isinstance(column, pyarrow.Array) else column
    kind = column.type.value_type if pyarrow.types.is_dictionary(column.type) else column.type
    if pyarrow.types.is_boolean(kind) or pyarrow.types.is_nested(kind):
        row = int(np.argmax(np.asarray(pc.is_valid(column)))) if column.null_count < len(column) else 0
        if column[row].is_valid:
            raise UserError(_no_id(path, values, row, column[row].as_py()))
    if not pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    column = column.combine_chunks()
    if column.null_count:
        _refuse_empty(path, values, int(np.argmax(np.asarray(column.is_null()))))
    codes, distinct = np.asarray(column.indices), column.dictionary
    if pyarrow.types.is_floating(kind):
        distinct = _whole(distinct, codes, values, path)
    text = pc.utf8_trim_whitespace(distinct.cast(pyarrow.large_string()))
    empty = np.asarray(pc.equal(text, ''))
    if empty.any():
        used = np.flatnonzero(empty[codes])
        if len(used):
            _refuse_empty(path, values, int(used[0]))
    merged = text.dictionary_encode()  # trimmed ids may have become equal
    if len(merged.dictionary) < len(text):
        text, codes = merged.dictionary, np.asarray(merged.indices)[codes]
    return _without_unused(np.asarray(codes, np.int32), text)


def _without_unused(codes: np.ndarray, text: pyarrow.Array) -> Ids:
    """A dictionary may hold more than its column does."""
    used = np.bincount(codes, minlength=len(text)) > 0
    if used.all():
        return Ids(codes, text)
    return Ids((np.cumsum(used) - 1)[codes].astype(np.int32), text.filter(pyarrow.array(used)))


def _refuse_empty(path: RowLocations, values: pd.Series, place: int) -> None:
    raise UserError(f'{path.row(values.index[place])}: column {values.name!r} is empty; give the id or delete '
                    'this row')


def _no_id(path: RowLocations, values: pd.Series, place: int, value: Any) -> str:
    return (f'{path.row(values.index[place])}: column {values.name!r} is {value}, not an id; write ids as text or '
            'whole numbers')


def _text_of_objects(values: pd.Series, path: RowLocations) -> pyarrow.Array:
    """A column of a JSONL file as text."""
    found: list[str | None] = []
    for place, value in enumerate(values):
        if isinstance(value, str):
            found.append(value)
        elif value is None or isinstance(value, float) and np.isnan(value):
            found.append(None)
        elif isinstance(value, int) and not isinstance(value, bool):
            found.append(str(value))
        elif isinstance(value, float) and value.is_integer() and abs(value) <= 2**53:
            found.append(str(int(value)))
        else:
            raise UserError(_no_id(path, values, place, value))
    return pyarrow.array(found, pyarrow.large_string())


def _whole(distinct: pyarrow.Array, codes: np.ndarray, values: pd.Series, path: RowLocations) -> pyarrow.Array:
    numbers = np.asarray(distinct.cast(pyarrow.float64()))
    if np.isnan(numbers).any():
        missing = np.flatnonzero(np.isnan(numbers)[codes])
        if len(missing):
            _refuse_empty(path, values, int(missing[0]))
    wrong = ~(np.isfinite(numbers) & (numbers == np.trunc(numbers)) & (np.abs(numbers) <= _WHOLE[str(distinct.type)]))
    if wrong.any():
        place = int(np.argmax(wrong[codes]))
        raise UserError(_no_id(path, values, place, numbers[codes[place]]))
    return pyarrow.array(numbers.astype(np.int64))


def check(ids: pyarrow.Array, path: RowLocations, column: str, row_of: Callable[[int], int]) -> None:
    """Refuses what no id can be, and warns of ids that meet only in their loose form or that a spreadsheet changed.

    Args:
      ids: text [n], distinct.
      path, column: where they stand, for the message.
      row_of: the number of the first row with the id of a place.

    Raises:
      UserError: an id with a control character such as a line break or NUL, a truth value, or a rounded number.
    """
    def refuse(mask: np.ndarray, why: str) -> None:
        if mask.any():
            row, place = min((row_of(int(place)), int(place)) for place in np.flatnonzero(mask)[:1000])
            raise UserError(f'{path.row(row)}: column {column!r} is {shown(ids[place].as_py())}, {why}')

    def matching(pattern: str) -> np.ndarray:
        return np.asarray(pc.match_substring_regex(ids, pattern, ignore_case=True))

    refuse(matching(r'[\r\n\x0b\x0c\x{85}\x{2028}\x{2029}]'), 'several lines in one id; take away the stray quote or '
           'the line break')
    refuse(matching(_CONTROL), 'with a character that no text has; write this id anew')
    refuse(matching('^(true|false)$'), 'a truth value, not an id; name the right column or give the id')
    exponents = matching(r'^[+-]?\d([.,]\d*)?e\+?\d{1,3}$')
    if exponents.any():
        rounded = _rounded(ids, exponents)
        refuse(rounded, 'a number that a spreadsheet has rounded: other ids have become this one too; export this '
               'column as text or as whole numbers')
        _warn_of_exponents(ids, exponents, path, column, row_of)
    _warn_of_spreadsheets(ids, path, column, row_of)
    met = spellings.within(ids)
    if met:
        LOG.warning('%s: column %r: %d of its %d ids differ from another one only in %s, as %r and %r; if these are '
                    'one thing, write it alike', path, column, met.number, len(ids), spellings.WAYS, met.one, met.other)


def _rounded(ids: pyarrow.Array, exponents: np.ndarray) -> np.ndarray:
    """Which ids with an exponent have fewer digits than their number. Written without a sign, as by Java, the last may
    be zeros: then no id of the column has over 6."""
    places = np.flatnonzero(exponents)
    parts = [_ROUNDED.fullmatch(ids[int(place)].as_py()) for place in places]
    digits = [len(part[2] or '') if part else 0 for part in parts]
    few = max(digits) <= 6
    found = np.zeros(len(ids), bool)
    for place, part, count in zip(places, parts, digits, strict=True):
        dotted = part is not None and part[2] is not None
        found[place] = bool(part and int(part[4]) > count and (part[3] or dotted and few))
    return found


def _warn_of_exponents(ids: pyarrow.Array, exponents: np.ndarray, path: RowLocations, column: str,
                       row_of: Callable[[int], int]) -> None:
    """Says where numbers are written with an exponent, but whole; 12E5 without a point or sign may be a code."""
    numbers = exponents & np.asarray(pc.match_substring_regex(ids, r'[.,+]'))
    if numbers.any():
        place = int(np.argmax(numbers))
        LOG.warning('%s: column %r is %r (ids so written: %d); if they are numbers, write them whole, as '
                    'other tables do', path.row(row_of(place)), column, ids[place].as_py(), int(numbers.sum()))


def _warn_of_spreadsheets(ids: pyarrow.Array, path: RowLocations, column: str, row_of: Callable[[int], int]) -> None:
    """Says where ids look like the dates that a spreadsheet makes of codes, or like numbers cut after 15 digits."""
    days = np.asarray(pc.match_substring_regex(ids, _DAY, ignore_case=True))
    if 0 < days.sum() < len(ids) / 2:
        place = int(np.argmax(days))
        LOG.warning('%s: column %r is %r: %d of its %d ids look like dates, which spreadsheets make of codes; '
                    'if they are none, export this column as text', path.row(row_of(place)), column, ids[place].as_py(),
                    int(days.sum()), len(ids))
    long = ids.filter(pc.match_substring_regex(ids, r'^\d{16,}$'))
    cut = pc.match_substring_regex(long, r'^[1-9]\d{14}0+$')
    beyond = pc.sum(pc.subtract(pc.utf8_length(long), 15)).as_py() or 0
    if len(long) and pc.all(cut).as_py() and beyond >= 6:  # by chance once in a million
        place = pc.index(ids, long[0]).as_py()
        LOG.warning('%s: column %r is %r: all %d ids of over 15 digits end in zeros from the 16th on, as where '
                    'a spreadsheet cuts numbers; if they were cut, export this column as text', path.row(row_of(place)),
                    column, long[0].as_py(), len(long))


def warn_of_missing(ids: pyarrow.Array, counts: np.ndarray, path: RowLocations, column: str,
                    row_of: Callable[[int], int]) -> None:
    """Says how many rows have an id that reads as if there were none.

    Args:
      ids: text [n], distinct.
      counts: int [n], rows of each.
      path, column: where they stand, for the message.
      row_of: the number of the first row with the id of a place.
    """
    places = nothing.missing_ids(ids, counts)
    if len(places):
        rows, most = int(counts[places].sum()), int(places[0])
        LOG.warning('%s: column %r reads as missing in %d of %d rows (%.1f%%), as %r in row %s; if this stands for no '
                    'id, delete these rows: they become one', path, column, rows, int(counts.sum()),
                    100 * rows / counts.sum(), ids[most].as_py(), path.name(row_of(most)))

"""A person's own tables (CSV, Parquet, JSONL) and the plain `user item` list of LLM-ESR."""

import collections.abc
import datetime
import functools
import logging
import pathlib
import warnings
import zlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from grasp_jax.data import json_lines, log
from grasp_jax.errors import UserError

LOG = logging.getLogger(__name__)


def read_table(path: pathlib.Path) -> pd.DataFrame:
    """Reads a table by the ending of its name: .csv, .tsv, .parquet, .jsonl (or .json), text ones also with .gz.

    Text stays text: CSV cells are strings, and an id such as 007 keeps its zeros.

    Raises:
      UserError: another ending, or the file cannot be read.
    """
    kind = path.name.removesuffix('.gz').rpartition('.')[2]
    if kind in ('jsonl', 'json'):
        rows = dict(json_lines.read_objects(path))
        return pd.DataFrame(list(rows.values()), index=list(rows), dtype=object)  # numbers as they are written
    if kind not in ('csv', 'tsv', 'parquet'):
        raise UserError(f'{path}: its name ends in none of .csv, .tsv, .parquet, .jsonl; convert it to one of these')
    try:
        if kind == 'parquet':
            table = _with_text(pyarrow.parquet.read_table(path))
            frame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
            frame = frame[[name for name in frame if not name.startswith('__index_level_')]]  # what pandas adds
        else:
            frame = _read_text(path, '\t' if kind == 'tsv' else ',')
    except UnicodeDecodeError as error:
        raise UserError(f'{path}: is not UTF-8 (byte {error.object[error.start]:#x}); save it as UTF-8') from error
    except pd.errors.ParserWarning as error:
        raise UserError(f'{path}: its rows have more cells than its header; take away what separates at the ends of '
                        'rows, or name the last column') from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        reason = ' '.join(str(error).split())
        raise UserError(f'{path}: cannot be read as {kind} ({reason}); correct or replace the file') from error
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def _with_text(table: pyarrow.Table) -> pyarrow.Table:
    """The table with text where it has bytes, which is what some writers make of text, or views, which few can read."""
    kinds = pyarrow.types
    stored = (kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary, kinds.is_binary_view,
              kinds.is_string_view)
    fields = []
    for field in table.schema:
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        fields.append(field.with_type(pyarrow.large_string()) if any(is_(kind) for is_ in stored) else field)
    return table.cast(pyarrow.schema(fields))


def _read_text(path: pathlib.Path, separator: str) -> pd.DataFrame:
    with warnings.catch_warnings():
        warnings.simplefilter('error', pd.errors.ParserWarning)
        read = functools.partial(pd.read_csv, path, sep=separator, dtype=str, keep_default_na=False, index_col=False,
                                 encoding='utf-8-sig')
        header = read(header=None, nrows=1).iloc[0].str.strip()  # pandas would give equal names numbers
        repeated = header[header.duplicated() & (header != '')]
        if len(repeated):
            raise UserError(f'{path}: has two columns {repeated.iloc[0]!r}; rename one')
        frame: pd.DataFrame = read()
    frame.columns = frame.columns.str.strip()
    # Row numbers, as pandas writes them: under no name, or under the one that it gives such a column when it reads it.
    numbers = frame.columns.str.fullmatch(r'Unnamed: \d+(_level_\d+)?')
    return frame.loc[:, ~numbers]


def read_interactions(path: pathlib.Path, config: ml_collections.ConfigDict) -> log.InteractionLog:
    """Reads a table with a user, an item and a time in each row.

    Args:
      path: the table; rows may come in any order, those of equal time keep theirs.
      config: the `data` section; the names of the three columns are read.

    Raises:
      UserError: unreadable, empty, a column is missing, or a row lacks its user, item or numeric time.
    """
    frame = read_table(path)
    if frame.empty:
        raise UserError(f'{path}: holds no interactions; fill it or name another file')
    users, user_ids = pd.factorize(_ids(frame, path, config, 'user_column'))
    items, item_ids = pd.factorize(_ids(frame, path, config, 'item_column'))
    return log.from_codes(users, items, _times(frame, path, config), list(user_ids), list(item_ids))


def read_attributes(path: pathlib.Path, config: ml_collections.ConfigDict, id_column: str,
                    wanted: collections.abc.Collection[str]) -> dict[str, dict[str, Any]]:
    """Reads a table with one row per user or item and any other columns.

    Args:
      path: the table.
      config: the `data` section.
      id_column: the config key that names the id column, 'user_column' or 'item_column'.
      wanted: ids to read; the other rows are passed over.

    Returns:
      For each id that was found its non-empty values by column name in lower case; JSON values.

    Raises:
      UserError: unreadable, a column is missing, a row without an id, or an id described twice and differently.
    """
    frame = read_table(path)
    if frame.empty:
        raise UserError(f'{path}: holds no rows; fill it or leave its name out of the config')
    ids = _ids(frame, path, config, id_column)
    frame = frame.drop(columns=config[id_column])
    names = [str(name).strip().lower() for name in frame.columns]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f'{path}: has two columns {repeated!r} (case does not count); rename one')
    wanted = frozenset(wanted)
    found: dict[str, dict[str, Any]] = {}
    rows: dict[str, int] = {}
    for row, identity, values in zip(frame.index, ids, frame.itertuples(index=False, name=None), strict=True):
        if identity not in wanted:
            continue
        attributes = {name: value for name, value in zip(names, map(_plain, values), strict=True)
                      if value not in (None, '', [], {})}
        if found.setdefault(identity, attributes) != attributes:
            raise UserError(f'{path}, row {row}: describes {config[id_column]} {identity!r} again and differently '
                            f'from row {rows[identity]}; delete one of the two rows')
        rows.setdefault(identity, row)
    if len(found) < len(wanted) / 2:
        other = next((identity for identity in ids if identity not in wanted), ids[0])
        LOG.warning('%s: describes %d of the %d ids in the interactions; they have %r and this table %r: if these are '
                    'two ways to write one id, write it alike', path, len(found), len(wanted),
                    min(wanted - found.keys()), other)
    return found


def read_inter(path: pathlib.Path) -> log.InteractionLog:
    """Reads LLM-ESR's inter.txt: `user item` a line, both counted from 1, in time order within each user.

    The place in the file is the time; ids keep their numeric order, so that user 1 is user 0 here and item 1 item 1.

    Raises:
      UserError: unreadable, empty, or a line that is not two numbers from 1 on.
    """
    pairs: list[tuple[int, int]] = []
    for row, line in json_lines.read_lines(path):
        fields = line.split()
        if not fields:
            continue
        if len(fields) != 2 or not all(
                field.isdigit() and len(field) <= 10 and 0 < int(field) < 2**31 for field in fields):
            text = line[:60].decode('utf-8', 'replace').strip()
            raise UserError(f'{path}, line {row}: {text!r} is not `user item` with both numbers counted from 1; '
                            'correct or delete this line')
        pairs.append((int(fields[0]), int(fields[1])))
    if not pairs:
        raise UserError(f'{path}: holds no interactions; fetch it again or name another file')
    users, items = np.array(pairs, np.int64).T
    user_ids, user_codes = np.unique(users, return_inverse=True)
    item_ids, item_codes = np.unique(items, return_inverse=True)
    return log.from_codes(user_codes, item_codes, np.arange(len(pairs)), [str(user) for user in user_ids],
                          [str(item) for item in item_ids], key=int)


def _column(frame: pd.DataFrame, path: pathlib.Path, config: ml_collections.ConfigDict, key: str) -> pd.Series:
    name = config[key]
    if name in frame.columns:
        return frame[name]
    header = ', '.join(map(str, frame.columns))
    if len(frame.columns) == 1:
        separator = max(';\t|,', key=header.count)
        parts = header.replace('"', '').split(separator)
        if name in parts:
            raise UserError(f'{path}: its columns seem to be parted by {separator!r} ({len(parts)} of them); part them '
                            'by commas, or by tabs in a file called .tsv')
    raise UserError(f'{path}: has no column {name!r} (it has {header}); set --config.data.{key}')


def _ids(frame: pd.DataFrame, path: pathlib.Path, config: ml_collections.ConfigDict, key: str) -> np.ndarray:
    values = _whole(_column(frame, path, config, key), path)
    text = values.astype(str).str.strip()
    missing = (values.isna() | text.isna() | (text == '')).to_numpy(bool)
    if missing.any():
        row = frame.index[int(np.argmax(missing))]
        raise UserError(f'{path}, row {row}: column {config[key]!r} is empty; give the id or delete this row')
    return text.to_numpy(object)


def _whole(values: pd.Series, path: pathlib.Path) -> pd.Series:
    """A column of ids in which floating-point numbers are whole ones, 1 for 1.0; others cannot tell entities apart, nor
    can lists and objects, which may be written in many ways."""
    kind = values.dtype
    nested = isinstance(kind, pd.ArrowDtype) and pyarrow.types.is_nested(kind.pyarrow_dtype)
    if not (nested or values.dtype == object or pd.api.types.is_float_dtype(kind)):
        return values
    whole = [int(value) if isinstance(value, float) and abs(value) <= 2**53 and value.is_integer() else value
             for value in values]
    for row, value in zip(values.index, whole, strict=True):
        if isinstance(value, (list, tuple, dict, np.ndarray)) or isinstance(value, float) and not np.isnan(value):
            shown = value if isinstance(value, float) else _plain(value)
            raise UserError(f'{path}, row {row}: column {values.name!r} is {shown}, not an id; write ids as text or '
                            'whole numbers')
    return pd.Series(whole, values.index, object)


def _times(frame: pd.DataFrame, path: pathlib.Path, config: ml_collections.ConfigDict) -> np.ndarray:
    values = _column(frame, path, config, 'time_column')
    kind = values.dtype.kind if isinstance(values.dtype, pd.ArrowDtype) else ''
    if kind == 'M' or str(values.dtype).startswith('date'):
        # A missing date becomes NaN here and is refused below like any other time that is no number.
        try:
            values = values.astype('timestamp[ns][pyarrow]').astype('int64[pyarrow]')
        except pyarrow.ArrowInvalid:  # one of them does not fit
            values = _calendar(values.astype(str))
    elif len(values) and isinstance(values.iloc[0], str) and not _is_number(values.iloc[0]):
        _refuse_mixed(values, path)
        values = _calendar(values)
    values = values.astype(object).map(_as_time)
    numbers = pd.to_numeric(values, errors='coerce')
    times = numbers.to_numpy(np.float64, na_value=np.nan)
    whole = pd.api.types.is_integer_dtype(numbers)
    wrong = ~np.isfinite(times) | (whole & (np.abs(times) >= 2.0**63))
    if not whole and not wrong.any():
        _refuse_fractions(values, times, path)
    if wrong.any():
        place = int(np.argmax(wrong))
        raise UserError(f'{path}, row {frame.index[place]}: column {config.time_column!r} is '
                        f'{str(frame[config.time_column].iloc[place])!r}, not a time; give numbers that grow with time '
                        '(as Unix seconds) or ISO 8601 dates in the whole column')
    # Nanoseconds since 1970 do not fit a float64 exactly, so whole numbers stay whole.
    return numbers.to_numpy(np.int64) if whole else times


def _as_time(value: Any) -> Any:
    """A cell of a column of times; None for what is none, though it could be read as a number."""
    return None if isinstance(value, (bool, np.bool_)) or isinstance(value, int) and abs(value) >= 2**64 else value


def _refuse_fractions(values: pd.Series, times: np.ndarray, path: pathlib.Path) -> None:
    """Refuses whole numbers too large for a float64 beside numbers that are not whole: their order would be lost."""
    integer = values.astype(str).str.strip().str.fullmatch(r'[+-]?\d+').to_numpy(bool)
    if (integer & (np.abs(times) > 2**53)).any():
        place = int(np.argmin(integer))
        raise UserError(f'{path}, row {values.index[place]}: column {values.name!r} is {values.iloc[place]!r}, no '
                        'whole number, while others are too large to be anything else; write whole numbers in all rows')


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _refuse_mixed(values: pd.Series, path: pathlib.Path) -> None:
    """Refuses dates of which some name their offset from UTC and others none: their order would be a guess."""
    text = values.astype(str).str.strip()
    clock = text.str.contains(r':|[T ]\d', case=False)
    offset = text.str.contains(r'(?::\d\d|[T ]\d).*(?:Z|[+-]\d\d(?::?\d\d)?)$', case=False)
    if (clock & offset).any() and (clock & ~offset).any():
        row = values.index[int(np.argmax((clock & ~offset).to_numpy(bool)))]
        raise UserError(f'{path}, row {row}: column {values.name!r} is {text[row]!r}, without an offset from UTC, '
                        'which other rows have; write it in all rows or in none')


def _calendar(values: pd.Series) -> pd.Series:
    """ISO 8601 text as nanoseconds since 1970; what is no date between 1678 and 2262 becomes missing."""
    dates = values.astype(object).where(values.astype(str).str.contains(r'\d'), None)  # `now` would be the clock's time
    moments = pd.to_datetime(dates, format='ISO8601', utc=True, errors='coerce')
    fits = (moments > pd.Timestamp.min.tz_localize('UTC')) & (moments < pd.Timestamp.max.tz_localize('UTC'))
    moments = moments.where(fits)
    nanoseconds = moments.dt.as_unit('ns').astype('int64').astype(object)
    return nanoseconds.where(moments.notna(), None)


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

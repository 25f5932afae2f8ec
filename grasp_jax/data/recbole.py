"""RecBole's atomic files (.inter, .item, .user): tables whose header names a type beside each column.

Format: https://recbole.io/docs/user_guide/data/atomic_files.html
"""

import logging
import pathlib
import re
import zlib
from collections.abc import Collection
from typing import NamedTuple

import ml_collections
import pandas as pd
import pyarrow
import pyarrow.csv

from grasp_jax.common import json_lines
from grasp_jax.common.errors import UserError

LOG = logging.getLogger(__name__)

INTERACTIONS, ITEMS, USERS = '.inter', '.item', '.user'
TYPES = ('token', 'token_seq', 'float', 'float_seq')
_SEPARATORS = ('\t', ',', ';', '|', ' ')
_COLUMN = re.compile(rf'([^:\t]+):({"|".join(TYPES)})')
# Columns of items that hold what every other data set calls the title.
_TITLE = re.compile(r'(\w+_)?title')
_NAME = re.compile(r'((item|product|movie|artist|book|song|track|album|business|anime|game|recipe)_?)?name')


class Header(NamedTuple):
    """The first row of an atomic file.

    Attributes:
      types: type of each column by its name, in the file's order.
      separator: the character between cells.
    """

    types: dict[str, str]
    separator: str

    def of_type(self, *types: str) -> list[str]:
        """The columns of these types."""
        return [name for name, kind in self.types.items() if kind in types]


def is_atomic(path: pathlib.Path) -> bool:
    """Whether a name ends as those of atomic files do, packed by gzip or not."""
    return path.name.lower().removesuffix('.gz').endswith((INTERACTIONS, ITEMS, USERS))


def beside(path: pathlib.Path, ending: str) -> pathlib.Path | None:
    """The file of another kind of the same data set, as ml-100k.item beside ml-100k.inter, if it is there."""
    stem = path.name[:path.name.lower().rindex(INTERACTIONS)]
    return next((path.with_name(stem + name) for name in (ending, f'{ending}.gz')
                 if path.with_name(stem + name).is_file()), None)


def read_header(path: pathlib.Path) -> Header:
    """Reads the names and types of the columns.

    Raises:
      UserError: unreadable, or the first row is no header of `name:type`.
    """
    try:
        with json_lines.opened(path) as stream:
            line = stream.readline(1 << 20).decode('utf-8-sig').strip('\r\n')
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise UserError(f'{path}: cannot be read ({" ".join(str(error).split())}); fetch or copy this file again '
                        'as UTF-8') from error
    for separator in _SEPARATORS:
        cells = [cell.strip().strip('"').strip() for cell in line.split(separator)]
        found = [_COLUMN.fullmatch(cell) for cell in cells]
        if all(found):
            names = [match[1].strip() for match in found if match]
            repeated = next((name for name in names if names.count(name) > 1), None)
            if repeated is not None:
                raise UserError(f'{path}: has two columns {repeated!r}; rename one')
            return Header({match[1].strip(): match[2] for match in found if match}, separator)
    raise UserError(f'{path}: its first row ({line[:80]!r}) is no header of RecBole, which names a type beside each '
                    f'column, as user_id:token ({", ".join(TYPES)}), parted by tabs; write it so, or call a table with '
                    'a plain header .tsv or .csv')


def read_table(path: pathlib.Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Reads an atomic file as a frame of text; the names of the columns are without their types.

    Vectors (float_seq) are no text about an item or a user and stay out. Where items have no title but one column such
    as movie_title or name, it is called title.

    Args:
      path: the file.
      columns: the only ones to keep, where all of them are there; empty: all.

    Returns:
      A frame whose index is the number of the row, from 1.

    Raises:
      UserError: unreadable, or a row has too few or too many cells.
    """
    header = read_header(path)
    names = list(header.types)
    kept = list(columns) if columns and set(columns) <= set(names) else [
        name for name in names if header.types[name] != 'float_seq']
    wrong: list[pyarrow.csv.InvalidRow] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        wrong.append(row)
        return 'error'

    tabs = header.separator == '\t'  # then nothing needs quotes, and one is part of the text
    try:
        with json_lines.opened(path) as stream:
            table = pyarrow.csv.read_csv(
                stream,
                pyarrow.csv.ReadOptions(column_names=names, skip_rows=1, use_threads=False, block_size=1 << 24),
                pyarrow.csv.ParseOptions(delimiter=header.separator, quote_char=False if tabs else '"',
                                         invalid_row_handler=note),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(names, pyarrow.large_string()),
                                           include_columns=kept, strings_can_be_null=False))
    except (OSError, EOFError, ValueError, zlib.error) as error:
        if wrong:
            row = wrong[0]
            raise UserError(f'{path}, row {(row.number or 1) - 1}: has {row.actual_columns} cells and the header '
                            f'{row.expected_columns} ({row.text[:60].strip()!r}); correct this row') from error
        raise UserError(f'{path}: cannot be read ({" ".join(str(error).split())}); correct or replace the '
                        'file, as UTF-8') from error
    frame = table.to_pandas(types_mapper=pd.ArrowDtype)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    if tabs:
        frame = frame.apply(_unquoted)
    return frame.rename(columns=_title(path, header))


def with_columns(config: ml_collections.ConfigDict, path: pathlib.Path) -> ml_collections.ConfigDict:
    """The section `data` with the names that the columns have in an atomic file.

    A name that the config gives counts, with its type or without. Where the file has no such column, RecBole's usual
    user_id, item_id and timestamp do, and then the only column that can be meant.

    Raises:
      UserError: as `read_header`.
    """
    header = read_header(path)
    copy = ml_collections.ConfigDict(config.to_dict())
    tokens = header.of_type('token')
    ending = path.name.lower().removesuffix('.gz').rpartition('.')[2]
    usual = {'user_column': 'user_id', 'item_column': 'item_id', 'time_column': 'timestamp'}
    for key, name in usual.items():
        given = str(config[key]).partition(':')[0]
        chosen = given if given in header.types else name if name in header.types else None
        if chosen is not None:
            copy[key] = chosen
    if ending == 'inter':
        for key, other in (('user_column', 'item_column'), ('item_column', 'user_column')):
            left = [name for name in tokens if name != copy[other]]
            if copy[key] not in header.types and copy[other] in header.types and len(left) == 1:
                copy[key] = left[0]
        times = [name for name in header.of_type('float') if re.search('time|date', name, re.IGNORECASE)]
        if copy.time_column not in header.types and len(times) == 1:
            copy.time_column = times[0]
    else:
        key = f'{ending}_column'
        ids = [name for name in tokens if name.lower().endswith('id')] or tokens
        if copy[key] not in header.types and (len(ids) == 1 or ids and ids[0] == next(iter(header.types))):
            copy[key] = ids[0]
    return copy


def _unquoted(column: pd.Series) -> pd.Series:
    """Cells that a writer of CSV put in quotes, as it does with those that hold some."""
    inside = column.str.fullmatch(r'"(?:[^"]|"")*"') & column.str[1:-1].str.contains('""', regex=False)
    if not inside.any():
        return column
    return column.where(~inside, column.str[1:-1].str.replace('""', '"', regex=False))


def _title(path: pathlib.Path, header: Header) -> dict[str, str]:
    if not path.name.lower().removesuffix('.gz').endswith(ITEMS) or 'title' in map(str.lower, header.types):
        return {}
    texts = header.of_type('token', 'token_seq')
    for pattern in (_TITLE, _NAME):
        found = [name for name in texts if pattern.fullmatch(name.lower())]
        if len(found) == 1:
            LOG.info('%s: the column %s is taken as the title', path, found[0])
            return {found[0]: 'title'}
    return {}

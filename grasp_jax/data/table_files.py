"""Files with a table (CSV, TSV, Parquet, JSONL; packed by gzip or not) as a frame, without anything read by guess."""

import collections.abc
import csv
import dataclasses
import io
import pathlib
import zlib
from typing import Any

import pandas as pd
import pyarrow
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from grasp_jax.data import json_lines, recbole
from grasp_jax.errors import UserError

_KINDS = ('csv', 'tsv', 'parquet', 'jsonl', 'json')
_OTHERS = {b'PK\x03\x04': 'a ZIP archive or a workbook (.xlsx)', b'\x28\xb5\x2f\xfd': 'packed by zstd',
           b'BZh': 'packed by bzip2', b'\xfd7zXZ': 'packed by xz',
           b'PAR1': 'a Parquet file', b'\xd0\xcf\x11\xe0': 'a workbook (.xls)'}
_BLOCKS = (1 << 20, 1 << 26, 1 << 30)  # bytes read at once; a row has to fit


@dataclasses.dataclass(frozen=True)
class LongRow:
    """A row of text with a cell over several lines: what a stray quote makes of several rows.

    Attributes:
      row: its number, from 1.
      cells: all its cells as they are in the file's order.
      column: place of the cell over several lines.
    """

    row: int
    cells: tuple[str, ...]
    column: int

    def lines(self, separator: str) -> list[list[str]]:
        """The cells of each line that this row covers, had no quote joined them."""
        pieces = self.cells[self.column].replace('\r\n', '\n').replace('\r', '\n').split('\n')
        found = [piece.split(separator) for piece in pieces]
        found[0] = [*self.cells[:self.column], *found[0]]
        found[-1] = [*found[-1], *self.cells[self.column + 1:]]
        return found


def read_table(path: pathlib.Path, columns: collections.abc.Collection[str] = (),
               ids: collections.abc.Collection[str] = (),
               known: collections.abc.Collection[str] = ()) -> pd.DataFrame:
    """Reads a table by the ending of its name, .csv, .tsv, .parquet or .jsonl (.json), in any case; gzip is seen by its
    first bytes, so .gz may stand behind or not.

    Text stays text: CSV cells are strings, and an id such as 007 keeps its zeros.

    Args:
      path: the table.
      columns: the only ones to keep, where all of them are there; empty: all.
      ids: columns with ids, which tell the rows that a stray quote has swallowed from a text over several lines.
      known: ids that such rows may have beside those that the columns hold.

    Returns:
      A frame whose index is the number of the row (JSONL: of the line), from 1.

    Raises:
      UserError: another ending, the file cannot be read, or a row has too few or too many cells.
    """
    if recbole.is_atomic(path):
        return recbole.read_table(path, columns)
    kind = path.name.lower().removesuffix('.gz').rpartition('.')[2]
    if kind not in _KINDS:
        raise UserError(f'{path}: its name ends in none of .csv, .tsv, .parquet, .jsonl; convert it to one of these')
    if kind != 'parquet':
        _refuse_others(path)
    if kind in ('jsonl', 'json'):
        return _read_objects(path, columns)
    try:
        if kind == 'parquet':
            table = _read_parquet(path, columns)
        else:
            table = _read_text(path, '\t' if kind == 'tsv' else ',', columns, ids, known)
    except UnicodeDecodeError as error:
        _refuse_encoding(path)
        raise UserError(f'{path}: is not UTF-8 (byte {error.object[error.start]:#x}); save it as UTF-8') from error
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        reason = ' '.join(str(error).split())
        raise UserError(f'{path}: cannot be read as {kind} ({reason}); correct or replace the file') from error
    frame = table.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return frame


def _refuse_others(path: pathlib.Path) -> None:
    try:
        with path.open('rb') as stream:
            start = stream.read(8)
    except OSError:
        return  # said where it is read
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise UserError(f'{path}: is {what}, whatever its name says; save it as .csv, .tsv, .parquet or .jsonl')


def _read_objects(path: pathlib.Path, columns: collections.abc.Collection[str]) -> pd.DataFrame:
    rows: list[int] = []
    records: list[dict[str, Any]] = []
    for row, record in json_lines.read_objects(path):
        rows.append(row)
        records.append({name: record[name] for name in columns if name in record} if columns else record)
    frame = pd.DataFrame(records, index=rows, dtype=object)  # numbers as they are written
    if columns and not set(columns) <= set(frame.columns):
        return _read_objects(path, ())  # what it has instead is said
    return frame


def _read_parquet(path: pathlib.Path, columns: collections.abc.Collection[str]) -> pyarrow.Table:
    """The table with text where it has bytes, which is what some writers make of text, or views, which few can read."""
    names = pyarrow.parquet.read_schema(path).names
    kept = [name for name in names if name in columns] if columns and set(columns) <= set(names) else [
        name for name in names if not name.startswith('__index_level_')]  # what pandas adds
    table = pyarrow.parquet.read_table(path, columns=kept)
    kinds = pyarrow.types
    stored = (kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary, kinds.is_binary_view,
              kinds.is_string_view)
    fields = []
    for field in table.schema:
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        fields.append(field.with_type(pyarrow.large_string()) if any(is_(kind) for is_ in stored) else field)
    return table.cast(pyarrow.schema(fields))


def _header(path: pathlib.Path, separator: str) -> tuple[list[str], int]:
    """The names of the columns and how many lines stand before and in them that are no row."""
    with json_lines.opened(path) as raw, io.TextIOWrapper(raw, 'utf-8-sig', newline='') as text:
        blank = 0
        for names in csv.reader(text, delimiter=separator):
            if names:
                return [name.strip() for name in names], blank + 1
            blank += 1
    raise ValueError('it is empty')


def _read_text(path: pathlib.Path, separator: str, columns: collections.abc.Collection[str],
               ids: collections.abc.Collection[str], known: collections.abc.Collection[str]) -> pyarrow.Table:
    names, above = _header(path, separator)
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f'{path}: has two columns {repeated!r}; rename one')
    if columns and set(columns) <= set(names):
        kept = [place for place, name in enumerate(names) if name in columns]
    else:
        # Row numbers, as pandas writes them: under no name, or under the one that it gives when it reads such a column.
        kept = [place for place, name in enumerate(names) if name and not _is_row_number(name)]
    for block in _BLOCKS:
        try:
            table, long = _scan(path, separator, names, above, kept, block)
            break
        except pyarrow.ArrowInvalid as error:
            if 'invalid UTF8' in str(error):
                _refuse_encoding(path)
            if 'straddl' not in str(error) or block == _BLOCKS[-1]:
                raise
    places = [names.index(name) for name in ids if name in names]
    _refuse_swallowed(path, separator, long, places, table, [names[place] for place in places],
                      frozenset(known))
    return table


def _is_row_number(name: str) -> bool:
    middle = name.removeprefix('Unnamed: ').partition('_level_')
    return name.startswith('Unnamed: ') and middle[0].isdigit() and (not middle[1] or middle[2].isdigit())


def _scan(path: pathlib.Path, separator: str, names: list[str], above: int, kept: list[int],
          block: int) -> tuple[pyarrow.Table, list[LongRow]]:
    """The kept columns as text, and the rows that may be several."""
    labels = [str(place) for place in range(len(names))]
    wrong: list[pyarrow.csv.InvalidRow] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        if not wrong:
            wrong.append(row)
        return 'skip'

    batches, long, count = [], [], 0
    with _open_arrow(path) as stream:
        for batch in pyarrow.csv.open_csv(
                stream,
                pyarrow.csv.ReadOptions(column_names=labels, skip_rows_after_names=above, block_size=block,
                                        use_threads=False),
                pyarrow.csv.ParseOptions(delimiter=separator, newlines_in_values=True, invalid_row_handler=note),
                pyarrow.csv.ConvertOptions(column_types=dict.fromkeys(labels, pyarrow.large_string()),
                                           strings_can_be_null=False)):
            if wrong:
                _refuse_cells(path, wrong[0], above, names)
            long += _long_rows(batch, separator, count)
            count += len(batch)
            batches.append(batch.select(kept))
    if wrong:
        _refuse_cells(path, wrong[0], above, names)
    table = pyarrow.Table.from_batches(batches, pyarrow.schema([(labels[place], pyarrow.large_string())
                                                               for place in kept]))
    return table.rename_columns([names[place] for place in kept]), long


def _open_arrow(path: pathlib.Path) -> pyarrow.NativeFile:
    return pyarrow.input_stream(path, compression='gzip' if json_lines.is_gzip(path) else None)


def _long_rows(batch: pyarrow.RecordBatch, separator: str, before: int) -> list[LongRow]:
    """The rows of a batch with a cell over several lines and with as many separators in it as a row has."""
    found = []
    for place, column in enumerate(batch.columns):
        broken = pc.match_substring_regex(column, r'[\r\n]')
        if pc.any(broken).as_py():
            full = pc.greater_equal(pc.count_substring(column, separator), batch.num_columns - 1)
            for row in pc.indices_nonzero(pc.and_(broken, full)).to_pylist():
                cells = tuple(other[row].as_py() for other in batch.columns)
                found.append(LongRow(before + row + 1, cells, place))
    return found


def _refuse_swallowed(path: pathlib.Path, separator: str, long: list[LongRow], places: list[int],
                      table: pyarrow.Table, names: list[str], more: frozenset[str]) -> None:
    """Refuses a row that is several: two or more of its lines have all cells and a known id among them."""
    if not long or not places:
        return
    width = len(long[0].cells)
    known = [more.union(pc.utf8_trim_whitespace(table[name]).unique().to_pylist()) for name in names]
    for row in sorted(long, key=lambda row: row.row):
        lines = [line for line in row.lines(separator) if len(line) == width and any(
            line[place].strip(' \t"') in ids for place, ids in zip(places, known, strict=True))]
        if len(lines) > 1 or row.column in places:
            raise UserError(f'{path}, row {row.row}: a quote opens here and joins {len(row.lines(separator))} lines, '
                            'which look like rows of their own; take it away, or double quotes inside of quotes')


def _refuse_cells(path: pathlib.Path, wrong: pyarrow.csv.InvalidRow, above: int, names: list[str]) -> None:
    row = f'{path}, row {wrong.number - above}' if wrong.number is not None else f'{path}'
    text, width, breaks = ' '.join(wrong.text[:60].split()), len(names), wrong.text.strip().count('\n')
    if breaks:
        raise UserError(f'{row}: cannot be read as csv: a quote opens here ({text!r}) and joins '
                        f'{breaks + 1} lines; take it away, or double quotes inside of quotes')
    if wrong.actual_columns > width:
        raise UserError(f'{row}: cannot be read as csv: its rows have more cells than its header '
                        f'({wrong.actual_columns} and {width}: {text!r}); take away what separates at the ends of '
                        'rows, name the last column, or put cells that hold the separator in quotes')
    raise UserError(f'{row}: column {names[wrong.actual_columns]!r} is not there: this row has {wrong.actual_columns} '
                    f'cells and the header {width} ({text!r}); give what is missing or delete this row')


def _refuse_encoding(path: pathlib.Path) -> None:
    with json_lines.opened(path) as raw:
        for row, line in enumerate(raw):
            try:
                line.decode('utf-8')
            except UnicodeDecodeError as error:
                raise UserError(f'{path}: is not UTF-8 (byte {line[error.start]:#x}); save it as UTF-8 (the '
                                f'byte stands in line {row + 1})') from error

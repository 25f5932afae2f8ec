"""CSV and TSV files as text, block by block, without a row read otherwise than it was meant."""

import csv
import dataclasses
import io
import logging
import pathlib
from collections.abc import Collection, Iterator
from typing import NamedTuple

import pyarrow
import pyarrow.compute as pc
import pyarrow.csv

from grasp_jax.common import json_lines
from grasp_jax.common.errors import UserError
from grasp_jax.data import blocks

LOG = logging.getLogger(__name__)
_BLOCKS = (1 << 22, 1 << 26, 1 << 30)  # bytes read at once; a row has to fit


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


class Text(NamedTuple):
    """What was read from a file.

    Attributes:
      table: the kept columns as text, those of ids encoded as dictionaries.
      long: rows that a stray quote may have made of several.
      names: of all columns, in the file's order.
      separator: between cells.
    """

    table: pyarrow.Table
    long: list[LongRow]
    names: tuple[str, ...]
    separator: str


def header(path: pathlib.Path, separator: str) -> tuple[list[str], int]:
    """The names of the columns and how many lines stand before and in them that are no row.

    Raises:
      ValueError, OSError: unreadable or empty.
    """
    with json_lines.opened(path) as raw, io.TextIOWrapper(raw, 'utf-8-sig', newline='') as text:
        blank = 0
        for names in csv.reader(text, delimiter=separator):
            if names:
                return [name.strip() for name in names], blank + 1
            blank += 1
    raise ValueError('it is empty')


def read(path: pathlib.Path, separator: str, columns: Collection[str], ids: Collection[str]) -> Text:
    """Reads a file block by block.

    Args:
      path: the file; gzip is seen by its first bytes.
      separator: between cells.
      columns: the only ones to keep, where all of them are there; empty: all.
      ids: columns of which each block holds every distinct cell once.

    Raises:
      UserError: a row has too few or too many cells, or a column is there twice.
      ValueError, OSError: what else cannot be read.
    """
    names, above = header(path, separator)
    names = _fitting(path, separator, names)
    repeated = next((name for name in names if name and names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f'{path}: has two columns {repeated!r}; rename one')
    if columns and set(columns) <= set(names):
        kept = [place for place, name in enumerate(names) if name in columns]
    else:
        # Row numbers, as pandas writes them: under no name, or under the one that it gives when it reads such a column.
        kept = [place for place, name in enumerate(names) if name and not is_row_number(name)]
    long: list[LongRow] = []
    batches = [blocks.encoded(batch, ids) for batch in _batches(path, separator, names, above, kept, long)]
    schema = pyarrow.schema([(names[place], pyarrow.large_string()) for place in kept])
    return Text(blocks.table(batches, schema, ids), long, tuple(names), separator)


def _fitting(path: pathlib.Path, separator: str, names: list[str]) -> list[str]:
    """The names as wide as the first row, where the header alone ends in separators."""
    named = max((place for place, name in enumerate(names, 1) if name), default=0)
    if named in (0, len(names)):
        return names
    LOG.info('%s: what its header has no name for, behind the column %r, is not read', path, names[named - 1])
    width = _width_of_first_row(path, separator)
    return names[:width] if width is not None and named <= width else names


def _width_of_first_row(path: pathlib.Path, separator: str) -> int | None:
    """Cells of the first row below the header; None where there is none, or a quote makes it too long."""
    with json_lines.opened(path) as raw, io.TextIOWrapper(raw, 'utf-8-sig', newline='') as text:
        rows = filter(None, csv.reader(text, delimiter=separator))
        next(rows)
        try:
            return len(next(rows, ())) or None
        except csv.Error:
            return None


def is_row_number(name: str) -> bool:
    """Whether a column has the name that pandas gives to one without."""
    middle = name.removeprefix('Unnamed: ').partition('_level_')
    return name.startswith('Unnamed: ') and middle[0].isdigit() and (not middle[1] or middle[2].isdigit())


def _batches(path: pathlib.Path, separator: str, names: list[str], above: int, kept: list[int],
             long: list[LongRow]) -> Iterator[pyarrow.RecordBatch]:
    """The kept columns as text, block by block; the rows that may be several are added to `long`."""
    done = 0
    for size in _BLOCKS:
        before = 0
        try:
            for batch in _scan(path, separator, names, above, size):
                new = batch.slice(max(0, done - before))  # the others came in smaller blocks
                before += len(batch)
                if len(new):
                    long += _long_rows(new, separator, done)
                    done += len(new)
                    yield new.select(kept).rename_columns([names[place] for place in kept])
            return
        except pyarrow.ArrowInvalid as error:
            if 'invalid UTF8' in str(error):
                refuse_encoding(path)
            if 'straddl' not in str(error) or size == _BLOCKS[-1]:
                raise


def _scan(path: pathlib.Path, separator: str, names: list[str], above: int,
          block: int) -> Iterator[pyarrow.RecordBatch]:
    labels = [str(place) for place in range(len(names))]
    wrong: list[pyarrow.csv.InvalidRow] = []

    def note(row: pyarrow.csv.InvalidRow) -> str:
        if not wrong:
            wrong.append(row)
        return 'skip'

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
            yield batch
    if wrong:
        _refuse_cells(path, wrong[0], above, names)


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


def refuse_swallowed(path: pathlib.Path, text: Text, table: pyarrow.Table, ids: Collection[str],
                     more: frozenset[str]) -> None:
    """Refuses a row that is several: two or more of its lines have all cells and a known id among them.

    Args:
      path: the file.
      text: what was read from it.
      table: the file's rows, or those of all parts of a folder.
      ids: columns with ids.
      more: ids that such rows may have beside those of the columns.

    Raises:
      UserError: there is such a row.
    """
    places = [text.names.index(name) for name in ids if name in text.names]
    if not text.long or not places:
        return
    width = len(text.names)
    known = [more.union(pc.utf8_trim_whitespace(blocks.distinct(table[text.names[place]])).to_pylist())
             for place in places]
    for row in sorted(text.long, key=lambda row: row.row):
        parted = row.lines(text.separator)
        lines = [line for line in parted if len(line) == width and any(
            line[place].strip(' \t"') in ids for place, ids in zip(places, known, strict=True))]
        if len(lines) > 1 or row.column in places:
            raise UserError(f'{path}, row {row.row}: a quote opens here and joins {len(parted)} lines, '
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


def refuse_encoding(path: pathlib.Path) -> None:
    """Names the line of the first byte that is not UTF-8.

    Raises:
      UserError: there is one.
    """
    with json_lines.opened(path) as raw:
        for row, line in enumerate(raw):
            try:
                line.decode('utf-8')
            except UnicodeDecodeError as error:
                raise UserError(f'{path}: is not UTF-8 (byte {line[error.start]:#x}); save it as UTF-8 (the '
                                f'byte stands in line {row + 1})') from error

"""Files with a table (CSV, TSV, Parquet, JSONL; packed by gzip or not) as a frame, without anything read by guess."""

import collections.abc
import csv
import json
import pathlib
import zlib
from typing import Any, NamedTuple

import pandas as pd
import pyarrow
import pyarrow.parquet

from grasp_jax.common import json_lines
from grasp_jax.common.errors import UserError
from grasp_jax.data import blocks, delimited, recbole
from grasp_jax.data.row_locations import RowLocations

_KINDS = ('csv', 'tsv', 'parquet', 'jsonl', 'json')
_OTHERS = {b'PK\x03\x04': 'a ZIP archive or a workbook (.xlsx)', b'\x28\xb5\x2f\xfd': 'packed by zstd',
           b'BZh': 'packed by bzip2', b'\xfd7zXZ': 'packed by xz',
           b'PAR1': 'a Parquet file', b'\xd0\xcf\x11\xe0': 'a workbook (.xls)'}
_BLOCK = 1 << 20  # rows of Parquet that are read at once

Names = collections.abc.Collection[str]


class Table(NamedTuple):
    """A table that was read.

    Attributes:
      frame: its columns; the index is the number of the row (JSONL: of the line) from 1, over all parts of a folder.
      places: where the rows stand.
    """

    frame: pd.DataFrame
    places: RowLocations


def parts(path: pathlib.Path) -> list[pathlib.Path]:
    """The files of a folder that hold a table together, in the order of their names, those in folders inside as well.

    Names that begin with `.` or `_` are what other programs leave beside the parts.

    Raises:
      UserError: there is none, or their names do not end alike.
    """
    inside = sorted(found for found in path.rglob('*') if found.is_file())
    files = [file for file in inside if not any(name[0] in '._' for name in file.relative_to(path).parts)]
    if not files:
        raise UserError(f'{path}: is a folder without files; put the parts of the table there or name a file')
    other = next((file for file in files if _kind(file) != _kind(files[0])), None)
    if other is not None:
        raise UserError(f'{path}: is a folder with {files[0].relative_to(path)} and {other.relative_to(path)}, which '
                        'are no parts of one table; leave files of one kind there, or name a file')
    return files


def _kind(path: pathlib.Path) -> str:
    return path.name.lower().removesuffix('.gz').rpartition('.')[2]


def read_table(path: pathlib.Path, columns: Names = (), ids: Names = (), known: Names = ()) -> Table:
    """Reads a table by the ending of its name, .csv, .tsv, .parquet or .jsonl (.json), in any case; gzip is seen by its
    first bytes, so .gz may stand behind or not. The files of a folder are read as one table.

    Text stays text: CSV cells are strings, and an id such as 007 keeps its zeros.

    Args:
      path: the table, or a folder with its parts.
      columns: the only ones to keep, where all of them are there; empty: all.
      ids: columns with ids, which are encoded as dictionaries. They tell the rows that a stray quote has swallowed from
        a text over several lines.
      known: ids that such rows may have beside those that the columns hold.

    Raises:
      UserError: another ending, a file cannot be read, a row has too few or too many cells, or parts do not fit each
        other.

    Example:
      >>> pd.DataFrame({'user': ['007', '007'], 'item': ['pump', 'light']}).to_csv('sales.csv', index=False)
      >>> read_table(pathlib.Path('sales.csv')).frame.user.tolist()
      ['007', '007']
    """
    if path.is_dir():
        files = parts(path)
    else:
        files = [path]
        if recbole.is_atomic(path):
            return Table(recbole.read_table(path, columns), RowLocations(path))
    kind = _kind(files[0])
    if kind not in _KINDS:
        raise UserError(f'{files[0]}: its name ends in none of .csv, .tsv, .parquet, .jsonl; convert it to one of '
                        'these')
    if kind in ('jsonl', 'json'):
        return _of_frames(path, files, [_read_objects(file, columns) for file in files])
    read = [_read_file(file, kind, columns, ids) for file in files]
    tables = [part.table if isinstance(part, delimited.Text) else part for part in read]
    whole = tables[0] if len(files) == 1 else _joined(files, tables, ids)
    for file, part in zip(files, read, strict=True):
        if isinstance(part, delimited.Text):
            delimited.refuse_swallowed(file, part, whole, ids, frozenset(known))
    frame = whole.to_pandas(types_mapper=pd.ArrowDtype, ignore_metadata=True)
    frame.index = pd.RangeIndex(1, len(frame) + 1)
    return Table(frame, _places(path, files, [len(table) for table in tables]))


def column_names(path: pathlib.Path) -> list[str]:
    """The columns of a table that `read_table` can read, of a folder those of its first part; in JSONL those of the
    first line.

    Raises:
      UserError, ValueError, OSError: it cannot be read.
    """
    file = parts(path)[0] if path.is_dir() else path
    if recbole.is_atomic(file):
        return list(recbole.read_header(file).types)
    kind = _kind(file)
    if kind == 'parquet':
        return [name for name in pyarrow.parquet.read_schema(file).names if not name.startswith('__index_level_')]
    if kind in ('csv', 'tsv'):
        names, _ = delimited.header(file, '\t' if kind == 'tsv' else ',')
        return [name for name in names if name and not delimited.is_row_number(name)]
    with json_lines.opened(file) as lines:
        first = next((line for line in lines if line.strip()), b'{}')
    return list(json.loads(first.decode('utf-8-sig', 'replace')))


def _places(path: pathlib.Path, files: list[pathlib.Path], rows: list[int]) -> RowLocations:
    if files == [path]:
        return RowLocations(path)
    return RowLocations(path, files, [sum(rows[:part]) for part in range(len(files))])


def _read_file(path: pathlib.Path, kind: str, columns: Names, ids: Names) -> pyarrow.Table | delimited.Text:
    if kind != 'parquet':
        _refuse_others(path)
    try:
        if kind == 'parquet':
            return _read_parquet(path, columns, ids)
        return delimited.read(path, '\t' if kind == 'tsv' else ',', columns, ids)
    except UserError:
        raise
    except (OSError, EOFError, ValueError, zlib.error, csv.Error) as error:
        if isinstance(error, UnicodeDecodeError):
            delimited.refuse_encoding(path)
            raise UserError(f'{path}: is not UTF-8 (byte {error.object[error.start]:#x}); save it as UTF-8') from error
        reason = ' '.join(str(error).split())
        raise UserError(f'{path}: cannot be read as {kind} ({reason}); correct or replace the file') from error


def _refuse_others(path: pathlib.Path) -> None:
    try:
        with path.open('rb') as stream:
            start = stream.read(8)
    except OSError:
        return  # said where it is read
    for magic, what in _OTHERS.items():
        if start.startswith(magic):
            raise UserError(f'{path}: is {what}, though its name says otherwise; save it as .csv, .tsv, .parquet or '
                            '.jsonl')


def _joined(files: list[pathlib.Path], tables: list[pyarrow.Table], ids: Names) -> pyarrow.Table:
    """The rows of all parts, one after the other."""
    names = tables[0].column_names
    for file, table in zip(files, tables, strict=True):
        if sorted(table.column_names) != sorted(names):
            raise UserError(f'{file}: has the columns {", ".join(table.column_names)}, and {files[0].name} has '
                            f'{", ".join(names)}; give all parts the same columns, those in CSV a header each')
        for name in names:
            if name in ids and table.schema.field(name).type != tables[0].schema.field(name).type:
                raise _differ(file, name, table, files[0], tables[0])
    try:
        whole = pyarrow.concat_tables([table.select(names) for table in tables], promote_options='permissive')
    except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError) as error:
        for file, table in zip(files, tables, strict=True):
            for name in names:
                try:
                    pyarrow.unify_schemas([tables[0].select([name]).schema, table.select([name]).schema],
                                          promote_options='permissive')
                except (pyarrow.ArrowInvalid, pyarrow.ArrowTypeError):
                    raise _differ(file, name, table, files[0], tables[0]) from error
        raise
    return blocks.unified(whole, ids)


def _differ(file: pathlib.Path, name: str, table: pyarrow.Table, first: pathlib.Path,
            other: pyarrow.Table) -> UserError:
    def stored(table: pyarrow.Table) -> str:
        kind = table.schema.field(name).type
        return str(kind.value_type if pyarrow.types.is_dictionary(kind) else kind)

    return UserError(f'{file}: its column {name!r} is stored as {stored(table)}, that of {first.name} as '
                     f'{stored(other)}; store it alike in all parts')


def _of_frames(path: pathlib.Path, files: list[pathlib.Path], frames: list[pd.DataFrame]) -> Table:
    lines = [int(frame.index[-1]) if len(frame) else 0 for frame in frames]
    places = _places(path, files, lines)
    for frame, before in zip(frames, places.before, strict=False):
        frame.index = frame.index + before
    return Table(pd.concat(frames) if len(frames) > 1 else frames[0], places)


def _read_objects(path: pathlib.Path, columns: Names) -> pd.DataFrame:
    rows: list[int] = []
    records: list[dict[str, Any]] = []
    for row, record in json_lines.read_objects(path):
        rows.append(row)
        records.append({name: record[name] for name in columns if name in record} if columns else record)
    frame = pd.DataFrame(records, index=rows, dtype=object)  # numbers as they are written
    if columns and not set(columns) <= set(frame.columns):
        return _read_objects(path, ())  # what it has instead is said
    return frame


def _read_parquet(path: pathlib.Path, columns: Names, ids: Names) -> pyarrow.Table:
    """The table with text where it has bytes, which is what some writers make of text, or views, which few can read."""
    with pyarrow.parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        kept = [name for name in names if name in columns] if columns and set(columns) <= set(names) else [
            name for name in names if not name.startswith('__index_level_')]  # what pandas adds
        schema = _readable(pyarrow.schema([file.schema_arrow.field(name) for name in kept]))
        batches = [blocks.encoded(batch.cast(schema), ids)
                   for batch in file.iter_batches(_BLOCK, columns=kept, use_threads=False)]
    return blocks.table(batches, schema, ids)


def _readable(schema: pyarrow.Schema) -> pyarrow.Schema:
    kinds = pyarrow.types
    stored = (kinds.is_binary, kinds.is_large_binary, kinds.is_fixed_size_binary, kinds.is_binary_view,
              kinds.is_string_view)
    fields = []
    for field in schema:
        kind = field.type.value_type if kinds.is_dictionary(field.type) else field.type
        fields.append(field.with_type(pyarrow.large_string()) if any(is_(kind) for is_ in stored) else field)
    return pyarrow.schema(fields)

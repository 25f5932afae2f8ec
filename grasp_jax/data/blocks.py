"""Blocks of rows as one table, in which each distinct id is held once for many rows."""

from collections.abc import Collection, Sequence

import pyarrow


def encoded(batch: pyarrow.RecordBatch, ids: Collection[str]) -> pyarrow.RecordBatch:
    """The block with its columns of ids as dictionaries, where they hold what may be ids."""
    columns = [_encode(column) if name in ids else column
               for name, column in zip(batch.schema.names, batch.columns, strict=True)]
    return pyarrow.RecordBatch.from_arrays(columns, batch.schema.names)


def _encode(column: pyarrow.Array) -> pyarrow.Array:
    kinds = pyarrow.types
    if any(is_(column.type) for is_ in (kinds.is_nested, kinds.is_boolean, kinds.is_null)):
        return column
    if kinds.is_dictionary(column.type):
        column = column.dictionary_decode()  # its numbers may be too narrow for those of all blocks
    return column.dictionary_encode()


def table(batches: Sequence[pyarrow.RecordBatch], schema: pyarrow.Schema, ids: Collection[str]) -> pyarrow.Table:
    """The table of some blocks, with one dictionary for each column of ids.

    Args:
      batches: encoded blocks.
      schema: of the table where there are none.
      ids: columns with ids.
    """
    if not batches:
        batches = [encoded(pyarrow.RecordBatch.from_pylist([], schema), ids)]
    return unified(pyarrow.Table.from_batches(batches), ids)


def unified(whole: pyarrow.Table, ids: Collection[str]) -> pyarrow.Table:
    """The table with one dictionary for each column of ids, instead of one for each block."""
    for place, name in enumerate(whole.column_names):
        if name in ids and pyarrow.types.is_dictionary(whole.schema.types[place]):
            whole = whole.set_column(place, name, whole.column(place).unify_dictionaries())
    return whole


def distinct(column: pyarrow.ChunkedArray) -> pyarrow.Array:
    """The distinct values of a column of any kind."""
    found = column.unique()
    return found.dictionary_decode() if pyarrow.types.is_dictionary(found.type) else found

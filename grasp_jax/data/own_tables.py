"""A person's own tables (CSV, Parquet, JSONL) and the plain `user item` list of LLM-ESR."""

import collections.abc
import logging
import pathlib
from typing import Any

import ml_collections
import numpy as np
import pandas as pd
import pyarrow
import pyarrow.compute as pc

from grasp_jax.common import json_lines
from grasp_jax.common.errors import UserError
from grasp_jax.data import attributes, ids, interaction_log, spellings, times
from grasp_jax.data.row_locations import RowLocations
from grasp_jax.data.table_files import column_names, read_table

LOG = logging.getLogger(__name__)
_NAMED = 10  # columns that are not read


def read_interactions(path: pathlib.Path, config: ml_collections.ConfigDict) -> interaction_log.InteractionLog:
    """Reads a table with a user, an item and a time in each row.

    Args:
      path: the table, or a folder with its parts; in any order; rows of equal time keep the file's order.
      config: the `data` section; the names of the three columns are read.

    Raises:
      UserError: unreadable, empty, a column is missing, or a row lacks its user, item or numeric time.
    """
    names = [config[key] for key in ('user_column', 'item_column', 'time_column')]
    for one, other in (('user', 'item'), ('user', 'time'), ('item', 'time')):
        if config[f'{one}_column'] == config[f'{other}_column']:
            raise UserError(f'data.{one}_column and data.{other}_column are both '
                            f'{config[f"{one}_column"]!r}; name two columns of {path}')
    frame, places = read_table(path, names, names[:2])
    if frame.empty:
        raise UserError(f'{path}: holds no interactions; fill it or name another file')
    users, items = (_checked_ids(frame, places, config, key) for key in ('user_column', 'item_column'))
    stamps = times.read(_column(frame, places, config, 'time_column'), places)
    _say_what_is_not_read(path, names)
    del frame
    pyarrow.default_memory_pool().release_unused()  # what comes next does not take its memory from there
    return interaction_log.from_codes(users.codes, items.codes, stamps, users.ids.to_pylist(), items.ids.to_pylist())


def _say_what_is_not_read(path: pathlib.Path, names: list[str]) -> None:
    others = [name for name in column_names(path) if name not in names]
    if others:
        more = f' and {len(others) - _NAMED} more' if len(others) > _NAMED else ''
        LOG.info('%s: its columns %s%s are not read; each row counts as an interaction, so rows that are none '
                 '(returns, cancellations) have to be taken out before', path,
                 ', '.join(map(repr, others[:_NAMED])), more)


def _checked_ids(frame: pd.DataFrame, path: RowLocations, config: ml_collections.ConfigDict, key: str,
                 of_log: bool = True) -> ids.Ids:
    column = _column(frame, path, config, key)
    found = ids.encode(column, path)

    def row_of(place: int) -> int:
        return int(frame.index[int(np.argmax(found.codes == place))])

    ids.check(found.ids, path, config[key], row_of)
    if of_log:
        ids.warn_of_missing(found.ids, found.counts(), path, config[key], row_of)
    return found


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

    Texts that read as nothing (`nan`, `N/A`) are empty. Of an id that is described twice the fuller row counts, the
    first of equally full ones.

    Raises:
      UserError: unreadable, a column is missing, or a row without an id.
    """
    frame, rows = read_table(path, ids=[config[id_column]], known=wanted)
    if frame.empty:
        raise UserError(f'{path}: holds no rows; fill it or leave its name out of the config')
    known = _checked_ids(frame, rows, config, id_column, of_log=False)
    frame = frame.drop(columns=config[id_column])
    names = [str(name).strip().lower() for name in frame.columns]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise UserError(f'{path}: has two columns {repeated!r} (case does not count); rename one')
    asked = pyarrow.array(sorted(wanted), pyarrow.large_string())
    places = np.flatnonzero(np.asarray(pc.is_in(known.ids, asked))[known.codes])
    identities = known.ids.take(pyarrow.array(known.codes[places])).to_pylist()
    found = attributes.gather(frame.iloc[places], names, identities, rows, config[id_column])
    _warn_of_spellings(asked, known.ids, len(found), path, config[id_column])
    return found


def described_ids(path: pathlib.Path, config: ml_collections.ConfigDict, id_column: str) -> list[str]:
    """The ids of a table's rows, each once.

    Raises:
      UserError: as `read_attributes`.
    """
    frame, rows = read_table(path, [config[id_column]], [config[id_column]])
    return _checked_ids(frame, rows, config, id_column, of_log=False).ids.to_pylist()


def _warn_of_spellings(asked: pyarrow.Array, known: pyarrow.Array, found: int, path: pathlib.Path, column: str) -> None:
    """Says where a table seems to write the ids of the interactions otherwise."""
    met = spellings.between(asked, known)
    if met is None and found >= len(asked) / 2:
        return
    if met is None:
        lacking = asked.filter(pc.invert(pc.is_in(asked, known)))
        other = '' if found else f' and begins with {known[0].as_py()!r}'
        LOG.warning('%s: describes %d of the %d ids in the interactions: it lacks %r%s; if it is the right table, add '
                    'rows for the others', path, found, len(asked), lacking[0].as_py(), other)
    else:
        LOG.warning('%s: describes %d of the %d ids in the interactions; they have %r and this table %r (ids that '
                    'differ only in %s: %d): if these are two ways to write one id, write it alike', path, found,
                    len(asked), met.one, met.other, spellings.WAYS, met.number)


def read_inter(path: pathlib.Path) -> interaction_log.InteractionLog:
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
    return interaction_log.from_codes(user_codes, item_codes, np.arange(len(pairs)), [str(user) for user in user_ids],
                                      [str(item) for item in item_ids], key=int)


def _column(frame: pd.DataFrame, path: RowLocations, config: ml_collections.ConfigDict, key: str) -> pd.Series:
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
    raise UserError(f'{path}: has no column {name!r} (it has {header}); set data.{key}')

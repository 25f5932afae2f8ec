"""Lists for many people, part by part into files: what a kill leaves is kept, and the end is the same bytes.

Users are dealt out in parts of fixed size. A part is computed on its own, written under a temporary name and renamed
when it is complete, so that several processes can share the work and a later call goes on where one was killed.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from grasp_jax.common import artefacts, disk
from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.serving.recommender import ITEM, MODEL, RANK, SCORE, SOURCE, USER, Recommender

PLAN, PARTS = 'lists.json', '.parts'
ENDINGS = ('.parquet', '.csv', '.jsonl')
_ROW_BYTES = {'.parquet': 12, '.csv': 60, '.jsonl': 130}  # of a row of a list, about


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be written.

    Attributes:
      out: a file with one of `ENDINGS`, or a folder of Parquet parts.
      users: ids, in the order of the lists.
      k: items of a list.
      exact, filter_viewed: as in `Recommender.recommend`, and never None.
      part_size: users of a part.
      process, processes: which parts are this process' share.
    """

    out: pathlib.Path
    users: Sequence[str]
    k: int
    exact: bool = False
    filter_viewed: bool = True
    part_size: int = 4096
    process: int = 0
    processes: int = 1

    @property
    def ending(self) -> str:
        """Of the parts."""
        return self.out.suffix if self.out.suffix in ENDINGS else '.parquet'

    @property
    def whole(self) -> bool:
        """Whether parts are joined to one file at the end."""
        return self.out.suffix in ENDINGS

    @property
    def folder(self) -> pathlib.Path:
        """Where the parts are."""
        return self.out.with_name(self.out.name + PARTS) if self.whole else self.out

    @property
    def count(self) -> int:
        """Parts in all."""
        return -(-len(self.users) // self.part_size)

    def path(self, part: int) -> pathlib.Path:
        """Of a part, from 0."""
        return self.folder / f'part-{part + 1:05d}-of-{self.count:05d}{self.ending}'


def check(order: Order) -> None:
    """Refuses what cannot be written, before a model is loaded.

    Raises:
      UserError: the file's ending is another one, or its folder is not there.
    """
    if order.out.suffix and not order.whole:
        raise UserError(f'--out={order.out}: name a file that ends in {", ".join(ENDINGS)}, or a folder')
    if not order.out.absolute().parent.is_dir():
        raise UserError(f'--out={order.out}: its folder {order.out.parent} is not there; make it')


def write(model: Recommender, order: Order) -> bool:
    """Writes the lists of this process' parts, and joins all where this is the last one.

    Args:
      model: whose lists.
      order: which, and where.

    Returns:
      whether everything is there now; else other processes are still at work.

    Raises:
      UserError: something else is being written there, or there is no room.
    """
    check(order)
    plan = _plan(model, order)
    if order.whole and order.out.exists():
        if _noted(order.out) == artefacts.as_json(plan):
            return True
        raise UserError(f'--out={order.out}: is there already; delete it, or name another file')
    order.folder.mkdir(exist_ok=True)
    with artefacts.lock(order.folder):
        _claim(order, plan)
    missing = [part for part in range(order.process, order.count, order.processes) if not order.path(part).exists()]
    depth = min(order.k, len(model.item_ids))
    left = sum(_users_of(order, part) for part in missing)
    disk.require(order.folder, (1 + order.whole) * left * depth * _ROW_BYTES[order.ending], 'lists',
                 'make room, or name an --out on another disk')
    with Bar(total=left, desc='lists', unit='user', mininterval=1) as bar:
        for part in missing:
            users = order.users[part * order.part_size:(part + 1) * order.part_size]
            table = _table(model, users, order, bar.update)
            with artefacts.replacing(order.path(part)) as partial:
                _write(table, partial, order.ending)
    with artefacts.lock(order.folder):
        if not all(order.path(part).exists() for part in range(order.count)):
            return False
        if order.whole and not order.out.exists():
            _join(order, plan)
    if order.whole:
        shutil.rmtree(order.folder, ignore_errors=True)
    return True


def read_ids(path: pathlib.Path) -> list[str]:
    """Ids from a text file, one a line; empty lines are passed over.

    Raises:
      UserError: the file cannot be read, or holds none.
    """
    try:
        found = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: cannot be read ({error}); give a text file with one id a line') from error
    found = [line for line in found if line]
    if not found:
        raise UserError(f'{path}: holds no id; give one a line')
    return found


def _plan(model: Recommender, order: Order) -> dict[str, object]:
    digest = hashlib.sha256('\n'.join(order.users).encode()).hexdigest()[:16]
    added = hashlib.sha256(json.dumps(model.names.added, default=str).encode()).hexdigest()[:16]
    return {'model': model.version, 'new_items': added, 'users': len(order.users), 'ids': digest, 'k': order.k,
            'exact': order.exact, 'filter_viewed': order.filter_viewed, 'part_size': order.part_size,
            'ending': order.ending, 'parts': [order.path(part).name for part in range(order.count)]}


def _claim(order: Order, plan: dict[str, object]) -> None:
    """Marks the folder as that of these lists."""
    path = order.folder / PLAN
    if path.exists():
        if artefacts.read_json(path) != artefacts.as_json(plan):
            raise UserError(f'{order.folder}: holds lists of another model, of other users or other settings; delete '
                            'it, or name another --out')
    elif any(found.name not in (PLAN, '.lock') for found in order.folder.iterdir()):
        raise UserError(f'{order.folder}: holds something else; name another --out')
    else:
        artefacts.write_json(path, plan)


def _users_of(order: Order, part: int) -> int:
    return min(order.part_size, len(order.users) - part * order.part_size)


def _table(model: Recommender, users: Sequence[str], order: Order, done: Callable[[int], Any]) -> pa.Table:
    """The lists of some users, ids as dictionaries."""
    ids, scores = model.rows(users, order.k, order.filter_viewed, order.exact, done)
    there = ids > 0
    many = there.sum(1)
    rank = np.broadcast_to(np.arange(1, ids.shape[1] + 1, dtype=np.int32), ids.shape)[there]
    different, places = np.unique(ids[there], return_inverse=True)
    known = model.item_ids
    items = pa.array([known[number - 1] for number in different], pa.string())
    columns = {
        USER: pa.DictionaryArray.from_arrays(np.repeat(np.arange(len(users), dtype=np.int32), many),
                                             pa.array(users, pa.string())),
        ITEM: pa.DictionaryArray.from_arrays(places.reshape(-1).astype(np.int32), items),
        SCORE: pa.array(scores[there]), RANK: pa.array(rank),
        SOURCE: pa.DictionaryArray.from_arrays(np.zeros(int(many.sum()), np.int8), pa.array([MODEL]))}
    return pa.table(columns)


def _plain(table: pa.Table) -> pa.Table:
    """Text where there are dictionaries."""
    return table.cast(pa.schema([pa.field(field.name, pa.string() if pa.types.is_dictionary(field.type) else field.type)
                                 for field in table.schema]))


def _write(table: pa.Table, path: pathlib.Path, ending: str) -> None:
    if ending == '.parquet':
        pa.parquet.write_table(_plain(table), path, store_schema=False)
    elif ending == '.csv':
        pa.csv.write_csv(_plain(table), path)
    else:
        with path.open('w', encoding='utf-8') as file:
            for batch in table.to_batches(max_chunksize=65_536):
                file.writelines(json.dumps(row, ensure_ascii=False) + '\n' for row in batch.to_pylist())
    with path.open('rb') as file:
        os.fsync(file.fileno())


def _join(order: Order, plan: dict[str, object]) -> None:
    paths = [order.path(part) for part in range(order.count)]
    with artefacts.replacing(order.out) as partial:
        if order.ending == '.parquet':
            with pa.parquet.ParquetWriter(partial, pa.parquet.read_schema(paths[0]),
                                          store_schema=False) as writer:
                for path in paths:
                    writer.write_table(pa.parquet.read_table(path))
        else:
            with partial.open('wb') as file:
                for number, path in enumerate(paths):
                    file.writelines(_lines(path, skip=int(number > 0 and order.ending == '.csv')))
        artefacts.write_json(_note(order.out), plan)  # first: a file without its note would be refused for ever


def _lines(path: pathlib.Path, skip: int) -> Iterator[bytes]:
    with path.open('rb') as file:
        for number, line in enumerate(file):
            if number >= skip:
                yield line


def _note(out: pathlib.Path) -> pathlib.Path:
    """Says what a finished file is of."""
    return out.with_name(f'{out.name}.json')


def _noted(out: pathlib.Path) -> object:
    return artefacts.read_json(_note(out)) if _note(out).exists() else None

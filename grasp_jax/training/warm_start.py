"""Warm start: a run begins with the parameters that an earlier run ranks with (`config.train.start_from`).

The table of ids is matched by the items' own ids; a new item begins with the mean of those of its nearest neighbours
that the earlier run knew. Everything else is taken as it is, so the model and what made its vectors must be the same.
The optimiser begins afresh, and so does the running mean of the parameters: it is corrected for having begun at zero.

The manifest of a seed's folder notes what the seed began with. As soon as the folder has a checkpoint of its own, the
earlier run is needed no more.
"""

import hashlib
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from grasp_jax import artefacts
from grasp_jax.data import dataset as dataset_files
from grasp_jax.errors import UserError
from grasp_jax.knowledge import tables
from grasp_jax.retrieval.neighbours import ITEM_NEIGHBOURS
from grasp_jax.training import earlier_run, hosts
from grasp_jax.training.run import Run
from grasp_jax.training.step import TrainState

LOG = logging.getLogger(__name__)


class Start(NamedTuple):
    """What a seed begins with.

    Attributes:
      note: `folder`, `seed` and `epoch` (from 1) that the parameters are from, and a `digest` of them and `item_ids`.
      params: tree of numpy arrays.
      item_ids: ids of the rows of the table of ids from 1 on; empty where there is no table.
    """

    note: dict[str, Any]
    params: Any
    item_ids: Sequence[str]


def check(config: ml_collections.ConfigDict, workdir: pathlib.Path) -> None:
    """Refuses a run to start from that cannot be, before the stages take their time.

    Args:
      config: the full config.
      workdir: of the new run; seeds that have begun there need no start.

    Raises:
      UserError: there is no finished run, or it is of another model.
    """
    name = config.train.start_from
    if not name:
        return
    if pathlib.Path(name).resolve() == workdir.resolve():
        raise UserError(f'config.train.start_from={name}: is the --workdir itself; name that of an earlier run')
    for seed in config.train.seeds:
        if noted(workdir / f'seed{seed}', config) is None:
            earlier_run.find(config, seed)


def noted(folder: pathlib.Path, config: ml_collections.ConfigDict) -> dict[str, Any] | None:
    """What the folder of a seed notes of its start; None unless it is from where the config says."""
    note = _note(folder)
    return note if note and note['folder'] == config.train.start_from else None


def claimed(folder: pathlib.Path, config: ml_collections.ConfigDict, note: dict[str, Any] | None) -> Any:
    """What the folder of a seed is claimed with.

    A folder that notes a start stays what it is, also where the earlier run has changed or is gone since. Equal
    parameters may lie elsewhere now.

    Args:
      folder: of the seed.
      config: the full config, with a run to start from.
      note: of what was loaded for the seed; None where nothing was.

    Returns:
      A note as in `Start`; the name of the earlier run alone where nobody knows more.
    """
    known = noted(folder, config)
    if known is None and note is not None:
        before = _note(folder)
        known = before if before and before['digest'] == note['digest'] else note
    return known or config.train.start_from


def _note(folder: pathlib.Path) -> dict[str, Any] | None:
    if not (folder / artefacts.MANIFEST).exists():
        return None
    found = artefacts.read_json(folder / artefacts.MANIFEST)['config'].get('train', {}).get('start_from')
    return found if isinstance(found, dict) else None


def load(run: Run, seed: int) -> Start:
    """Reads what a seed begins with; all processes together.

    Args:
      run: of the new parameters, with a run to start from.
      seed: of the new run.

    Raises:
      UserError: there is no such run, it does not fit, or its checkpoint is damaged.
    """
    assert run.stages is not None, 'made by pipeline.run_on'
    earlier = earlier_run.find(run.config, seed)
    if run.model.spec.reads_vectors:
        earlier_run.require_same_vectors(earlier, run.stages, run.model.spec)
    params, epoch = earlier_run.ranked(earlier, run.mesh)
    has_table = 'embedding' in params.get('encoder', {})
    ids = list(dataset_files.load(earlier.stages / 'prepare').item_ids) if has_table else []
    note = {'folder': earlier.name, 'seed': earlier.seed, 'epoch': epoch + 1, 'digest': _digest(params, ids)}
    return Start(note, params, ids)


def _digest(params: Any, item_ids: Sequence[str]) -> str:
    found = hashlib.sha256(json.dumps(item_ids).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        found.update(f'{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}'.encode())
        found.update(np.ascontiguousarray(leaf).data)
    return found.hexdigest()[:16]


def first_state(run: Run, seed: int, folder: pathlib.Path) -> TrainState:
    """The state that a seed begins with: a fresh one, with the parameters of the run to start from where there is one.

    Args:
      run: what to train.
      seed: of the fresh state.
      folder: of the seed.

    Raises:
      UserError: as `load`, or the run to start from has changed since the seed began.
    """
    if not run.config.train.start_from:
        return run.fresh_state(seed)
    start, known = load(run, seed), _note(folder)
    if known is not None and known['digest'] != start.note['digest']:
        raise UserError(f'config.train.start_from={run.config.train.start_from}: holds other parameters than when '
                        f'{folder} began with them; bring those of before back, or delete {folder}')
    fresh, params = run.fresh_state(seed), start.params
    what = f'parameters of epoch {start.note["epoch"]} of seed {start.note["seed"]} of {start.note["folder"]}'
    if start.item_ids:
        rows, new, alone = _matched(run, start, hosts.on_host(fresh.params['encoder']['embedding']))
        params = {**params, 'encoder': {**params['encoder'], 'embedding': rows}}
        what += f'; {new:,} new items, {new - alone:,} of them begin as their neighbours'
    LOG.info('seed %d begins with the %s', seed, what)
    # Whatever the parameters, the optimiser's means begin at zero.
    return fresh._replace(params=jax.tree.map(_put, params, fresh.params))


def _matched(run: Run, start: Start, fresh: np.ndarray) -> tuple[np.ndarray, int, int]:
    assert run.stages is not None
    known = match_items(start.item_ids, dataset_files.load(run.stages / 'prepare').item_ids)
    neighbours = None
    if run.model.spec.reads_text:
        neighbours = np.load(run.stages / 'retrieve' / ITEM_NEIGHBOURS, mmap_mode='r', allow_pickle=False)
    table, alone = match_table(start.params['encoder']['embedding'], fresh, known, neighbours)
    return table, int((known[1:] == 0).sum()), alone


def _put(array: np.ndarray, like: jax.Array) -> jax.Array:
    """An array where another one lies; in memory of its own, as a step may write into what it was given."""
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: array[index].copy())


def match_items(before: Sequence[str], now: Sequence[str]) -> np.ndarray:
    """int64 [m + 1]: by item number of now that of before, 0 for new items and for padding."""
    numbers = {identity: number for number, identity in enumerate(before, start=1)}
    return np.array([0, *(numbers.get(identity, 0) for identity in now)], np.int64)


def match_table(before: np.ndarray, fresh: np.ndarray, known: np.ndarray,
                neighbours: np.ndarray | None) -> tuple[np.ndarray, int]:
    """The table of ids that a run begins with.

    Args:
      before: float32 [rows of before, H], row = item number of before.
      fresh: float32 [rows, H], the table that the run would have begun with, row = item number of now.
      known: int64 [m + 1], as `match_items` says.
      neighbours: int [m, k], row r the neighbours of item r + 1 as item numbers of now, 0 where there is none; None:
        new items begin as in `fresh`.

    Returns:
      float32 [rows, H]: of items that were known the rows of before; of new ones the mean of the rows of those of their
      neighbours that were known; all other rows are fresh. And how many new items have no such neighbour.
    """
    table = fresh.copy()
    old = np.flatnonzero(known)
    table[old] = before[known[old]]
    new = 1 + np.flatnonzero(known[1:] == 0)
    if neighbours is None:
        return table, len(new)
    alone = 0
    for block in tables.blocks(len(new), neighbours.shape[1] * fresh.shape[1]):
        items = new[block]
        near = known[neighbours[items - 1]]
        count = (near > 0).sum(1)
        total = np.where((near > 0)[..., None], before[near], 0).sum(1)
        some = count > 0
        table[items[some]] = total[some] / count[some, None].astype(fresh.dtype)
        alone += int((~some).sum())
    return table, alone

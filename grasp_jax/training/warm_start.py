"""Warm start: a run goes on from the best epoch of an earlier run (`config.train.start_from`).

Parameters, their running mean and the optimiser's means go on, as if the earlier run had not ended. The table of ids is
matched by the items' own ids; a new item begins with the mean of those of its nearest neighbours that the earlier run
knew. Everything else is taken as it is, so the model and what made its vectors must be the same.

The manifest of a seed's folder notes what the seed began with. As soon as the folder has a checkpoint of its own, the
earlier run is needed no more.
"""

import hashlib
import json
import logging
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.data import dataset as dataset_files
from grasp_jax.distributed import processes
from grasp_jax.retrieval.neighbours import ITEM_NEIGHBOURS
from grasp_jax.training import earlier_run
from grasp_jax.training.state import TrainState
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup
from grasp_jax.vectors import vector_files

LOG = logging.getLogger(__name__)


class Start(NamedTuple):
    """What a seed begins with.

    Attributes:
      note: `folder`, `seed` and `epoch` (from 1) that the parameters are from, and a `digest` of them and `item_ids`.
      state: of the earlier run, numpy arrays.
      ranked: tree of numpy arrays, the parameters that the earlier run ranks with.
      average: decay of its running mean of the parameters, 0: it kept none.
      item_ids: ids of the rows of the table of ids from 1 on; empty where there is no table.
    """

    note: dict[str, Any]
    state: TrainState
    ranked: Any
    average: float
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
        raise UserError(f'train.start_from={name}: is the --workdir itself; name that of an earlier run')
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
      A note as in `Start`; the name of the earlier run alone where no more is known.
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


def load(run: TrainingSetup, seed: int) -> Start:
    """Reads what a seed begins with; all processes together.

    Args:
      run: of the new parameters, with a run to start from.
      seed: of the new run.

    Raises:
      UserError: there is no such run, it does not fit, or its checkpoint is damaged.
    """
    assert run.stages is not None, 'made by pipeline.run_on'
    earlier = earlier_run.find(run.config, seed)
    if run.model.spec.uses_vectors_in_forward:
        earlier_run.require_same_vectors(earlier, run.stages, run.model.spec)
    state, ranked, epoch = earlier_run.best_state(earlier, run.mesh)
    has_table = 'embedding' in ranked.get('encoder', {})
    ids = list(dataset_files.load(earlier.stages / 'prepare').item_ids) if has_table else []
    note = {'folder': earlier.name, 'seed': earlier.seed, 'epoch': epoch + 1, 'digest': _digest(ranked, ids)}
    return Start(note, state, ranked, earlier.config.train.ema_decay, ids)


def _digest(params: Any, item_ids: Sequence[str]) -> str:
    found = hashlib.sha256(json.dumps(item_ids).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        found.update(f'{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}'.encode())
        found.update(np.ascontiguousarray(leaf).data)
    return found.hexdigest()[:16]


def first_state(run: TrainingSetup, seed: int, folder: pathlib.Path) -> TrainState:
    """The state that a seed begins with: that of the run to start from where there is one, else a fresh one.

    Args:
      run: what to train.
      seed: of the fresh state.
      folder: of the seed.

    Raises:
      UserError: as `load`, or the run to start from has changed since the seed began.
    """
    if not run.config.train.start_from:
        return run.fresh_state(seed)
    start, note = load(run, seed), _note(folder)
    if note is not None and note['digest'] != start.note['digest']:
        raise UserError(f'train.start_from={run.config.train.start_from}: holds other parameters than when '
                        f'{folder} began with them; bring those of before back, or delete {folder}')
    fresh = run.fresh_state(seed)
    what = f'state of epoch {start.note["epoch"]} of seed {start.note["seed"]} of {start.note["folder"]}'
    known, neighbours = _matched(run, start) if start.item_ids else (None, None)
    if known is not None:
        new = int((known[1:] == 0).sum())
        what += f'; {new:,} new items, {new - lonely(known, neighbours):,} of them begin as their neighbours'
    LOG.info('seed %d begins with the %s', seed, what)
    return goes_on(start, fresh, train_spec(run.config).ema_decay, known, neighbours)


def _matched(run: TrainingSetup, start: Start) -> tuple[np.ndarray, np.ndarray | None]:
    """As `match_items`, and the neighbours of the items of now where the model reads texts."""
    assert run.stages is not None
    known = match_items(start.item_ids, dataset_files.load(run.stages / 'prepare').item_ids)
    if not run.model.spec.uses_vectors:
        return known, None
    return known, np.load(run.stages / 'retrieve' / ITEM_NEIGHBOURS, mmap_mode='r', allow_pickle=False)


def goes_on(start: Start, fresh: TrainState, average: float, known: np.ndarray | None = None,
            neighbours: np.ndarray | None = None) -> TrainState:
    """The state that a run begins with.

    Args:
      start: what it begins with.
      fresh: the state that it would have begun with; its step and its key stay.
      average: decay of the running mean of the parameters, 0: there is none.
      known: as `match_items` says; None: there is no table of ids.
      neighbours: as in `match_table`.

    Returns:
      With the parameters and the optimiser of before. Where the two runs keep other running means, the optimiser begins
      afresh, with the parameters that the earlier run ranks with.
    """
    def carried(before: Any, fresh: Any) -> Any:
        def one(path: Any, old: np.ndarray, new: jax.Array) -> np.ndarray:
            if known is None or [getattr(key, 'key', None) for key in path[-2:]] != ['encoder', 'embedding']:
                return old
            return match_table(old, processes.on_host(new), known, neighbours)
        return jax.tree_util.tree_map_with_path(one, before, fresh)

    if start.average != average:
        return fresh._replace(params=jax.tree.map(_put, carried(start.ranked, fresh.params), fresh.params))
    before, begun = start.state.optimizer, fresh.optimizer
    if average:
        # `optax.ema` keeps a mean that began at zero: that of a row without a past is as if the row had always been so.
        share = np.float32(1 - average ** int(before[-1].count))
        begun = (*begun[:-1], begun[-1]._replace(ema=jax.tree.map(lambda leaf: leaf * share, fresh.params)))
    carry = carried((start.state.params, before), (fresh.params, begun))
    params, optimizer = jax.tree.map(_put, carry, (fresh.params, fresh.optimizer))
    return fresh._replace(params=params, optimizer=optimizer)


def _put(array: np.ndarray, like: jax.Array) -> jax.Array:
    """An array where another one lies; in memory of its own, as a step may write into what it was given."""
    return jax.make_array_from_callback(like.shape, like.sharding, lambda index: array[index].copy())


def match_items(before: Sequence[str], now: Sequence[str]) -> np.ndarray:
    """int64 [m + 1]: by item number of now that of before, 0 for new items and for padding."""
    numbers = {identity: number for number, identity in enumerate(before, start=1)}
    return np.array([0, *(numbers.get(identity, 0) for identity in now)], np.int64)


def match_table(before: np.ndarray, fresh: np.ndarray, known: np.ndarray, neighbours: np.ndarray | None) -> np.ndarray:
    """The table of ids that a run begins with.

    Args:
      before: float32 [rows of before, H], row = item number of before.
      fresh: float32 [rows, H], the table that the run would have begun with, row = item number of now.
      known: int64 [m + 1], as `match_items` says.
      neighbours: int [m, k], row r the neighbours of item r + 1 as item numbers of now, 0 where there is none; None:
        new items begin as in `fresh`.

    Returns:
      float32 [rows, H]: of items that were known the rows of before; of new ones the mean of the rows of those of their
      neighbours that were known; all other rows are fresh.
    """
    table = fresh.copy()
    old = np.flatnonzero(known)
    table[old] = before[known[old]]
    if neighbours is None:
        return table
    for items, near in _new(known, neighbours, fresh.shape[1]):
        count = (near > 0).sum(1)
        total = np.where((near > 0)[..., None], before[near], 0).sum(1)
        some = count > 0
        table[items[some]] = total[some] / count[some, None].astype(fresh.dtype)
    return table


def lonely(known: np.ndarray, neighbours: np.ndarray | None) -> int:
    """How many new items have no neighbour that was known, so that they begin as a fresh run's; args as above."""
    if neighbours is None:
        return int((known[1:] == 0).sum())
    return sum(int((near == 0).all(1).sum()) for _, near in _new(known, neighbours, 1))


def _new(known: np.ndarray, neighbours: np.ndarray, width: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """New items and, [n, k], their neighbours as item numbers of before, 0 where it is new; by blocks of items."""
    new = 1 + np.flatnonzero(known[1:] == 0)
    for block in vector_files.blocks(len(new), neighbours.shape[1] * width):
        yield new[block], known[neighbours[new[block] - 1]]

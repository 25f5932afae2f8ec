"""The folder of one seed: it belongs to one config, is trained, and its test items are ranked once."""

import contextlib
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.config import default, old_keys
from grasp_jax.distributed import processes
from grasp_jax.ranking.lists import Lists, depth_of, save_lists
from grasp_jax.ranking.metrics import RANKS_FILE, finished_seeds, load_ranks, save_ranks
from grasp_jax.training import growing, warm_start
from grasp_jax.training.checkpoints import Best, Checkpoints
from grasp_jax.training.loop import choose_view_weights, test_ranks, train
from grasp_jax.training.training_setup import TrainingSetup

__all__ = ['claim_run', 'finished_seeds', 'train_and_test']

LOG = logging.getLogger(__name__)
# Settings that change how a run is carried out, not what comes out of it.
_EXECUTION_ONLY_KEYS = ('recipe', 'seeds', 'scan_steps', 'mesh', 'vector_placement', 'chunk_mb', 'sinks')
# Settings that shape the report alone: of a finished run they may change.
_OF_THE_REPORT = {'evaluate': ('ks', 'head_user', 'head_item')}


def train_and_test(run: TrainingSetup, seed: int, folder: pathlib.Path, inputs: str, made_of: str = '') -> pathlib.Path:
    """Trains one seed and ranks its test items, unless that is done; goes on where a killed run stopped.

    A second run that is pointed at the same folder waits for the first.

    Args:
      run: what to train.
      seed: the seed.
      folder: gets `manifest.json`, checkpoints, metrics, `test_lists.npz` and `test_ranks.npz`.
      inputs, made_of: fingerprint and contents of the stages before.

    Returns:
      `folder`.

    Raises:
      UserError: the folder belongs to another config, or it is not finished and was begun on other contents.
      RunInterrupted: SIGTERM or a preemption notice came, and the state is saved.
    """
    with artefacts.lock(folder) if processes.is_writer() else contextlib.nullcontext():
        return _train_and_test(run, seed, folder, inputs, made_of)


def claim_run(folder: pathlib.Path, config: ml_collections.ConfigDict, inputs: Sequence[str],
              made_of: str = '', start: dict[str, Any] | None = None, may_grow: bool = False) -> None:
    """Marks the folder of a seed as belonging to a config, or checks that it does.

    Args:
      folder: of the seed.
      config: the full config.
      inputs: fingerprints of the stages before.
      made_of: their contents; empty where they are not at hand.
      start: note of the parameters that the seed begins with (`warm_start.Start`); None: as the folder notes it.
      may_grow: whether the run may have had another end (`growing.SETTINGS`).

    Raises:
      UserError: the folder belongs to another config, to other contents or to other parameters to begin with.
    """
    train = {key: value for key, value in config.train.to_dict().items() if key not in _EXECUTION_ONLY_KEYS}
    if config.train.start_from:
        train['start_from'] = warm_start.claimed(folder, config, start)
    settings = {'model': config.model.to_dict(), 'evaluate': config.evaluate.to_dict(), 'train': train}
    # A new setting's default leaves things as they were, so that runs from before it stay what they are.
    free = {**_OF_THE_REPORT, **({'train': growing.SETTINGS} if may_grow else {})}
    artefacts.claim(folder, old_keys.first_named('', settings), inputs, old_keys.first_named('', default().to_dict()),
                    free, made_of)


def _train_and_test(run: TrainingSetup, seed: int, folder: pathlib.Path, inputs: str, made_of: str) -> pathlib.Path:
    start = _note_of_start(run, seed, folder)

    def claim() -> bool:
        ranked = (folder / RANKS_FILE).exists()
        # What is done may have been done elsewhere, where vectors differ in their last bits.
        claim_run(folder, run.config, [inputs], '' if ranked else made_of, start, may_grow=True)
        done = growing.is_done(folder, run.config)
        if ranked and not done:
            claim_run(folder, run.config, [inputs], made_of, start, may_grow=True)
        growing.grow(folder, run.config)
        return done

    depth = min(max(run.config.evaluate.ks), run.interactions.num_items)
    if processes.agree(processes.one_after_another(claim)):
        LOG.info('seed %d: up to date (%s)', seed, folder)
        _complete_lists(run, seed, folder, depth)
        return folder
    best = train(run, seed, folder)
    if processes.agree(processes.one_after_another(lambda: growing.is_ranked(folder, best.epoch))):
        _complete_lists(run, seed, folder, depth)  # it went on, and its best epoch is still the one of before
        return folder
    choose_view_weights(run, seed, folder, best)
    ranks, items = test_ranks(run, seed, folder, best, depth)
    if processes.is_writer():
        growing.forget_best(folder)
        save_lists(folder, Lists(ranks.users, items))  # first: with its ranks a seed is done
        save_ranks(folder, ranks)
        growing.note_ranked(folder, best.epoch)
    return folder


def _complete_lists(run: TrainingSetup, seed: int, folder: pathlib.Path, depth: int) -> None:
    """Makes the lists of a seed that is done where it has none, or shorter ones than are asked for, and its best
    checkpoint is still there; its ranks stay what they are."""
    def missing() -> int:
        if depth_of(folder) >= depth or not (folder / 'checkpoints').is_dir():
            return -1
        with Checkpoints(folder / 'checkpoints') as checkpoints:
            best = checkpoints.best()
        return -1 if best is None else best.epoch

    epoch = processes.agree(processes.one_after_another(missing))
    if epoch < 0:
        return
    LOG.info('seed %d: the best %d items of each user are listed once, for the values beyond accuracy', seed, depth)
    ranks, items = test_ranks(run, seed, folder, Best(epoch, 0.0), depth)
    if processes.is_writer():
        save_lists(folder, Lists(ranks.users, items))
        if ranks.hits is not None:
            save_ranks(folder, load_ranks(folder)._replace(hits=ranks.hits, wanted=ranks.wanted))


def _note_of_start(run: TrainingSetup, seed: int, folder: pathlib.Path) -> dict[str, Any] | None:
    """Of a seed that is to begin with another run's parameters; None where it begins afresh, or notes already that it
    began with that run's."""
    if not run.config.train.start_from:
        return None
    if processes.agree(processes.one_after_another(lambda: warm_start.noted(folder, run.config) is not None)):
        return None
    return warm_start.load(run, seed).note

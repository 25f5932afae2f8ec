"""The folder of one seed: it belongs to one config, is trained, and its test items are ranked once."""

import contextlib
import logging
import pathlib
from collections.abc import Sequence

import ml_collections

from grasp_jax import artefacts
from grasp_jax.config import default
from grasp_jax.evaluation.metrics import RANKS_FILE, save_ranks
from grasp_jax.training import hosts
from grasp_jax.training.loop import test_ranks, train
from grasp_jax.training.run import Run

LOG = logging.getLogger(__name__)
# Settings that change how a run is carried out, not what comes out of it.
_OF_NO_CONSEQUENCE = ('recipe', 'seeds', 'steps_per_call', 'mesh', 'tables', 'chunk_mb')
# Settings that shape the report alone: of a finished run they may change.
_OF_THE_REPORT = {'evaluate': ('ks', 'head_user', 'head_item')}


def finished_seeds(workdir: pathlib.Path) -> list[int]:
    """The seeds of a work folder whose test items are ranked, in order."""
    names = (path.parent.name.removeprefix('seed') for path in workdir.glob(f'seed*/{RANKS_FILE}'))
    return sorted(int(name) for name in names if name.isdecimal())  # not of a copy, as seed42_old


def train_and_test(run: Run, seed: int, folder: pathlib.Path, inputs: str, made_of: str = '') -> pathlib.Path:
    """Trains one seed and ranks its test items, unless that is done; goes on where a killed run stopped.

    A second run that is pointed at the same folder waits for the first.

    Args:
      run: what to train.
      seed: the seed.
      folder: gets `manifest.json`, checkpoints, metrics and `test_ranks.npz`.
      inputs, made_of: fingerprint and contents of the stages before.

    Returns:
      `folder`.

    Raises:
      UserError: the folder belongs to another config, or it is not finished and was begun on other contents.
      Stopped: SIGTERM or a preemption notice came, and the state is saved.
    """
    with artefacts.lock(folder) if hosts.is_writer() else contextlib.nullcontext():
        return _train_and_test(run, seed, folder, inputs, made_of)


def claim_run(folder: pathlib.Path, config: ml_collections.ConfigDict, inputs: Sequence[str],
              made_of: str = '') -> None:
    """Marks the folder of a seed as belonging to a config, or checks that it does.

    Args:
      folder: of the seed.
      config: the full config.
      inputs: fingerprints of the stages before.
      made_of: their contents; empty where they are not at hand.

    Raises:
      UserError: the folder belongs to another config or other contents.
    """
    settings = {'model': config.model.to_dict(), 'evaluate': config.evaluate.to_dict(), 'train': {
        key: value for key, value in config.train.to_dict().items() if key not in _OF_NO_CONSEQUENCE}}
    # A new setting's default leaves things as they were, so that runs from before it stay what they are.
    artefacts.claim(folder, settings, inputs, default().to_dict(), _OF_THE_REPORT, made_of)


def _train_and_test(run: Run, seed: int, folder: pathlib.Path, inputs: str, made_of: str) -> pathlib.Path:
    def claim() -> bool:
        done = (folder / RANKS_FILE).exists()
        # What is done may have been done elsewhere, where vectors differ in their last bits.
        claim_run(folder, run.config, [inputs], '' if done else made_of)
        return done

    if hosts.agree(hosts.one_after_another(claim)):
        LOG.info('seed %d: up to date (%s)', seed, folder)
        return folder
    best = train(run, seed, folder)
    ranks = test_ranks(run, seed, folder, best)
    if hosts.is_writer():
        save_ranks(folder, ranks)
    return folder

"""Trains one seed: epochs on the device, validation, early stopping, checkpoints, exact resume."""

import pathlib
import sys
import time
from collections.abc import Callable

from tqdm import tqdm

from grasp_jax.errors import UserError
from grasp_jax.evaluation.metrics import Ranks, summarise
from grasp_jax.evaluation.ranks import Evaluator
from grasp_jax.training.checkpoints import Best, Checkpoints
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.metrics_log import MetricsLog
from grasp_jax.training.run import Run
from grasp_jax.training.step import TrainState

SELECTION = 'NDCG@10'


def train(run: Run, seed: int, folder: pathlib.Path, watch: Callable[[int, float], None] | None = None) -> Best:
    """Trains until the validation NDCG@10 has not risen for `patience` epochs; goes on where a killed run stopped.

    Args:
      run: what to train on.
      seed: of initialisation, shuffling, negatives, masks and dropout.
      folder: gets `checkpoints/` and `metrics.jsonl`.
      watch: called after each epoch (from 0) with its validation value; what it raises ends the run.

    Returns:
      the best epoch, whose checkpoint is kept.

    Raises:
      UserError: the loss is no longer a number, or nobody has two training interactions.
    """
    settings = run.config.train
    epochs = Epochs(run, seed)
    validate = run.evaluator('valid')
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        found = checkpoints.resume(run.state_shapes(seed), run.mesh)
        first, state = (0, run.fresh_state(seed)) if found is None else (found[0] + 1, found[1])
        best = checkpoints.best()
        log = MetricsLog(folder, first)
        with _progress(settings.max_epochs, first, seed) as bar:
            for epoch in range(first, settings.max_epochs):
                if best is not None and epoch - 1 - best.epoch >= settings.patience:
                    break
                begin = time.perf_counter()
                state, loss = epochs.run(epoch, state, bar.update)
                trained = time.perf_counter() - begin
                value, hit_rate = _validate(validate, state, run.config.evaluate.select_by)
                if best is None or value > best.value:
                    best = Best(epoch, value)
                rate = len(epochs.sequences.users) / trained
                log.write({'epoch': epoch + 1, 'step': int(state.step), 'loss': loss, 'sequences_per_s': rate,
                           'valid_ndcg10': value, 'valid_hr10': hit_rate, 'seconds': time.perf_counter() - begin})
                # Saved after it is logged: no checkpoint is ever without its line.
                checkpoints.save(epoch, state, value)
                if watch is not None:
                    watch(epoch, value)
                bar.set_postfix_str(f'loss {loss:.4f}, valid {SELECTION} {100 * value:.2f}, best '
                                    f'{100 * best.value:.2f} in epoch {best.epoch + 1}, {rate:,.0f} sequences/s')
    if best is None:
        raise UserError(f'config.train.max_epochs={settings.max_epochs}: nothing to train; use at least 1')
    return best


def test_ranks(run: Run, seed: int, folder: pathlib.Path, best: Best) -> Ranks:
    """Ranks the test items once, under both protocols, with the best checkpoint of a trained folder."""
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        state = checkpoints.load(best.epoch, run.state_shapes(seed), run.mesh)
    return run.evaluator('test')(state.params, full=True)


def _validate(validate: Evaluator, state: TrainState, protocol: str) -> tuple[float, float]:
    full = protocol == 'full'
    ranks = validate(state.params, full)
    found = summarise(ranks.full if full else ranks.sampled, (10,))
    return found['NDCG@10'], found['HR@10']


def _progress(epochs: int, first: int, seed: int) -> tqdm:
    """A bar over epochs; its time left is an upper bound, early stopping ends sooner."""
    quiet = 0.1 if sys.stderr.isatty() else 15.0
    return tqdm(total=epochs, initial=first, unit='epoch', desc=f'train seed {seed}', mininterval=quiet,
                maxinterval=4 * quiet,
                bar_format='{desc}: {n:.1f}/{total} epochs [{elapsed}, at most {remaining} left]{postfix}')

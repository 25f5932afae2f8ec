"""Trains one seed: epochs on the device, validation, early stopping, checkpoints, exact resume."""

import contextlib
import pathlib
import time
from collections.abc import Callable
from typing import Any, NoReturn

import numpy as np

from grasp_jax.common.errors import RunInterrupted, UserError
from grasp_jax.data.interactions import Split
from grasp_jax.distributed import processes
from grasp_jax.ranking import windows
from grasp_jax.ranking.evaluator import Evaluator
from grasp_jax.ranking.metrics import Ranks, summary, with_hits
from grasp_jax.training import growing, sinks, view_weights, warm_start
from grasp_jax.training.checkpoints import Best, Checkpoints, Damaged, Interrupted
from grasp_jax.training.epoch_bar import EpochBar
from grasp_jax.training.epochs import NO_LOSSES, Epochs
from grasp_jax.training.metrics_log import METRICS_FILE, MetricsLog, read_metrics
from grasp_jax.training.preemption import PreemptionGuard
from grasp_jax.training.state import TrainState, ranked_params
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup


def train(run: TrainingSetup, seed: int, folder: pathlib.Path,
          watch: Callable[[int, float], None] | None = None) -> Best:
    """Trains until the validation NDCG@10 has not risen for `patience` epochs; goes on where a killed run stopped.

    Args:
      run: what to train on.
      seed: of initialisation, shuffling, negatives, masks and dropout.
      folder: gets `checkpoints/`, `interrupted/` and `metrics.jsonl`.
      watch: called after each epoch (from 0) with its validation value; what it raises ends the run.

    Returns:
      the best epoch, whose checkpoint is kept.

    Raises:
      UserError: the loss is no longer a number, or no user has two training interactions.
      RunInterrupted: SIGTERM or a preemption notice came, and the state is saved.
    """
    settings, spec, protocol = run.config.train, train_spec(run.config), run.config.evaluate.selection_protocol
    epochs = Epochs(run, seed)
    validate = run.evaluator('valid')
    wanted = _wanted(run, validate.users, 'valid')
    with (PreemptionGuard() as notice,  # left last: a second SIGTERM must not end the process amid writing
          Checkpoints(folder / 'checkpoints') as checkpoints, Interrupted(folder / 'interrupted') as interrupted):
        first, state, losses, spent = _where_it_stopped(run, seed, folder, checkpoints, interrupted)
        best = checkpoints.best()
        _require_best(folder, first, best)
        log = _log(run, seed, folder, first)
        with (EpochBar(seed, settings.max_epochs, first + len(losses) / epochs.steps, protocol) as bar,
              contextlib.closing(log) if log is not None else contextlib.nullcontext()):
            for epoch in range(first, settings.max_epochs):
                if growing.out_of_patience(epoch, None if best is None else best.epoch, settings.patience):
                    break
                begin, known = time.perf_counter(), len(losses)
                state, losses = epochs.run(epoch, state, bar.trained, losses, notice)
                if len(losses) < epochs.steps:
                    _stop(interrupted, epoch, state, losses, epochs.steps, spent + time.perf_counter() - begin)
                trained = time.perf_counter() - begin
                value, hit_rate = _validate(validate, wanted, ranked_params(spec, state), protocol)
                if best is None or value > best.value:
                    best = Best(epoch, value)
                loss, losses = float(losses.mean()), NO_LOSSES
                rate = (1 - known / epochs.steps) * epochs.users(epoch) / trained
                seconds, spent = spent + time.perf_counter() - begin, 0.0
                line = {'epoch': epoch + 1, 'step': int(state.step), 'loss': loss, 'sequences_per_s': rate,
                        'valid_ndcg10': value, 'valid_hr10': hit_rate, 'seconds': seconds}
                if log is not None:
                    log.write(line)
                # Saved after it is logged: no checkpoint is ever without its line.
                checkpoints.save(epoch, state, value)
                if watch is not None:
                    watch(epoch, value)
                bar.validated(line, best.value, best.epoch + 1)
        if notice():  # during the last validation
            raise RunInterrupted('saved after the last epoch; the same command goes on from there')
    if best is None:
        raise UserError(f'train.max_epochs={settings.max_epochs}: nothing to train; use at least 1')
    return best


def _log(run: TrainingSetup, seed: int, folder: pathlib.Path, first: int) -> MetricsLog | None:
    """The record of a seed with its sinks, in the process that writes."""
    if not processes.is_writer():
        return None
    return MetricsLog(folder, first, sinks.opened(run.config.train.sinks, folder, run.config, seed, first))


def _where_it_stopped(run: TrainingSetup, seed: int, folder: pathlib.Path, checkpoints: Checkpoints,
                      interrupted: Interrupted) -> tuple[int, TrainState, np.ndarray, float]:
    """The epoch to go on with, the state, and of the steps of that epoch that are done the losses and the seconds."""
    shapes = run.state_shapes(seed)
    found = checkpoints.resume(shapes, run.mesh)
    first = 0 if found is None else found[0] + 1
    inside = interrupted.resume(first, shapes, run.mesh)
    if inside is not None:
        return first, *inside
    return first, warm_start.first_state(run, seed, folder) if found is None else found[1], NO_LOSSES, 0.0


def _require_best(folder: pathlib.Path, first: int, best: Best | None) -> None:
    """Refuses to go on without the checkpoint of the best of the epochs before `first`."""
    known = [line for line in read_metrics(folder) if line['epoch'] <= first]
    reached = max(known, key=lambda line: line['valid_ndcg10'], default=None)
    if reached and best != Best(reached['epoch'] - 1, reached['valid_ndcg10']):
        raise UserError(f'{folder}: the checkpoint of the best epoch, {reached["epoch"]}, is damaged or gone, or lines '
                        f'of {METRICS_FILE} are; delete {folder} to train this seed anew')


def _stop(interrupted: Interrupted, epoch: int, state: TrainState, losses: np.ndarray, steps: int,
          seconds: float) -> NoReturn:
    if len(losses):  # else the checkpoint of the epoch before says it all
        interrupted.save(epoch, state, losses, seconds)
    raise RunInterrupted(f'saved after step {len(losses)} of {steps} of epoch {epoch + 1}; the same command goes on '
                         'from there')


def choose_view_weights(run: TrainingSetup, seed: int, folder: pathlib.Path, best: Best) -> None:
    """Chooses how much each view counts, on validation, where the method has views that learn apart, unless that is
    done; all processes together."""
    spec = run.model.spec
    if not spec.facts.views_learn_apart or processes.agree(
            processes.one_after_another(lambda: view_weights.is_chosen(folder, best.epoch))):
        return
    params, validate = _best_params(run, seed, folder, best), run.evaluator('valid')

    def value_of(weights: view_weights.Weights) -> view_weights.Value:
        ranks, _ = validate.ranks_and_lists(view_weights.weighed(spec, params, weights), True, 0)
        return summary(ranks, 'sampled', (10,))['NDCG@10'], summary(ranks, 'full', (10,))['NDCG@10']

    found = view_weights.choose(spec, value_of)
    processes.one_after_another(
        lambda: view_weights.write(folder, best.epoch, found) if processes.is_writer() else None)


def test_ranks(run: TrainingSetup, seed: int, folder: pathlib.Path,
               best: Best, depth: int = 0) -> tuple[Ranks, np.ndarray]:
    """Ranks the test items once, under both protocols, with the best checkpoint of a trained folder; beside the ranks
    stand the best items int32 [v, depth] of each user."""
    params = view_weights.weighed(run.model.spec, _best_params(run, seed, folder, best), folder=folder)
    ranks, lists = run.evaluator('test').ranks_and_lists(params, True, depth)
    return with_hits(ranks, lists, _wanted(run, ranks.users, 'test')), lists


def _best_params(run: TrainingSetup, seed: int, folder: pathlib.Path, best: Best) -> Any:
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        try:
            state = checkpoints.load(best.epoch, run.state_shapes(seed), run.mesh)
        except Damaged as error:
            raise UserError(f'{error}; it is the best one, so delete {folder} to train this seed anew') from error
    return ranked_params(train_spec(run.config), state)


def _wanted(run: TrainingSetup, users: np.ndarray, split: Split) -> windows.Wanted | None:
    """All items of the users' windows; None where the next one alone is the target."""
    if run.config.evaluate.targets != 'all':
        return None
    return windows.wanted(run.interactions, users, split, run.config.evaluate.repeats)


def _validate(validate: Evaluator, wanted: windows.Wanted | None, params: Any, protocol: str) -> tuple[float, float]:
    full = protocol == 'full'
    depth = min(10, validate.model.spec.num_items) if full and wanted is not None else 0
    ranks, lists = validate.ranks_and_lists(params, full, depth)
    found = summary(with_hits(ranks, lists, wanted if full else None), protocol, (10,))
    return found['NDCG@10'], found['HR@10']

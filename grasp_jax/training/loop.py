"""Trains one seed: epochs on the device, validation, early stopping, checkpoints, exact resume."""

import dataclasses
import functools
import pathlib
import sys
import time

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh
from tqdm import tqdm

from grasp_jax.data import batches
from grasp_jax.data.interactions import Interactions, Split
from grasp_jax.errors import UserError
from grasp_jax.evaluation.metrics import Ranks, summarise
from grasp_jax.evaluation.ranks import Evaluator
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import Tables, model_spec
from grasp_jax.training.checkpoints import Best, Checkpoints
from grasp_jax.training.metrics_log import MetricsLog
from grasp_jax.training.sharding import put_replicated, put_tables, state_shardings
from grasp_jax.training.step import Data, TrainState, init_state, target_count, train_spec, train_steps

SELECTION = 'NDCG@10'
# A sequence needs an input and a target.
_SHORTEST = 2


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a run needs and does not change.

    Attributes:
      config: the full config.
      model: the recommender.
      mesh: devices.
      data: items and tables on the devices.
      interactions: all sequences.
      negatives: stored negatives by split.
    """

    config: ml_collections.ConfigDict
    model: Recommender
    mesh: Mesh
    data: Data
    interactions: Interactions
    negatives: dict[str, np.ndarray]

    def evaluator(self, split: Split) -> Evaluator:
        """Ranks the held-out items of 'valid' or 'test'."""
        return Evaluator(self.model, self.mesh, self.data, self.interactions, split, self.negatives[split],
                         self.config.evaluate.users_per_batch)

    def fresh_state(self, seed: int) -> TrainState:
        """An initial state, created where it will live."""
        init = functools.partial(init_state, self.model, train_spec(self.config))
        shapes = self.state_shapes(seed)
        return jax.jit(init, static_argnums=1, out_shardings=state_shardings(shapes, self.mesh))(
            self.data.tables, seed)

    def state_shapes(self, seed: int) -> TrainState:
        """Shapes of the state, nothing computed."""
        init = functools.partial(init_state, self.model, train_spec(self.config), seed=seed)
        return jax.eval_shape(init, self.data.tables)


def make_run(config: ml_collections.ConfigDict, mesh: Mesh, interactions: Interactions,
             negatives: dict[str, np.ndarray], tables: Tables | None) -> Run:
    """Checks the model section and moves data to the devices.

    Args:
      config: the full config.
      mesh: devices.
      interactions: all sequences.
      negatives: int32 [v, N] for 'valid' and 'test'.
      tables: LLM vectors (may be memory-mapped), None for method 'none'.
    """
    width = 0 if tables is None else tables.items.shape[1]
    model = Recommender(model_spec(config, interactions.num_items, width))
    items = put_replicated(np.asarray(interactions.items, np.int32), mesh)
    return Run(config, model, mesh, Data(items, put_tables(tables, mesh)), interactions, negatives)


def train(run: Run, seed: int, folder: pathlib.Path) -> Best:
    """Trains until the validation NDCG@10 has not risen for `patience` epochs; goes on where a killed run stopped.

    Args:
      run: what to train on.
      seed: of initialisation, shuffling, negatives, masks and dropout.
      folder: gets `checkpoints/` and `metrics.jsonl`.

    Returns:
      the best epoch, whose checkpoint is kept.

    Raises:
      UserError: the loss is no longer a number, or nobody has two training interactions.
    """
    settings = run.config.train
    epochs = _Epochs(run, seed)
    validate = run.evaluator('valid')
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        done = checkpoints.newest()
        state = (run.fresh_state(seed) if done is None
                 else checkpoints.load(done, run.state_shapes(seed), run.mesh))
        best = checkpoints.best()
        first = 0 if done is None else done + 1
        log = MetricsLog(folder, first)
        with _progress(settings.max_epochs, first, seed) as bar:
            for epoch in range(first, settings.max_epochs):
                if best is not None and epoch - 1 - best.epoch >= settings.patience:
                    break
                begin = time.perf_counter()
                state, loss = epochs.run(epoch, state, bar)
                trained = time.perf_counter() - begin
                value, hit_rate = _validate(validate, state, run.config.evaluate.select_by)
                if best is None or value > best.value:
                    best = Best(epoch, value)
                rate = len(epochs.sequences.users) / trained
                log.write({'epoch': epoch + 1, 'step': int(state.step), 'loss': loss, 'sequences_per_s': rate,
                           'valid_ndcg10': value, 'valid_hr10': hit_rate, 'seconds': time.perf_counter() - begin})
                # Saved after it is logged: no checkpoint is ever without its line.
                checkpoints.save(epoch, state, value)
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


class _Epochs:
    """Runs epochs on the device, a chunk of steps at a time."""

    def __init__(self, run: Run, seed: int):
        self._run, self._seed, self._settings = run, seed, run.config.train
        lengths = run.interactions.input_lengths('train')
        users = np.flatnonzero(lengths >= _SHORTEST)
        if not len(users):
            raise UserError(f'{run.config.data.name}: no user has two training interactions; lower the filter '
                            'config.data.min_user or bring more data')
        self.sequences = batches.Sequences(users, run.interactions.indptr[users], lengths[users],
                                           run.model.spec.row_width)
        self._spec = train_spec(run.config)
        self._targets = target_count(run.model, self._spec)
        self._shape = batches.usual_shape(self.sequences, self._settings.batch_size, seed, run.mesh.shape['data'],
                                          self._targets)

    def run(self, epoch: int, state: TrainState, bar: tqdm) -> tuple[TrainState, float]:
        """One epoch; returns the new state and the mean loss."""
        plan, shape = self._plan(epoch)
        losses = []
        for start in range(0, len(plan), self._settings.steps_per_call):
            placements = plan.steps(start, start + self._settings.steps_per_call)
            state, chunk = train_steps(self._run.model, self._spec, self._run.mesh, shape, self._run.data, state,
                                       placements)
            losses.append(np.asarray(chunk))
            if not np.isfinite(losses[-1]).all():
                bad = start + int(np.argmin(np.isfinite(losses[-1])))
                raise UserError(f'training: the loss is {losses[-1][bad - start]} at step {bad} of epoch {epoch + 1}; '
                                'lower config.train.learning_rate (the checkpoint of the epoch before is kept)')
            bar.update(len(chunk) / len(plan))
        return state, float(np.concatenate(losses).mean())

    def _plan(self, epoch: int) -> tuple[batches.Plan, batches.Shape]:
        usual = self._shape
        plan = batches.epoch_plan(self.sequences, self._settings.batch_size, self._seed, epoch, usual.rows,
                                  usual.groups)
        places = self._targets(plan, usual.groups) if self._targets else 0
        return plan, batches.Shape(plan.num_rows, usual.groups, max(usual.targets, places))


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

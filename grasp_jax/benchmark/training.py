"""`benchmark train`: sequences per second of a whole training step, of its parts, and against the reference."""

import dataclasses
import itertools
import pathlib
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from grasp_jax.batching import batches
from grasp_jax.benchmark import profile, substeps, timing, workload
from grasp_jax.benchmark.reference import Reference, require_vectors
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models import methods
from grasp_jax.models.spec import model_spec
from grasp_jax.training.batch import Batch, draw_samples
from grasp_jax.training.epochs import Chunk, Epochs
from grasp_jax.training.objective import batch_loss
from grasp_jax.training.state import TrainState
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup, make_training_setup

OURS, THEIRS = 'grasp_jax', 'pytorch'
_LONGEST = 5  # operations of a trace that are shown
REFERENCE_METHODS = ('none', 'grasp')  # the others are measured alone


@dataclasses.dataclass(frozen=True)
class Options:
    """What `benchmark train` is asked for.

    Attributes:
      rounds: timed calls of each program.
      steps: training steps in a call of ours (fewer where an epoch has fewer); the reference takes one.
      reference: whether the reference takes turns with it.
      compiled: whether the reference goes through `torch.compile`.
      parts: whether parts of a step are timed as well.
      profile: folder for a trace of one call of ours; None for none.
      settings: of the model section, beside backbone and method.
      recipe: paper, with the equations as printed, or strong.
    """

    rounds: int = 7
    steps: int = 20
    reference: bool = True
    compiled: bool = False
    parts: bool = True
    profile: pathlib.Path | None = None
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    recipe: str = 'paper'


def measure(size: workload.Size, backbone: str, method: str, interactions: Interactions, tables: FrozenVectors | None,
            options: Options) -> dict[str, Any]:
    """One row of the table: a backbone with a method at a size.

    Raises:
      UserError: the reference is asked for and the vectors stay on the host.
    """
    config = workload.config_of(size, options.recipe, backbone=backbone, method=method, **options.settings)
    config.train.scan_steps = options.steps
    tables = tables if methods.named(method).uses_vectors else None
    run = make_training_setup(config, make_mesh(tuple(config.train.mesh)), interactions, {}, tables,
                              workload.pretrained_of(size, model_spec(config, size.items, size.width)))
    if options.reference:
        require_vectors(run)
    trainer = _Trainer(run)
    programs = {OURS: trainer.steps}
    result: dict[str, Any] = {'backbone': backbone, 'method': method, 'batch_size': size.batch_size,
                              'rows_per_batch': trainer.epochs.shape.rows}
    reference = None
    if options.reference and method in REFERENCE_METHODS:
        reference = Reference(run.model.spec, train_spec(config), size.batch_size, interactions,
                              tables, trainer.state.params, options.compiled)
        result |= _same_loss(run, reference, trainer)
        programs[THEIRS] = reference.step
    begin = time.perf_counter()
    trainer.steps()
    result['first_call_s'] = time.perf_counter() - begin  # with what it compiles
    label = f'{backbone} + {method}'
    seconds = timing.alternate(programs, options.rounds, label=label)
    found: dict[str, dict[str, Any]] = {OURS: timing.summary(seconds[OURS], trainer.scan_steps)}
    if reference is not None:
        found[THEIRS] = timing.summary(seconds[THEIRS])
    for name, times in found.items():
        times['sequences_per_s'] = size.batch_size / times['median_s']
        _, times['peak_bytes'] = timing.with_peak_memory(programs[name])
    result['step'] = found
    if reference is not None:
        result['ratio'] = found[THEIRS]['median_s'] / found[OURS]['median_s']
    if options.profile is not None:
        folder = options.profile / f'{backbone}_{method}'
        found_operations = profile.operations(trainer.steps, folder)
        result['operations'] = found_operations[:_LONGEST]
        if found_operations:
            result['operations_per_step'] = sum(one['calls'] for one in found_operations) / trainer.scan_steps
    if options.parts:
        result['parts'] = substeps.measure(run, trainer.epochs, trainer.state, reference, options.rounds)
    return result


class _Trainer:
    """Takes steps of one epoch after the other, as `training.loop` does."""

    def __init__(self, run: TrainingSetup):
        self.epochs = Epochs(run, seed=0)
        self.state = run.fresh_state(0)
        self._epoch = 0
        chunks = self.epochs.chunks(0)
        first = next(chunks)
        # Chunks are of equal length, but for an epoch's last one, which is passed over: it is another program.
        self.scan_steps = len(first.steps.users.user)
        self._chunks: Iterator[Chunk] = itertools.chain([first], chunks)

    def steps(self) -> None:
        """One call's worth of steps; planning an epoch falls to the call that begins it."""
        while True:
            for chunk in self._chunks:
                if len(chunk.steps.users.user) == self.scan_steps:
                    self.state, losses = self.epochs.dispatch(self.state, chunk)
                    np.asarray(losses)
                    return
            self._epoch += 1
            self._chunks = self.epochs.chunks(self._epoch)


def _same_loss(run: TrainingSetup, reference: Reference, trainer: _Trainer) -> dict[str, float]:
    """Loss of both on the same weights, batch, negatives and masks, without dropout."""
    from third_party.pytorch_reference.convert import batch_to_torch

    plan = trainer.epochs.plan(0)
    placement = jax.tree.map(lambda field: field[0], plan.placement)
    packed = batches.pack_rows(run.data.items, placement, plan.num_rows, run.model.spec.row_width)
    key = jax.random.key(0)
    drawn, _ = draw_samples(run.model, train_spec(run.config), trainer.epochs.shape, packed, key)
    dry = run.model.clone(spec=dataclasses.replace(run.model.spec, dropout=0.0))
    state: TrainState = trainer.state
    batch = Batch(placement.user, packed, batches.ends(placement))
    ours = float(jax.jit(batch_loss, static_argnums=(1, 2))(state.params, dry, train_spec(run.config), run.data, batch,
                                                            drawn, key))
    theirs = reference.loss(batch_to_torch(packed, placement.user, drawn))
    return {'loss': ours, 'loss_of_reference': theirs, 'loss_difference': abs(ours - theirs) / abs(theirs)}

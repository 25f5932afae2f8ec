"""Epochs on the device, a chunk of steps at a time; the host plans ahead and reads losses one chunk late."""

import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.batching import batches
from grasp_jax.common.errors import Diverged, UserError
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors, padded_rows
from grasp_jax.distributed.sharding import put_replicated
from grasp_jax.distributed.vectors_on_host import HostVectors
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.spec import ModelSpec
from grasp_jax.training.batch import target_count
from grasp_jax.training.lookahead import items_of_steps
from grasp_jax.training.similar_users import SimilarUsers
from grasp_jax.training.state import TrainState, step_key
from grasp_jax.training.step import train_steps
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup

# A sequence needs an input and a target.
_SHORTEST = 2
# Packed rows of similar users, as a multiple of those of the first epoch.
_SPARE = 1.05
NO_LOSSES = np.empty(0, np.float32)


class Chunk(NamedTuple):
    """What a call of `train_steps` gets, on the devices.

    Attributes:
      shape: sizes of its batches.
      steps: what its S steps are about.
      data: items and tables.
    """

    shape: batches.BatchSizes
    steps: batches.StepPlan
    data: DeviceData


def training_sequences(interactions: Interactions, spec: ModelSpec) -> batches.Sequences:
    """The training part of each user who has an input and a target, with room for a mask behind it where the method's
    own loss reads the state there.

    Raises:
      UserError: no user has both.
    """
    lengths = interactions.input_lengths('train')
    users = np.flatnonzero(lengths >= _SHORTEST)
    if not len(users):
        raise UserError('the data: no user has two training interactions; lower the filter data.min_user or '
                        'bring more data')
    return batches.Sequences(users, interactions.indptr[users], lengths[users], spec.row_width,
                             spec.mask_slots if spec.uses_last_states else 0)


class Epochs:
    """The batches of one seed's epochs, and the steps on them.

    Attributes:
      sequences: the training sequences.
      shape: sizes that nearly every batch has.
    """

    def __init__(self, run: TrainingSetup, seed: int):
        """Finds the usual shape.

        Raises:
          UserError: no user has two training interactions.
        """
        self._run, self._seed, self._settings = run, seed, run.config.train
        self.sequences = training_sequences(run.interactions, run.model.spec)
        self._spec = train_spec(run.config)
        self._key = step_key(seed)
        self._targets = target_count(run.model, self._spec)
        self.shape = batches.usual_shape(self.sequences, self._settings.batch_size, seed,
                                         self._settings.micro_batches or run.mesh.size, self._targets)
        self._similar = None
        if run.model.spec.uses_similar_users:
            assert run.pretrained.similar_users is not None
            self._similar = SimilarUsers(run.interactions, run.pretrained.similar_users, run.model.spec)
            groups = self.shape.groups
            # To spare: the numbers vary from epoch to epoch, and each new one is compiled anew.
            grids = tuple((groups * math.ceil(_SPARE * plan.num_rows / groups), plan.width)
                          for plan in self._similar.plan(self.plan(0), groups))
            self.shape = self.shape._replace(similar=grids)

    @property
    def _pass_steps(self) -> int:
        """Steps that run over all users once."""
        return -(-len(self.sequences.users) // self._settings.batch_size)

    @property
    def passes(self) -> int:
        """How often an epoch runs over all users: as often as `min_steps_per_epoch` takes."""
        return max(1, -(-self._settings.min_steps_per_epoch // self._pass_steps))

    @property
    def steps(self) -> int:
        """Steps of an epoch: all of its passes, or the first `steps_per_epoch` batches of them."""
        whole = self.passes * self._pass_steps
        return min(self._settings.steps_per_epoch or whole, whole)

    def users(self, epoch: int) -> int:
        """Users of an epoch, each as often as it comes."""
        if not self._settings.steps_per_epoch:
            return self.passes * len(self.sequences.users)
        return int(np.count_nonzero(self.plan(epoch).placement.length))  # empty places may lie in any batch

    def run(self, epoch: int, state: TrainState, done: Callable[[float], Any], known: np.ndarray = NO_LOSSES,
            stop: Callable[[], bool] = lambda: False) -> tuple[TrainState, np.ndarray]:
        """One epoch, or what is left of one.

        Args:
          epoch: from 0.
          state: the state before; its buffers are given up.
          done: called with the share of the epoch that a finished chunk makes up.
          known: float32 losses of the epoch's first steps, which `state` has behind it; the steps of whole chunks.
          stop: asked before the first chunk and after each.

        Returns:
          the new state and float32 losses of the epoch's steps so far, of fewer than `steps` where it was stopped.

        Raises:
          UserError: a loss is no number.
        """
        losses = [known]

        def wait_for(chunk: jax.Array) -> None:
            losses.append(_finite(chunk, sum(map(len, losses)), epoch))
            done(len(losses[-1]) / self.steps)

        before: jax.Array | None = None
        if not stop():
            for chunk in self.chunks(epoch, len(known)):
                state, running = self.dispatch(state, chunk)
                if before is not None:
                    wait_for(before)
                before = running
                if stop():
                    break
        if before is not None:
            wait_for(before)
        if not _all_finite(state.params):  # a loss is that before its step
            raise _diverged(f'parameters are no numbers after step {sum(map(len, losses))}', epoch)
        return state, np.concatenate(losses)

    def chunks(self, epoch: int, first_step: int = 0) -> Iterator[Chunk]:
        """The chunks of an epoch from a step on. What their steps are about, a few numbers a user, is put on the
        devices at once; the rows of tables that stay on the host travel while the chunk before is running."""
        plan = self.plan(epoch)
        places = self._targets(plan, self.shape.groups) if self._targets else 0
        shape = self.shape._replace(rows=plan.num_rows, targets=max(self.shape.targets, places))
        similar: tuple[batches.EpochPlan, ...] = ()
        if self._similar is not None:
            similar = self._similar.plan(plan, self.shape.groups, tuple(rows for rows, _ in self.shape.similar))
            shape = shape._replace(similar=tuple((each.num_rows, each.width) for each in similar))
        size = self._settings.scan_steps
        if self._run.host is not None:
            size = min(size, self._host_steps(shape, self._run.host))

        def step_plans(start: int) -> batches.StepPlan:
            similar_steps = tuple(each.steps(start, start + size) for each in similar)
            return put_replicated(batches.StepPlan(plan.steps(start, start + size), similar_steps), self._run.mesh)

        parts = [step_plans(start) for start in range(first_step, len(plan), size)]
        if self._run.host is None:
            yield from (Chunk(shape, steps, self._run.data) for steps in parts)
            return
        # The ids of a chunk are asked for before the chunk before it starts, so that they do not wait for its end.
        first = epoch * len(plan) + first_step
        drawn = self._ids(shape, parts[0], first)
        for number, steps in enumerate(parts):
            data = self._run.data._replace(tables=self._fetch(self._run.host, shape, steps, drawn, size))
            if number + 1 < len(parts):
                drawn = self._ids(shape, parts[number + 1], first + (number + 1) * size)
            yield Chunk(shape, steps, data)

    def _ids(self, shape: batches.BatchSizes, steps: batches.StepPlan, first: int) -> tuple[jax.Array, ...]:
        return items_of_steps(self._run.model, self._spec, shape, self._run.data._replace(tables=None), self._key,
                              np.int32(first), steps)

    def _fetch(self, host: HostVectors, shape: batches.BatchSizes, steps: batches.StepPlan,
               drawn: tuple[jax.Array, ...], size: int) -> FrozenVectors:
        """The small tables of a chunk of `size` steps."""
        ids = np.concatenate([np.ravel(field) for field in drawn])
        users = size * self._settings.batch_size
        return host.fetch(ids, np.asarray(steps.users.user), padded_rows(1 + size * self._items_of_step(shape)),
                          padded_rows(users))

    def _host_steps(self, shape: batches.BatchSizes, host: HostVectors) -> int:
        """Steps whose rows fit the memory that a chunk may take."""
        rows = self._items_of_step(shape)
        if self._run.model.spec.uses_user_vectors:
            rows += self._settings.batch_size
        return max(1, int(self._settings.chunk_mb * 1e6) // (rows * host.row_bytes))

    def _items_of_step(self, shape: batches.BatchSizes) -> int:
        """How many different items a step looks up at most."""
        positions = shape.rows * self._run.model.spec.row_width
        own = (shape.groups * shape.targets or positions) * self._spec.own_negatives
        shared = 0 if self._spec.own_negatives else self._spec.negatives
        return positions + own + shared + sum(rows * width for rows, width in shape.similar)

    def dispatch(self, state: TrainState, chunk: Chunk) -> tuple[TrainState, jax.Array]:
        """Starts a chunk's steps; returns the state and losses [S] that they will leave."""
        return train_steps(self._run.model, self._spec, self._run.mesh, chunk.shape, chunk.data, state, chunk.steps)

    def plan(self, epoch: int) -> batches.EpochPlan:
        """All batches of an epoch, pass after pass."""
        numbers = range(epoch * self.passes, (epoch + 1) * self.passes)
        whole = batches.joined([batches.epoch_plan(self.sequences, self._settings.batch_size, self._seed, number,
                                                   self.shape.rows, self.shape.groups) for number in numbers])
        return dataclasses.replace(whole, placement=whole.steps(0, self.steps))


def _finite(losses: jax.Array, before: int, epoch: int) -> np.ndarray:
    """Waits for a chunk's losses and checks them; `before` steps of the epoch came earlier."""
    found = np.asarray(losses)
    if not np.isfinite(found).all():
        bad = int(np.argmin(np.isfinite(found)))
        raise _diverged(f'the loss is {found[bad]} at step {before + bad}', epoch)
    return found


def _diverged(what: str, epoch: int) -> Diverged:
    return Diverged(f'training: {what} of epoch {epoch + 1}; lower train.learning_rate (the checkpoint of the '
                    'epoch before is kept)')


@jax.jit
def _all_finite(params: Any) -> jax.Array:
    """Whether all parameters are numbers."""
    return jax.tree.reduce(jnp.logical_and, jax.tree.map(lambda leaf: jnp.isfinite(leaf).all(), params))

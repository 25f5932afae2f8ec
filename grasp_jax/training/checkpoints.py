"""Checkpoints, one an epoch; the newest and the best stay. The only file that knows Orbax."""

import dataclasses
import logging
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from grasp_jax.errors import UserError
from grasp_jax.training.sharding import state_shardings
from grasp_jax.training.step import TrainState

LOG = logging.getLogger(__name__)
# The newest two, so that one that was cut short leaves one to go on from.
_NEWEST = 2


@dataclasses.dataclass(frozen=True)
class Best:
    """The epoch (from 0) with the best validation value so far, and that value."""

    epoch: int
    value: float


class Checkpoints:
    """Checkpoints of one run, by epoch. Use as a context manager: leaving waits for the last save."""

    def __init__(self, folder: pathlib.Path):
        """Opens or creates `folder`."""
        self._folder = folder
        policies = ocp.training.preservation_policies
        keep = policies.AnyPreservationPolicy([
            policies.LatestN(_NEWEST), policies.BestN(get_metric_fn=_merit, n=1)])
        self._checkpointer = ocp.training.Checkpointer(
            folder.resolve(), preservation_policy=keep, cleanup_tmp_directories=True,
            # Every epoch, also where the save before is still being written.
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1))

    def __enter__(self) -> 'Checkpoints':
        return self

    def __exit__(self, *_: object) -> None:
        self._checkpointer.close()

    def save(self, epoch: int, state: TrainState, value: float) -> None:
        """Saves the state after `epoch` with its validation value; returns before it is on disk."""
        metrics = {'value': float(value), 'epoch': epoch, 'digest': int(digest(state))}
        # A copy: the next step gives the state's own buffers back while this one is still being written.
        copy = jax.tree.map(jnp.copy, state._asdict())
        self._checkpointer.save_async(epoch, copy, metrics=metrics)

    def resume(self, like: TrainState, mesh: Mesh) -> tuple[int, TrainState] | None:
        """The newest epoch whose checkpoint is whole, and its state; None where there is none.

        One that is damaged is said aloud and deleted, and the one before is tried. Arguments as in `load`.
        """
        for epoch in sorted((checkpoint.step for checkpoint in self._checkpointer.checkpoints), reverse=True):
            try:
                return epoch, self.load(epoch, like, mesh)
            except UserError as error:
                LOG.warning('%s; going on from the one before', error)
                self._checkpointer.delete(epoch)
        return None

    def best(self) -> Best | None:
        """The best epoch so far (the earlier one of equals), None where there is none."""
        metrics = [checkpoint.metrics for checkpoint in self._checkpointer.checkpoints if checkpoint.metrics]
        if not metrics:
            return None
        found = max(metrics, key=_merit)
        return Best(int(found['epoch']), float(found['value']))

    def load(self, epoch: int, like: TrainState, mesh: Mesh) -> TrainState:
        """Restores the state of an epoch onto a mesh, whatever mesh it was saved from.

        Args:
          epoch: a saved epoch.
          like: shapes and dtypes (from `jax.eval_shape`).
          mesh: where the arrays go.

        Raises:
          UserError: the checkpoint is damaged.
        """
        where = f'{self._folder}: the checkpoint of epoch {epoch + 1}'
        shapes = jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                              like, state_shardings(like, mesh))
        try:
            state = TrainState(**self._checkpointer.load(epoch, shapes._asdict()))
            metrics: Any = next(found.metrics for found in self._checkpointer.checkpoints if found.step == epoch)
        except Exception as error:  # whatever a library makes of bytes that are not what they were
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f'{where} is damaged ({reason[:150]})') from error
        saved = (metrics or {}).get('digest')  # none before there were digests
        if saved is not None and saved != int(digest(state)):
            raise UserError(f'{where} is damaged (its numbers are others than were saved)')
        return state


@jax.jit
def digest(state: TrainState) -> jax.Array:
    """uint32 that a change of any number of a state changes; the same on any mesh."""
    total = jnp.zeros((), jnp.uint32)
    for number, leaf in enumerate(jax.tree.leaves(state)):
        words = jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1)
        odd = 2 * jnp.arange(words.size, dtype=jnp.uint32) + 1  # an odd factor loses nothing modulo 2 ** 32
        total = total * jnp.uint32(31) + jnp.sum((words ^ jnp.uint32(number)) * odd, dtype=jnp.uint32)
    return total


def _merit(metrics: Any) -> tuple[float, int]:
    return metrics['value'], -metrics['epoch']

"""Checkpoints, one an epoch; the newest and the best stay. The only file that knows Orbax."""

import dataclasses
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from grasp_jax.training.sharding import state_shardings
from grasp_jax.training.step import TrainState

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
        metrics = {'value': float(value), 'epoch': epoch}
        # A copy: the next step gives the state's own buffers back while this one is still being written.
        copy = jax.tree.map(jnp.copy, state._asdict())
        self._checkpointer.save_async(epoch, copy, metrics=metrics)

    def newest(self) -> int | None:
        """The last epoch that is saved, None where there is none."""
        latest = self._checkpointer.latest
        return None if latest is None else latest.step

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
        """
        shapes = jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
                              like, state_shardings(like, mesh))
        return TrainState(**self._checkpointer.load(epoch, shapes._asdict()))


def _merit(metrics: Any) -> tuple[float, int]:
    return metrics['value'], -metrics['epoch']

"""One training step, and a run of them on the device."""

import functools
from typing import Any

import jax
import optax
from jax.sharding import Mesh

from grasp_jax.batching import batches
from grasp_jax.batching.sampling import StepSamples
from grasp_jax.distributed.sharding import replicate, state_shardings
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.training import deterministic
from grasp_jax.training.batch import Batch, draw_samples, make_batch
from grasp_jax.training.objective import batch_loss
from grasp_jax.training.optimizer import make_optimizer
from grasp_jax.training.state import TrainState, key_of_step
from grasp_jax.training.train_spec import TrainSpec


def train_step(model: Recommender, spec: TrainSpec, mesh: Mesh, shape: batches.BatchSizes, data: DeviceData,
               state: TrainState, step: batches.StepPlan) -> tuple[TrainState, jax.Array]:
    """One optimiser step on the batch that `step` describes; returns the new state and the loss."""
    batch = make_batch(model, mesh, shape, data.items, step)
    key = key_of_step(state.key, state.step)
    drawn, dropout_key = draw_samples(model, spec, shape, batch.packed, key, data.cumulative)
    loss, gradients = loss_and_gradient(state.params, model, spec, mesh, data, batch, drawn, dropout_key)
    updates, optimizer = make_optimizer(spec).update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, optimizer, state.key), loss


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(5,))
def train_steps(model: Recommender, spec: TrainSpec, mesh: Mesh, shape: batches.BatchSizes, data: DeviceData,
                state: TrainState, steps: batches.StepPlan) -> tuple[TrainState, jax.Array]:
    """As many steps as `steps` holds, without leaving the device; returns the state and losses [S]."""
    step = functools.partial(train_step, model, spec, mesh, shape, data)
    state, found = jax.lax.scan(step, state, steps)
    # Where a fresh state lives: else the next call would find the tables' rows elsewhere and be compiled anew.
    return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh)), replicate(found, mesh)


def loss_and_gradient(params: Any, model: Recommender, spec: TrainSpec, mesh: Mesh, data: DeviceData, batch: Batch,
                      drawn: StepSamples, dropout_key: jax.Array) -> tuple[jax.Array, Any]:
    """`batch_loss` and its gradient, in micro-batches where `spec.micro_batches` asks for that."""
    if not spec.micro_batches:
        return jax.value_and_grad(batch_loss)(params, model, spec, data, batch, drawn, dropout_key)

    def loss(params: Any, known: Any, packed: batches.PackedRows, drawn: StepSamples, key: jax.Array) -> jax.Array:
        data, users, last = known
        return batch_loss(params, model, spec, data, Batch(users, packed, last), drawn, key)

    known = data, batch.users, batch.last
    return deterministic.value_and_grad(loss, mesh, spec.micro_batches, params, known, batch.packed, drawn, dropout_key)

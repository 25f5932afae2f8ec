"""Which items coming steps will look up, for vectors that stay on the host."""

import functools

import jax
import jax.numpy as jnp

from grasp_jax.batching import batches
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.training.batch import draw_samples
from grasp_jax.training.state import key_of_step
from grasp_jax.training.train_spec import TrainSpec


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def items_of_steps(model: Recommender, spec: TrainSpec, shape: batches.BatchSizes, data: DeviceData, key: jax.Array,
                   first: jax.Array, steps: batches.StepPlan) -> tuple[jax.Array, ...]:
    """Item ids that the steps `first`, `first` + 1, ... will look up, fields [S, ...]: those of their rows, the
    negatives, and those of similar users' rows. What `train_steps` draws, without the rest."""
    width = model.spec.row_width

    def one(number: jax.Array, step: batches.StepPlan) -> tuple[jax.Array, ...]:
        packed = batches.pack_rows(data.items, step.users, shape.rows, width)
        drawn, _ = draw_samples(model, spec, shape, packed, key_of_step(key, number), data.cumulative)
        similar = (batches.pack_rows(data.items, placement, *grid).items
                   for placement, grid in zip(step.similar, shape.similar, strict=True))
        return packed.items, drawn.negatives, *similar

    numbers = first + jnp.arange(len(steps.users.user))
    return jax.lax.map(lambda now: one(*now), (numbers, steps))

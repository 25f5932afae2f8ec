"""The state of training: how it begins, its random keys, and which of its parameters rank."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from grasp_jax.batching import batches
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Recommender
from grasp_jax.training.optimizer import make_optimizer
from grasp_jax.training.train_spec import TrainSpec


class TrainState(NamedTuple):
    """The only thing that changes in training.

    Attributes:
      step: int32 scalar, steps taken.
      params: the model's parameters.
      optimizer: optax state.
      key: base random key; a step uses fold_in(key, step).
    """

    step: jax.Array
    params: Any
    optimizer: Any
    key: jax.Array


def init_state(model: Recommender, spec: TrainSpec, tables: FrozenVectors | None, seed: int,
               start: jax.Array | None = None, projection: jax.Array | None = None) -> TrainState:
    """A fresh state; call it under `jax.jit` with output shardings, or `jax.eval_shape` for shapes alone.

    Args:
      model, spec, tables: what is trained.
      seed: of the draw.
      start: [m + 1, H], what the id embeddings of items start from (LLMInit, LLM-ESR, where asked
        for GRASP with ids); None: small random numbers.
      projection: [E, H], what the kernel of a view of vectors starts from (`Method.projects_vectors`).
    """
    init_key = jax.random.split(jax.random.key(seed))[0]
    width = model.spec.row_width
    packed = batches.PackedRows(*(jnp.zeros((1, width), jnp.int32),) * 3)
    model = Recommender(dataclasses.replace(model.spec, table_mesh=None))  # one row cannot be split
    # Lazy: the forward pass is there for its parameters' shapes alone, and is not compiled.
    params = model.lazy_init(init_key, tables, jnp.zeros(1, jnp.int32), packed, packed.items > 0,
                             method=Recommender.init_all)['params']
    encoder = params.get('encoder', {})
    if start is not None:
        encoder = {**encoder, 'embedding': encoder['embedding'].at[:len(start)].set(start)}
    if projection is not None:
        encoder = {**encoder, 'content_kernel': projection}
    params = {**params, 'encoder': encoder} if encoder else params
    return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(spec).init(params),
                      step_key(seed))


def step_key(seed: int) -> jax.Array:
    """The base key of a state: data of a key, as checkpoints keep it."""
    return jax.random.key_data(jax.random.split(jax.random.key(seed))[1])


def key_of_step(key: jax.Array, step: jax.Array) -> jax.Array:
    """The random key of a step, from the state's base key."""
    return jax.random.fold_in(jax.random.wrap_key_data(key), step)


def ranked_params(spec: TrainSpec, state: TrainState) -> Any:
    """What a state ranks with: its parameters, or their mean over the steps so far."""
    if not spec.ema_decay:
        return state.params
    mean: optax.EmaState = state.optimizer[-1]
    return optax.tree.bias_correction(mean.ema, spec.ema_decay, mean.count)

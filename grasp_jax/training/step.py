"""One training step, and a run of them on the device."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from grasp_jax.data import batches
from grasp_jax.models.losses import binary_cross_entropy
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import Tables
from grasp_jax.training.sharding import split_rows

NEGATIVES = 1  # of the paper's recipe, for every position


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """The part of the `train` section that shapes a step."""

    learning_rate: float
    weight_decay: float
    mask_prob: float
    mask_last_prob: float


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


class Data(NamedTuple):
    """What a step reads: `items` int32 [interactions] on the device, and the frozen tables (None without text)."""

    items: jax.Array
    tables: Tables | None


def train_spec(config: ml_collections.ConfigDict) -> TrainSpec:
    """Freezes what a step needs of the `train` section."""
    return TrainSpec(**{field.name: config.train[field.name] for field in dataclasses.fields(TrainSpec)})


def make_optimizer(spec: TrainSpec) -> optax.GradientTransformation:
    """Adam, decoupled weight decay where asked for."""
    return optax.adamw(spec.learning_rate, weight_decay=spec.weight_decay)


def init_state(model: Recommender, spec: TrainSpec, tables: Tables | None, seed: int) -> TrainState:
    """A fresh state; call it under `jax.jit` with output shardings, or `jax.eval_shape` for shapes alone."""
    init_key, run_key = jax.random.split(jax.random.key(seed))
    width = model.spec.row_width
    packed = batches.Packed(*(jnp.zeros((1, width), jnp.int32),) * 3)
    params = model.init(init_key, tables, jnp.zeros(1, jnp.int32), packed, packed.items > 0, train=False)['params']
    return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(spec).init(params),
                      jax.random.key_data(run_key))


class Drawn(NamedTuple):
    """What a step draws at random for a packed batch.

    Attributes:
      negatives: int32 [R, W, N], for the target of each position.
      masked: bool [R, W], items that the model must not see (BERT4Rec).
      counts: bool [R, W], positions with a target.
    """

    negatives: jax.Array
    masked: jax.Array
    counts: jax.Array


def draw(model: Recommender, spec: TrainSpec, packed: batches.Packed, key: jax.Array) -> tuple[Drawn, jax.Array]:
    """Draws what a step needs; returns it and the key of its dropout.

    SASRec and GRU4Rec predict each next item of the sequence, BERT4Rec the items that a cloze mask hides.
    """
    negative_key, mask_key, dropout_key = jax.random.split(key, 3)
    negatives = batches.draw_training_negatives(negative_key, packed, model.spec.num_items, NEGATIVES)
    if model.spec.causal:
        masked = jnp.zeros(packed.items.shape, bool)
        following = jnp.pad(packed.segment[:, 1:], ((0, 0), (0, 1)))
        counts = (packed.segment > 0) & (following == packed.segment)
    else:
        masked = counts = batches.draw_cloze_mask(mask_key, packed, spec.mask_prob, spec.mask_last_prob)
    return Drawn(negatives, masked, counts), dropout_key


def batch_loss(params: Any, model: Recommender, spec: TrainSpec, data: Data, placement: batches.Placement,
               packed: batches.Packed, key: jax.Array) -> jax.Array:
    """Loss of one packed batch (Eq. 6), dropout on."""
    drawn, dropout_key = draw(model, spec, packed, key)
    variables = {'params': params}
    encoded = model.apply(variables, data.tables, placement.user, packed, drawn.masked, train=True,
                          rngs={'dropout': dropout_key})
    scores: Any = model.apply(variables, data.tables, encoded, drawn.negatives, shift=model.spec.causal,
                         method=Recommender.training_scores)
    return binary_cross_entropy(scores[..., 0], scores[..., 1:], drawn.counts.astype(scores.dtype))


def train_step(model: Recommender, spec: TrainSpec, mesh: Mesh, num_rows: int, data: Data, state: TrainState,
               placement: batches.Placement) -> tuple[TrainState, jax.Array]:
    """One optimiser step on the batch that `placement` describes; returns the new state and the loss."""
    packed = split_rows(batches.pack_rows(data.items, placement, num_rows, model.spec.row_width), mesh)
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    loss, gradients = jax.value_and_grad(batch_loss)(state.params, model, spec, data, placement, packed, key)
    updates, optimizer = make_optimizer(spec).update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, optimizer, state.key), loss


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(5,))
def train_steps(model: Recommender, spec: TrainSpec, mesh: Mesh, num_rows: int, data: Data, state: TrainState,
                placements: batches.Placement) -> tuple[TrainState, jax.Array]:
    """As many steps as `placements` [S, B] holds, without leaving the device; returns the state and losses [S]."""
    step = functools.partial(train_step, model, spec, mesh, num_rows, data)
    return jax.lax.scan(step, state, placements)

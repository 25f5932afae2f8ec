"""One training step, and a run of them on the device."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from grasp_jax.data import batches, draws
from grasp_jax.data.draws import Drawn
from grasp_jax.models.losses import binary_cross_entropy
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import Tables
from grasp_jax.training.sharding import split_rows, state_shardings

NEGATIVES = 1  # of the paper's recipe, for every position


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """The part of the `train` section that shapes a step."""

    learning_rate: float
    weight_decay: float
    mask_prob: float
    mask_last_prob: float


def target_count(model: Recommender, spec: TrainSpec) -> batches.TargetCount | None:
    """How many places for targets a plan's batches need; None: one for every position."""
    if model.spec.causal:
        return None
    return functools.partial(draws.cloze_targets, mask_prob=spec.mask_prob, mask_last_prob=spec.mask_last_prob)


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
    init_key = jax.random.split(jax.random.key(seed))[0]
    width = model.spec.row_width
    packed = batches.Packed(*(jnp.zeros((1, width), jnp.int32),) * 3)
    params = model.init(init_key, tables, jnp.zeros(1, jnp.int32), packed, packed.items > 0, train=False)['params']
    return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(spec).init(params),
                      step_key(seed))


def step_key(seed: int) -> jax.Array:
    """The base key of a state: data of a key, as checkpoints keep it."""
    return jax.random.key_data(jax.random.split(jax.random.key(seed))[1])


def key_of_step(key: jax.Array, step: jax.Array) -> jax.Array:
    """The random key of a step, from the state's base key."""
    return jax.random.fold_in(jax.random.wrap_key_data(key), step)


def draw(model: Recommender, spec: TrainSpec, shape: batches.Shape, packed: batches.Packed,
         key: jax.Array) -> tuple[Drawn, jax.Array]:
    """Draws what a step needs; returns it and the key of its dropout.

    SASRec and GRU4Rec predict each next item of the sequence, BERT4Rec the items that a cloze mask hides.
    """
    negative_key, mask_key, dropout_key = jax.random.split(key, 3)
    if model.spec.causal:
        masked = jnp.zeros(packed.items.shape, bool)
        following = jnp.pad(packed.segment[:, 1:], ((0, 0), (0, 1)))
        targets = draws.everywhere((packed.segment > 0) & (following == packed.segment), shape.groups)
    else:
        masked = draws.draw_cloze_mask(mask_key, packed, spec.mask_prob, spec.mask_last_prob)
        targets = draws.find_targets(masked, shape.groups, shape.targets)
    # Drawn for every position, so that they do not depend on the number of groups or places.
    negatives = draws.draw_training_negatives(negative_key, packed, model.spec.num_items, NEGATIVES)
    return Drawn(masked, targets, targets.pick(negatives)), dropout_key


def batch_loss(params: Any, model: Recommender, data: Data, users: jax.Array, packed: batches.Packed, drawn: Drawn,
               dropout_key: jax.Array) -> jax.Array:
    """Loss of one packed batch of `users` [B] (Eq. 6), dropout on."""
    scores: Any = model.apply({'params': params}, data.tables, users, packed, drawn, train=True,
                              rngs={'dropout': dropout_key}, method=Recommender.training_scores)
    return binary_cross_entropy(scores[..., 0], scores[..., 1:], drawn.targets.exist.astype(scores.dtype))


def train_step(model: Recommender, spec: TrainSpec, mesh: Mesh, shape: batches.Shape, data: Data, state: TrainState,
               placement: batches.Placement) -> tuple[TrainState, jax.Array]:
    """One optimiser step on the batch that `placement` describes; returns the new state and the loss."""
    packed = split_rows(batches.pack_rows(data.items, placement, shape.rows, model.spec.row_width), mesh)
    drawn, dropout_key = draw(model, spec, shape, packed, key_of_step(state.key, state.step))
    loss, gradients = jax.value_and_grad(batch_loss)(state.params, model, data, placement.user, packed, drawn,
                                                     dropout_key)
    updates, optimizer = make_optimizer(spec).update(gradients, state.optimizer, state.params)
    params = optax.apply_updates(state.params, updates)
    return TrainState(state.step + 1, params, optimizer, state.key), loss


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3), donate_argnums=(5,))
def train_steps(model: Recommender, spec: TrainSpec, mesh: Mesh, shape: batches.Shape, data: Data, state: TrainState,
                placements: batches.Placement) -> tuple[TrainState, jax.Array]:
    """As many steps as `placements` [S, B] holds, without leaving the device; returns the state and losses [S]."""
    step = functools.partial(train_step, model, spec, mesh, shape, data)
    state, losses = jax.lax.scan(step, state, placements)
    # Where a fresh state lives: else the next call would find the tables' rows elsewhere and be compiled anew.
    return jax.lax.with_sharding_constraint(state, state_shardings(state, mesh)), losses


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def items_of_steps(model: Recommender, spec: TrainSpec, shape: batches.Shape, items: jax.Array, key: jax.Array,
                   first: jax.Array, placements: batches.Placement) -> tuple[jax.Array, jax.Array]:
    """Item ids that the steps `first`, `first` + 1, ... will look up: [S, R, W] of their rows and the negatives
    [S, G, T, N]. What `train_steps` draws, without the rest."""
    def one(step: jax.Array, placement: batches.Placement) -> tuple[jax.Array, jax.Array]:
        packed = batches.pack_rows(items, placement, shape.rows, model.spec.row_width)
        return packed.items, draw(model, spec, shape, packed, key_of_step(key, step))[0].negatives

    steps = first + jnp.arange(len(placements.user))
    return jax.lax.map(lambda now: one(*now), (steps, placements))

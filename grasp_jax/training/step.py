"""One training step, and a run of them on the device."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import optax
from jax.sharding import Mesh

from grasp_jax.batching import batches, sampling
from grasp_jax.batching.sampling import StepSamples
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import replicate, split_rows, state_shardings
from grasp_jax.models import losses
from grasp_jax.models.alignment import HIDDEN_SHARE
from grasp_jax.models.inputs import DeviceData, input_rows
from grasp_jax.models.recommender import Encoded, Inputs, Recommender
from grasp_jax.training import deterministic

LOSSES = ('bce', 'gbce', 'sampled_softmax', 'softmax')


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """The part of the `train` section that shapes a step."""

    learning_rate: float
    weight_decay: float
    average: float
    mask_prob: float
    mask_last_prob: float
    loss: str
    negatives: int
    shared_negatives: bool
    popularity: float
    temperature: float
    calibration: float
    softmax_dtype: str
    last_only: int
    parts: int

    @property
    def own_negatives(self) -> int:
        """Negatives that every position draws for itself."""
        return 0 if self.shared_negatives or self.loss == 'softmax' else self.negatives


def target_count(model: Recommender, spec: TrainSpec) -> batches.TargetCount | None:
    """How many places for targets a plan's batches need; None: one for every position."""
    if model.spec.causal:
        return None
    return functools.partial(sampling.cloze_targets, mask_prob=spec.mask_prob, mask_last_prob=spec.mask_last_prob)


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


def train_spec(config: ml_collections.ConfigDict) -> TrainSpec:
    """Freezes what a step needs of the `train` section."""
    return TrainSpec(**{field.name: config.train[field.name] for field in dataclasses.fields(TrainSpec)})


def make_optimizer(spec: TrainSpec) -> optax.GradientTransformation:
    """Adam, decoupled weight decay and a mean of the parameters where asked for."""
    adam = optax.adamw(spec.learning_rate, weight_decay=spec.weight_decay)
    return optax.chain(adam, keep_mean(spec.average)) if spec.average else adam


def keep_mean(decay: float) -> optax.GradientTransformation:
    """Lets updates pass and keeps an exponential moving mean of the parameters that they lead to."""
    mean = optax.ema(decay)

    def update(updates: Any, state: optax.EmaState, params: Any) -> tuple[Any, optax.EmaState]:
        _, state = mean.update(optax.apply_updates(params, updates), state)
        return updates, state

    return optax.GradientTransformation(mean.init, update)


def ranked_params(spec: TrainSpec, state: TrainState) -> Any:
    """What a state ranks with: its parameters, or their mean over the steps so far."""
    if not spec.average:
        return state.params
    mean: optax.EmaState = state.optimizer[-1]
    return optax.tree.bias_correction(mean.ema, spec.average, mean.count)


def init_state(model: Recommender, spec: TrainSpec, tables: FrozenVectors | None, seed: int,
               start: jax.Array | None = None) -> TrainState:
    """A fresh state; call it under `jax.jit` with output shardings, or `jax.eval_shape` for shapes alone.

    Args:
      model, spec, tables: what is trained.
      seed: of the draw.
      start: [m + 1, H], what the id embeddings of items start from (LLMInit, LLM-ESR, where asked
        for GRASP with ids); None: small random numbers.
    """
    init_key = jax.random.split(jax.random.key(seed))[0]
    width = model.spec.row_width
    packed = batches.PackedRows(*(jnp.zeros((1, width), jnp.int32),) * 3)
    model = Recommender(dataclasses.replace(model.spec, table_mesh=None))  # one row cannot be split
    params = model.init(init_key, tables, jnp.zeros(1, jnp.int32), packed, packed.items > 0, train=False)['params']
    if start is not None:
        embedding = params['encoder']['embedding']
        params = {**params, 'encoder': {**params['encoder'], 'embedding': embedding.at[:len(start)].set(start)}}
    return TrainState(jnp.zeros((), jnp.int32), params, make_optimizer(spec).init(params),
                      step_key(seed))


def step_key(seed: int) -> jax.Array:
    """The base key of a state: data of a key, as checkpoints keep it."""
    return jax.random.key_data(jax.random.split(jax.random.key(seed))[1])


def key_of_step(key: jax.Array, step: jax.Array) -> jax.Array:
    """The random key of a step, from the state's base key."""
    return jax.random.fold_in(jax.random.wrap_key_data(key), step)


def draw(model: Recommender, spec: TrainSpec, shape: batches.BatchSizes, packed: batches.PackedRows, key: jax.Array,
         cumulative: jax.Array | None = None) -> tuple[StepSamples, jax.Array]:
    """Draws what a step needs; returns it and the key of its dropout.

    SASRec and GRU4Rec predict each next item of the sequence, BERT4Rec the items that a cloze mask hides.
    """
    negative_key, mask_key, dropout_key = jax.random.split(key, 3)
    if model.spec.causal:
        masked = jnp.zeros(packed.items.shape, bool)
        if model.spec.masks_inputs:
            masked = sampling.draw_hidden(mask_key, packed, HIDDEN_SHARE)
        counts = (packed.segment > 0) & ~sampling.is_last(packed)
        if spec.last_only:
            counts &= sampling.from_the_end(packed) <= spec.last_only
        targets = sampling.everywhere(counts, shape.groups)
    else:
        masked = sampling.draw_cloze_mask(mask_key, packed, spec.mask_prob, spec.mask_last_prob)
        if spec.last_only:
            masked &= sampling.from_the_end(packed) < spec.last_only
        targets = sampling.find_targets(masked, shape.groups, shape.targets)
    if not spec.own_negatives:
        count = 0 if spec.loss == 'softmax' else spec.negatives
        shared = sampling.draw_shared_negatives(negative_key, model.spec.num_items, count, cumulative)
        return StepSamples(masked, targets, shared), dropout_key
    # Drawn for every position, so that they do not depend on the number of groups or places.
    negatives = sampling.draw_training_negatives(negative_key, packed, model.spec.num_items, spec.own_negatives)
    return StepSamples(masked, targets, targets.pick(negatives)), dropout_key


class Batch(NamedTuple):
    """A packed batch.

    Attributes:
      users: int32 [B].
      packed: their rows.
      last: where their last states are, as in `Recommender.auxiliary`.
      similar: similar users by the width of their rows, empty where the method reads none.
    """

    users: jax.Array
    packed: batches.PackedRows
    last: batches.LastPositions | Inputs
    similar: tuple[Inputs, ...] = ()


def make_batch(model: Recommender, mesh: Mesh, shape: batches.BatchSizes,
               items: jax.Array, step: batches.StepPlan) -> Batch:
    """Lays one step's users out in rows, and their similar users where the method reads them."""
    spec = model.spec
    packed = split_rows(batches.pack_rows(items, step.users, shape.rows, spec.row_width), mesh)
    last: batches.LastPositions | Inputs
    if spec.uses_last_states and spec.mask_slots:
        last = input_rows(spec, mesh, items, step.users, shape.rows)
    else:
        last = batches.ends(step.users, longest=spec.max_length)
    similar = (input_rows(spec, mesh, items, placement, *grid)
               for placement, grid in zip(step.similar, shape.similar, strict=True))
    return Batch(jnp.asarray(step.users.user), packed, last, tuple(similar))


def batch_loss(params: Any, model: Recommender, spec: TrainSpec, data: DeviceData, batch: Batch, drawn: StepSamples,
               dropout_key: jax.Array) -> jax.Array:
    """Loss of one batch, dropout on: the recipe's loss over the targets and the method's own."""
    def loss(model: Recommender) -> jax.Array:
        encoded = model(data.tables, batch.users, batch.packed, drawn.masked, train=True)
        ranking = ranking_loss(model, spec, data, batch, drawn, encoded)
        weight = model.spec.auxiliary_weight
        if not weight:
            return ranking
        return ranking + weight * model.auxiliary(data.tables, batch.users, batch.packed, drawn, encoded, batch.last,
                                                  batch.similar)

    found: Any = model.apply({'params': params}, rngs={'dropout': dropout_key}, method=loss)
    return jnp.asarray(found)


def ranking_loss(model: Recommender, spec: TrainSpec, data: DeviceData, batch: Batch, drawn: StepSamples,
                 encoded: Encoded) -> jax.Array:
    """The recipe's loss over the targets (Eq. 6 under the paper's recipe)."""
    weight = drawn.targets.exist.astype(jnp.float32)
    items = batch.packed.items
    true = drawn.targets.pick(jnp.roll(items, -1, 1) if model.spec.causal else items)
    if spec.loss == 'softmax':
        queries, catalogue = model.softmax_terms(data.tables, encoded, drawn, spec.softmax_dtype)
        return losses.full_softmax(queries / spec.temperature, true - 1, catalogue, weight, spec.softmax_dtype)
    scores = model.score_targets(data.tables, encoded, drawn) / spec.temperature
    positive, negative = scores[..., 0], scores[..., 1:]
    drawn_ids = drawn.negatives if spec.own_negatives else drawn.negatives[None, None]
    if data.cumulative is not None:
        positive -= losses.log_chance(data.cumulative, true)
        negative -= losses.log_chance(data.cumulative, drawn_ids)
    negative = jnp.where(true[..., None] == drawn_ids, losses.NEVER, negative)
    if spec.loss == 'bce':
        return losses.binary_cross_entropy(positive, negative, weight)
    if spec.loss == 'gbce':
        share = min(1.0, spec.negatives / max(model.spec.num_items - 1, 1))
        return losses.generalised_bce(positive, negative, weight, share, spec.calibration)
    return losses.sampled_softmax(positive, negative, weight)


def loss_and_gradient(params: Any, model: Recommender, spec: TrainSpec, mesh: Mesh, data: DeviceData, batch: Batch,
                      drawn: StepSamples, dropout_key: jax.Array) -> tuple[jax.Array, Any]:
    """`batch_loss` and its gradient, in parts where `spec.parts` asks for that."""
    if not spec.parts:
        return jax.value_and_grad(batch_loss)(params, model, spec, data, batch, drawn, dropout_key)

    def loss(params: Any, known: Any, packed: batches.PackedRows, drawn: StepSamples, key: jax.Array) -> jax.Array:
        data, users, last = known
        return batch_loss(params, model, spec, data, Batch(users, packed, last), drawn, key)

    known = data, batch.users, batch.last
    return deterministic.value_and_grad(loss, mesh, spec.parts, params, known, batch.packed, drawn, dropout_key)


def train_step(model: Recommender, spec: TrainSpec, mesh: Mesh, shape: batches.BatchSizes, data: DeviceData,
               state: TrainState, step: batches.StepPlan) -> tuple[TrainState, jax.Array]:
    """One optimiser step on the batch that `step` describes; returns the new state and the loss."""
    batch = make_batch(model, mesh, shape, data.items, step)
    drawn, dropout_key = draw(model, spec, shape, batch.packed, key_of_step(state.key, state.step), data.cumulative)
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


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def items_of_steps(model: Recommender, spec: TrainSpec, shape: batches.BatchSizes, data: DeviceData, key: jax.Array,
                   first: jax.Array, steps: batches.StepPlan) -> tuple[jax.Array, ...]:
    """Item ids that the steps `first`, `first` + 1, ... will look up, fields [S, ...]: those of their rows, the
    negatives, and those of similar users' rows. What `train_steps` draws, without the rest."""
    width = model.spec.row_width

    def one(number: jax.Array, step: batches.StepPlan) -> tuple[jax.Array, ...]:
        packed = batches.pack_rows(data.items, step.users, shape.rows, width)
        drawn, _ = draw(model, spec, shape, packed, key_of_step(key, number), data.cumulative)
        similar = (batches.pack_rows(data.items, placement, *grid).items
                   for placement, grid in zip(step.similar, shape.similar, strict=True))
        return packed.items, drawn.negatives, *similar

    numbers = first + jnp.arange(len(steps.users.user))
    return jax.lax.map(lambda now: one(*now), (numbers, steps))

"""The loss of a batch: the recipe's loss over the targets, and the method's own."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from grasp_jax.batching.sampling import StepSamples
from grasp_jax.models import losses
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Encoded, Recommender
from grasp_jax.models.spec import ModelSpec
from grasp_jax.training.batch import Batch
from grasp_jax.training.train_spec import TrainSpec

# Of so many targets one, for a view of which a few numbers are trained: the softmax takes most of a step's time.
_ONE_OF = 8


def batch_loss(params: Any, model: Recommender, spec: TrainSpec, data: DeviceData, batch: Batch, drawn: StepSamples,
               dropout_key: jax.Array) -> jax.Array:
    """Loss of one batch, dropout on: the recipe's loss over the targets and the method's own."""
    def loss(model: Recommender) -> jax.Array:
        encoded = model(data.tables, batch.users, batch.packed, drawn.masked, train=True)
        ranking = ranking_loss(model, spec, data, batch, drawn, encoded)
        weight = model.spec.aux_loss_weight
        if not weight:
            return ranking
        return ranking + weight * model.auxiliary(data.tables, batch.users, batch.packed, drawn, encoded, batch.last,
                                                  batch.similar)

    found: Any = model.apply({'params': params}, rngs={'dropout': dropout_key}, method=loss)
    return jnp.asarray(found)


def ranking_loss(model: Recommender, spec: TrainSpec, data: DeviceData, batch: Batch, drawn: StepSamples,
                 encoded: Encoded) -> jax.Array:
    """The recipe's loss over the targets (Eq. 6 under the paper's recipe), or the sum of those of views that learn
    apart."""
    items = batch.packed.items
    true = drawn.targets.pick(jnp.roll(items, -1, 1) if model.spec.causal else items)
    apart = model.spec.all_views if model.spec.facts.views_learn_apart else 1
    states = states_at_full_weight(encoded.states, model.spec)
    if spec.loss == 'softmax':
        terms = model.softmax_terms(data.tables, encoded._replace(states=states), drawn, spec.softmax_dtype)
        weight = drawn.targets.exist.astype(jnp.float32)
        views = zip(*(jnp.split(term, apart, -1) for term in terms), strict=True)
        found = []
        for number, (queries, catalogue) in enumerate(views):
            some = slice(None, None, 1 if number < model.spec.num_views else _ONE_OF)
            found.append(losses.full_softmax(queries[:, some] / spec.temperature, true[:, some] - 1, catalogue,
                                             weight[:, some], spec.softmax_dtype))
    else:
        found = [candidates_loss(model, spec, data, true, drawn, encoded._replace(states=own))
                 for own in states_of_views(states, apart)]
    return functools.reduce(jnp.add, found)


def states_at_full_weight(states: jax.Array, spec: ModelSpec) -> jax.Array:
    """States [..., V * H] as losses see them, without `Method.further_weight`."""
    if not spec.facts.further_views:
        return states
    own, further = jnp.split(states, [spec.num_views * spec.hidden_size], -1)
    return jnp.concatenate([own, further / spec.facts.further_weight], -1)


def states_of_views(states: jax.Array, apart: int) -> list[jax.Array]:
    """Of states [..., V * H] one copy for each view in which all others are zero, so that they have no say in a score.

    Example:
      >>> [found.tolist() for found in states_of_views(jnp.array([1.0, 2.0]), 2)]
      [[1.0, 0.0], [0.0, 2.0]]
    """
    views = jnp.split(states, apart, -1)
    return [jnp.concatenate([view if place == own else jnp.zeros_like(view) for place, view in enumerate(views)], -1)
            for own in range(apart)]


def candidates_loss(model: Recommender, spec: TrainSpec, data: DeviceData, true: jax.Array, drawn: StepSamples,
                    encoded: Encoded) -> jax.Array:
    """The recipe's loss of the scores of true items [G, T] and negatives."""
    weight = drawn.targets.exist.astype(jnp.float32)
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
        return losses.generalised_bce(positive, negative, weight, share, spec.gbce_t)
    return losses.sampled_softmax(positive, negative, weight)

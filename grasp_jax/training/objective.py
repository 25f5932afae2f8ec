"""The loss of a batch: the recipe's loss over the targets, and the method's own."""

from typing import Any

import jax
import jax.numpy as jnp

from grasp_jax.batching.sampling import StepSamples
from grasp_jax.models import losses
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Encoded, Recommender
from grasp_jax.training.batch import Batch
from grasp_jax.training.train_spec import TrainSpec


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
        return losses.generalised_bce(positive, negative, weight, share, spec.gbce_t)
    return losses.sampled_softmax(positive, negative, weight)

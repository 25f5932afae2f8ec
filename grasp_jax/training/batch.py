"""The batch of a step: users laid out in rows, and what is drawn for them: masks, targets and negatives."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.batching import batches, sampling
from grasp_jax.batching.sampling import StepSamples
from grasp_jax.distributed.sharding import split_rows
from grasp_jax.models.inputs import input_rows
from grasp_jax.models.recommender import Inputs, Recommender
from grasp_jax.training.train_spec import TrainSpec


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


def draw_samples(model: Recommender, spec: TrainSpec, shape: batches.BatchSizes, packed: batches.PackedRows,
                 key: jax.Array, cumulative: jax.Array | None = None) -> tuple[StepSamples, jax.Array]:
    """Draws what a step needs; returns it and the key of its dropout.

    SASRec and GRU4Rec predict each next item of the sequence, BERT4Rec the items that a cloze mask hides.
    """
    negative_key, mask_key, dropout_key = jax.random.split(key, 3)
    if model.spec.causal:
        masked = jnp.zeros(packed.items.shape, bool)
        if model.spec.masks_inputs:
            masked = sampling.draw_hidden(mask_key, packed, model.spec.hidden_share)
        is_target = (packed.segment > 0) & ~sampling.is_last(packed)
        if spec.supervise_last:
            is_target &= sampling.from_the_end(packed) <= spec.supervise_last
    else:
        masked = sampling.draw_cloze_mask(mask_key, packed, spec.mask_prob, spec.mask_last_prob)
        if spec.supervise_last:
            masked &= sampling.from_the_end(packed) < spec.supervise_last
        is_target = masked
    targets = (sampling.find_targets(is_target, shape.groups, shape.targets) if shape.targets
               else sampling.targets_everywhere(is_target, shape.groups))
    if not spec.own_negatives:
        count = 0 if spec.loss == 'softmax' else spec.negatives
        shared = sampling.draw_shared_negatives(negative_key, model.spec.num_items, count, cumulative)
        return StepSamples(masked, targets, shared), dropout_key
    # Drawn for every position, so that they do not depend on the number of groups or places.
    negatives = sampling.draw_training_negatives(negative_key, packed, model.spec.num_items, spec.own_negatives)
    return StepSamples(masked, targets, targets.pick(negatives)), dropout_key


def target_count(model: Recommender, spec: TrainSpec) -> batches.TargetCount | None:
    """How many places for targets a plan's batches need; None: one for every position."""
    if model.spec.causal:
        if spec.loss != 'softmax':
            return None
        return functools.partial(sampling.next_item_targets, last=spec.supervise_last)
    return functools.partial(sampling.cloze_targets, mask_prob=spec.mask_prob, mask_last_prob=spec.mask_last_prob)

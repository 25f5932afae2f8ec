"""Ranks where the vectors stay on the host: rows of a batch's users and candidates travel, then blocks of all items.

The same ranks as `ranks.Evaluator` gives, up to rounding.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from grasp_jax.batching import batches
from grasp_jax.common.progress import Bar
from grasp_jax.distributed import processes
from grasp_jax.distributed.frozen_vectors import FrozenVectors, padded_rows
from grasp_jax.distributed.sharding import replicate
from grasp_jax.distributed.vectors_on_host import HostVectors
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.item_encoders import ITEM_BLOCK
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.user_context import Context
from grasp_jax.ranking.all_items import Beside, best_of, best_so_far
from grasp_jax.ranking.evaluator import Batch, Evaluator, rank_candidates
from grasp_jax.ranking.forward import user_states
from grasp_jax.ranking.metrics import Ranks
from grasp_jax.ranking.ties import ahead_of

_BATCHES = 8  # of users that share a pass over all items
_ITEMS = 8 * ITEM_BLOCK  # of a block that travels at once


class Found(NamedTuple):
    """What is known of a batch's users after some blocks of items.

    Attributes:
      ranks: [B, 1 or 2], of the targets.
      scores: [B, depth], of the best items, the best first.
      ids: int32 [B, depth], which they are, 0 where there are no more.
    """

    ranks: jax.Array
    scores: jax.Array
    ids: jax.Array


def _nothing(users: int, beside: Beside) -> Found:
    shape = users, beside.depth
    return Found(jnp.ones((users, beside.ranks)), jnp.full(shape, -jnp.inf), jnp.zeros(shape, jnp.int32))


class StreamedEvaluator(Evaluator):
    """As `Evaluator`, with tables on the host."""

    def __init__(self, *given: Any, host: HostVectors):
        """As `Evaluator.__init__`, and the tables; the gate is not the softmax, which would pass over all items
        twice."""
        super().__init__(*given)
        self._host = host

    def ranks_and_lists(self, params: Any, full: bool, depth: int) -> tuple[Ranks, np.ndarray]:
        """As in `Evaluator`."""
        sampled: list[jax.Array] = []
        everything: list[Found] = []
        beside = self.beside(depth)
        count = self.model.spec.num_items
        blocks = range(1, count + 1, _ITEMS) if full else range(0)
        passes = -(-self.num_batches // _BATCHES)
        with Bar(total=self.num_batches + passes * len(blocks), desc='rank', unit='part', delay=5,
                 disable=not processes.is_writer()) as bar:
            for start in range(0, self.num_batches, _BATCHES):
                group = [self.batch(step) for step in range(start, min(start + _BATCHES, self.num_batches))]
                known = []
                for batch in group:
                    ranks, states, context = self._sampled(params, batch)
                    sampled.append(ranks)
                    known.append((states, context, self._target_scores(params, batch, states, context)) if full else ())
                    bar.update()
                if not full:
                    continue
                hidden = [self.left_out(start + place) for place in range(len(group))]
                found = [_nothing(len(batch.targets), beside) for batch in group]
                for first in blocks:
                    features = self._features(params, _block(np.arange(first, min(first + _ITEMS, count + 1))))
                    found = [_rank_block(self.model, beside, params, features, first, before, *rest, batch.targets,
                                         seen)
                             for before, rest, batch, seen in zip(found, known, group, hidden, strict=True)]
                    found[-1].ranks.block_until_ready()  # or rows of all blocks would queue up
                    bar.update()
                everything += found
        return (self.collect(sampled, [found.ranks for found in everything], full),
                self.lists([found.ids for found in everything], depth))

    def data_of(self, batch: Batch) -> DeviceData:
        """As in `Evaluator`; rows of this batch are fetched, others are not there."""
        width = self.model.spec.row_width
        place, shown = np.arange(width)[None], batch.placement
        read = (np.asarray(shown.start)[:, None] + place)[place < np.asarray(shown.length)[:, None]]
        items = np.concatenate([self._interactions.items[read], batch.targets, batch.negatives.ravel()])
        places = self.num_rows * width + batch.targets.size + batch.negatives.size + 1
        users = batch.placement.user
        tables = self._host.fetch(items, np.asarray(users), padded_rows(places), padded_rows(len(users)))
        return self.data._replace(tables=tables)

    def _sampled(self, params: Any, batch: Batch) -> tuple[jax.Array, jax.Array, Context]:
        """Sampled ranks [B], states and contexts."""
        return _rank_sampled(self.model, self.mesh, self.num_rows, params, self.data_of(batch), batch.placement,
                             batch.targets, batch.negatives)

    def _target_scores(self, params: Any, batch: Batch, states: jax.Array, context: Context) -> jax.Array:
        """Scores [B, 1] of the targets, from a block of them: an item of the same vector shall have the same score."""
        features = self._features(params, _block(batch.targets))
        return _diagonal(self.model, params, features, states, context)

    def _features(self, params: Any, ids: np.ndarray) -> Any:
        """The item encoder's work on a block of items."""
        tables = self._host.fetch(ids, ids[:0], padded_rows(len(ids) + 1), padded_rows(1))
        return _block_features(self.model, params, tables, ids)


def _block(ids: np.ndarray) -> np.ndarray:
    """int32, ids filled up with the padding item to the size of a block."""
    filled = np.zeros(max(_ITEMS, len(ids)), np.int32)
    filled[:len(ids)] = ids
    return filled


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _rank_sampled(model: Recommender, mesh: Mesh, num_rows: int, params: Any, data: DeviceData,
                  placement: batches.RowPlacement, targets: jax.Array, negatives: jax.Array) -> tuple[Any, ...]:
    def look_up(known: Any, ids: jax.Array) -> Any:
        return model.apply({'params': known[0]}, known[1], ids, method=Recommender.catalogue)

    states, context = user_states(model, mesh, num_rows, params, data, placement)
    ranks = rank_candidates(model, mesh, look_up, (params, data.tables), states, context, targets, negatives)
    return replicate((ranks, states, context), mesh)


@functools.partial(jax.jit, static_argnums=(0,))
def _block_features(model: Recommender, params: Any, tables: FrozenVectors, ids: jax.Array) -> Any:
    return model.apply({'params': params}, tables, ids, method=Recommender.catalogue)


@functools.partial(jax.jit, static_argnums=(0, 1))
def _rank_block(model: Recommender, beside: Beside, params: Any, features: Any, first: jax.Array, before: Found,
                states: jax.Array, context: Context, target: jax.Array, targets: jax.Array,
                history: jax.Array) -> Found:
    """What a batch's users have after one more block of items."""
    found: Any = model.apply({'params': params}, states, context, features, method=Recommender.score_all)
    scores, num_items = jnp.asarray(found), model.spec.num_items
    left_out = [jnp.concatenate([history, targets[:, None]], 1), targets[:, None]][:beside.ranks]
    ahead = [ahead_of(scores, target, items, first, num_items) for items in left_out]
    ranks = before.ranks + jnp.stack(ahead, 1)
    if not beside.depth:
        return before._replace(ranks=ranks)
    best = best_of(scores, history, first, num_items, beside.depth)
    both, ids = (jnp.concatenate(each, 1) for each in zip((before.scores, before.ids), best, strict=True))
    return Found(ranks, *best_so_far(both, ids, beside.depth))


@functools.partial(jax.jit, static_argnums=(0,))
def _diagonal(model: Recommender, params: Any, features: Any, states: jax.Array, context: Context) -> jax.Array:
    """Score [B, 1] of each user's own item of a block."""
    scores: Any = model.apply({'params': params}, states, context, features, method=Recommender.score_all)
    return jnp.diagonal(scores)[:len(states), None]

"""Rankings among all items: where the targets land, with and without what a user has seen, and the best of each user.

Every device scores its share of the items for all users; only a few numbers of each user travel.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.distributed.partition import AXES, BOTH_AXES, REPLICATED
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.user_context import Context
from grasp_jax.ranking.ties import ahead_of, counted


class Beside(NamedTuple):
    """What a full ranking gives beside the rank of each target.

    Attributes:
      unmasked: whether a second rank is given, with the items of the history among the candidates.
      depth: items of each user's list of the best; 0: no lists.
    """

    unmasked: bool = False
    depth: int = 0

    @property
    def ranks(self) -> int:
        """Ranks of a target."""
        return 1 + self.unmasked


def rank_in_shares(model: Recommender, mesh: Mesh, beside: Beside, params: Any, features: Any, states: jax.Array,
                   context: Context, targets: jax.Array, history: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Full rankings of B users.

    Args:
      model, mesh, beside: what is ranked, where, and what else is wanted.
      params, features: parameters, and `item_features` of them.
      states, context: [B, H], [B, ?], what is scored, and what the gates see of the users.
      targets: int32 [B], item ids.
      history: int32 [B, ?], item ids that are no candidates, filled up with 0; the target always is one.

    Returns:
      ranks float32 [B, 1 or 2] of the targets, and the best items int32 [B, depth] outside the history, the best first,
      ties by the smaller id, 0 where there are no more.
    """
    spec = model.spec

    def share(features: Any, params: Any, states: jax.Array, context: Context, targets: jax.Array,
              history: jax.Array) -> tuple[jax.Array, jax.Array]:
        count = jax.tree.leaves(features)[0].shape[0]
        first = 1 + jax.lax.axis_index(AXES) * count
        place = targets - first
        here = (place >= 0) & (place < count)

        def scored(left_out: jax.Array) -> jax.Array:
            opening = context
            if spec.items_depend_on_user and spec.gate == 'softmax':  # its candidates are all items on all devices
                there = counted(left_out, first, count, spec.num_items)
                there |= here[:, None] & (place[:, None] == jnp.arange(count)[None])
                own = model.apply({'params': params}, context, features, there, method=Recommender.log_normaliser)
                most = jax.lax.pmax(own, AXES)
                total = jax.lax.psum(jnp.exp(own - most), AXES)
                opening = context._replace(log_normaliser=most + jnp.log(total))
            found: Any = model.apply({'params': params}, states, opening, features, method=Recommender.score_all)
            return jnp.asarray(found)

        def ahead(scores: jax.Array, left_out: jax.Array) -> jax.Array:
            own = jnp.take_along_axis(scores, jnp.where(here, place, 0)[:, None], axis=1)
            target = jax.lax.psum(jnp.where(here[:, None], own, 0.0), AXES)
            return ahead_of(scores, target, jnp.concatenate([left_out, targets[:, None]], 1), first, spec.num_items)

        scores = scored(history)
        if beside.depth:  # else a gated score is worked out for the ranks and again for the list
            scores = jax.lax.optimization_barrier(scores)
        found = [ahead(scores, history)]
        if beside.unmasked:
            nothing = jnp.zeros((len(targets), 1), targets.dtype)
            again = spec.items_depend_on_user and spec.gate == 'softmax'
            found.append(ahead(scored(nothing) if again else scores, nothing))
        return jax.lax.psum(jnp.stack(found, 1), AXES), _best_of_all(scores, history, first, spec.num_items, beside)

    shares: Callable[..., Any] = jax.shard_map(
        share, mesh=mesh, in_specs=(BOTH_AXES, *(REPLICATED,) * 5), out_specs=REPLICATED, check_vma=False)
    ahead, best = shares(features, params, states, context, targets, history)
    return 1.0 + ahead, best


def _best_of_all(scores: jax.Array, history: jax.Array, first: jax.Array, num_items: int, beside: Beside) -> jax.Array:
    """The best items [B, depth] over the shares of all devices."""
    if not beside.depth:
        return jnp.zeros((len(scores), 0), jnp.int32)
    found, ids = best_of(scores, history, first, num_items, beside.depth)
    found, ids = (jax.lax.all_gather(each, AXES, axis=1, tiled=True) for each in (found, ids))
    return best_so_far(found, ids, beside.depth)[1]


def best_of(scores: jax.Array, left_out: jax.Array, first: int | jax.Array, num_items: int,
            depth: int) -> tuple[jax.Array, jax.Array]:
    """The best of the items `first`, `first` + 1, ...

    Args:
      scores: [B, K], their scores.
      left_out, first, num_items: as in `ordering.ahead_of`.
      depth: how many.

    Returns:
      scores [B, depth], the best first, ties by the smaller id, and item ids int32 [B, depth]; -inf and 0 where there
      are no more.
    """
    there = counted(left_out, first, scores.shape[1], num_items)
    # The barrier: else the mask is worked out again inside.
    found, places = jax.lax.top_k(jax.lax.optimization_barrier(jnp.where(there, scores, -jnp.inf)),
                                  min(depth, scores.shape[1]))
    ids = jnp.where(found > -jnp.inf, first + places, 0).astype(jnp.int32)
    missing = ((0, 0), (0, depth - found.shape[1]))
    return jnp.pad(found, missing, constant_values=-jnp.inf), jnp.pad(ids, missing)


def best_so_far(scores: jax.Array, ids: jax.Array, depth: int) -> tuple[jax.Array, jax.Array]:
    """The best `depth` of scores [B, ?] and their ids; equal scores keep their order."""
    found, columns = jax.lax.top_k(scores, depth)
    return found, jnp.take_along_axis(ids, columns, axis=1)

"""Ranks from scores, ties counting half, and which items count."""

import jax
import jax.numpy as jnp


def rank_of_first(scores: jax.Array, exist: jax.Array) -> jax.Array:
    """Rank of candidate 0: 1 + better + equal / 2.

    Args:
      scores: [B, 1 + N], the target's score first.
      exist: bool [B, 1 + N], candidates that count.

    Returns:
      float32 [B]. A score that is not a number never counts as worse than the target.
    """
    target, others = scores[:, :1], scores[:, 1:]
    worse = jnp.where(exist[:, 1:], others < target, True)
    equal = jnp.where(exist[:, 1:], others == target, False)
    return 1.0 + jnp.sum(~worse, 1) - 0.5 * jnp.sum(equal, 1)


def rank_in_all(scores: jax.Array, targets: jax.Array, history: jax.Array, num_items: int) -> jax.Array:
    """Rank of each target among all items outside the history, ties counting half; the plain form.

    Args:
      scores: [B, >= m], scores of items 1..m; what follows is not looked at.
      targets: int32 [B], item ids.
      history: int32 [B, ?], item ids to leave out, filled up with 0.
      num_items: m.

    Returns:
      float32 [B].
    """
    target = jnp.take_along_axis(scores, targets[:, None] - 1, axis=1)
    return 1.0 + ahead_of(scores, target, jnp.concatenate([history, targets[:, None]], 1), 1, num_items)


def ahead_of(scores: jax.Array, target: jax.Array, left_out: jax.Array, first: int | jax.Array,
             num_items: int) -> jax.Array:
    """How many of the items `first`, `first` + 1, ... are ahead of the target, ties counting half.

    Args:
      scores: [B, K], their scores.
      target: [B, 1], scores of the targets.
      left_out: int32 [B, ?], item ids that do not count; 0 is none.
      first: id of the first item.
      num_items: m; items beyond do not count.

    Returns:
      float32 [B].
    """
    countable = counted(left_out, first, scores.shape[1], num_items)
    worse, equal = scores < target, scores == target
    return jnp.sum(countable & ~worse, 1) - 0.5 * jnp.sum(countable & equal, 1)


def counted(left_out: jax.Array, first: int | jax.Array, count: int, num_items: int) -> jax.Array:
    """bool [B, K], which of the K items from `first` on exist and are not left out; arguments as in `ahead_of`."""
    there = jnp.broadcast_to((first + jnp.arange(count) <= num_items)[None], (len(left_out), count))
    return there.at[jnp.arange(len(left_out))[:, None], left_out - first].set(
        False, mode='drop', wrap_negative_indices=False)

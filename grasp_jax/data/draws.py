"""What a training step draws at random, on the device: negatives and cloze masks, and where the targets are.

Losses are computed at targets alone. Their number varies from batch to batch, so a step has a fixed number of places
for them, T in each of G groups of rows (a group lives on one device), and says which are taken.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.data.batches import Packed, Plan, same_user

_PLACE_MULTIPLE = 64


class Targets(NamedTuple):
    """Positions to be predicted; P = R * W / G positions a group, counted row by row.

    Attributes:
      place: int32 [G, T], the position of each target within its group.
      exist: bool [G, T], places that are taken.
      back: int32 [G, P], the place of each position, T where it has none.
    """

    place: jax.Array
    exist: jax.Array
    back: jax.Array

    def pick(self, field: jax.Array) -> jax.Array:
        """Values at the targets: [R, W, ...] -> [G, T, ...]."""
        return _pick(field.reshape(*self.back.shape, *field.shape[2:]), self.place, self.back)

    def pick_next(self, field: jax.Array) -> jax.Array:
        """Values one position after the targets: [R, W, ...] -> [G, T, ...]."""
        following = Targets(self.place + 1, self.exist, jnp.roll(self.back, 1, axis=1))
        return following.pick(field)


class Drawn(NamedTuple):
    """What a step draws for a packed batch.

    Attributes:
      masked: bool [R, W], items that the model must not see (BERT4Rec).
      targets: where the loss is computed.
      negatives: int32 [G, T, N], for each target.
    """

    masked: jax.Array
    targets: Targets
    negatives: jax.Array


def causal_targets(plan: Plan, groups: int) -> int:
    """Places for targets that SASRec and GRU4Rec need: every item of a sequence but its first."""
    return _fullest(plan, groups, np.maximum(plan.placement.length - 1, 0).astype(float))


def cloze_targets(plan: Plan, groups: int, mask_prob: float, mask_last_prob: float) -> int:
    """Places that BERT4Rec needs: the expected number of hidden items and eight standard deviations."""
    length = np.asarray(plan.placement.length)
    usual, last = (1 - mask_last_prob) * (length > 0), mask_last_prob * (length > 0)
    mean = usual * mask_prob * length + last
    square = usual * (length * mask_prob * (1 - mask_prob) + (length * mask_prob) ** 2) + last
    return _fullest(plan, groups, mean, square - mean ** 2, np.asarray(length, float))


def _fullest(plan: Plan, groups: int, mean: np.ndarray, variance: np.ndarray | None = None,
             most: np.ndarray | None = None) -> int:
    """Largest sum over the users [S, B] of a group, rounded up to `_PLACE_MULTIPLE`."""
    step = np.arange(len(plan))[:, None]
    cell = (step * groups + plan.placement.row // (plan.num_rows // groups)).ravel()

    def sums(values: np.ndarray) -> np.ndarray:
        return np.bincount(cell, values.ravel(), len(plan) * groups)

    need = sums(mean)
    if variance is not None and most is not None:
        need = np.minimum(need + 8 * np.sqrt(sums(variance)), sums(most))
    return max(-(-int(np.ceil(need.max())) // _PLACE_MULTIPLE), 1) * _PLACE_MULTIPLE


def find_targets(counts: jax.Array, groups: int, places: int) -> Targets:
    """Lists the positions that count, in order.

    Args:
      counts: bool [R, W].
      groups: G, which divides R.
      places: T; positions that count beyond the first T of a group are left out.
    """
    flat = counts.reshape(groups, -1)
    number = jnp.cumsum(flat, axis=1) - 1
    back = jnp.where(flat & (number < places), number, places)

    def invert(back: jax.Array) -> jax.Array:
        return jnp.zeros(places, jnp.int32).at[back].set(jnp.arange(len(back)), mode='drop')

    exist = jnp.arange(places)[None] < jnp.sum(flat, axis=1, keepdims=True)
    return Targets(jax.vmap(invert)(back), exist, back)


@jax.custom_vjp
def _pick(values: jax.Array, place: jax.Array, back: jax.Array) -> jax.Array:
    """values [G, P, ...] at place [G, T] -> [G, T, ...].

    No position has two places, so the gradient is a gather as well; the scatter that automatic differentiation would
    use runs row by row on a CPU.
    """
    return jax.vmap(lambda group, at: group[at])(values, place)


def _pick_forward(values: jax.Array, place: jax.Array, back: jax.Array) -> tuple[jax.Array, Any]:
    return _pick(values, place, back), back


def _pick_backward(back: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None, None]:
    nothing = jnp.zeros_like(cotangent[:, :1])
    return _pick(jnp.concatenate([cotangent, nothing], 1), back, back), None, None


_pick.defvjp(_pick_forward, _pick_backward)


def draw_training_negatives(key: jax.Array, packed: Packed, num_items: int, count: int) -> jax.Array:
    """Draws items that are not in the user's sequence, uniformly, for every position.

    Four draws, the first that is not in the sequence counts: the chance that all four are is (length / m)^4.

    Args:
      key: of this step.
      packed: the batch.
      num_items: m.
      count: N, negatives a position.

    Returns:
      int32 [R, W, N], values 1..m.
    """
    draws = jax.random.randint(key, (4, *packed.items.shape, count), 1, num_items + 1)
    own = same_user(packed.segment)

    def seen(items: jax.Array) -> jax.Array:
        equal = items[:, :, :, None] == packed.items[:, None, None, :]
        return jnp.any(equal & own[:, :, None, :], axis=-1)

    negatives = draws[3]
    for draw in (draws[2], draws[1], draws[0]):
        negatives = jnp.where(seen(draw), negatives, draw)
    return negatives


def draw_cloze_mask(key: jax.Array, packed: Packed, mask_prob: float, mask_last_prob: float) -> jax.Array:
    """Chooses the items that BERT4Rec has to fill in.

    Args:
      key: of this step.
      packed: the batch.
      mask_prob: share of positions hidden.
      mask_last_prob: share of sequences in which only the last item is hidden, as in testing.

    Returns:
      bool [R, W].
    """
    last_key, any_key = jax.random.split(key)
    here = packed.segment > 0
    following = jnp.pad(packed.segment[:, 1:], ((0, 0), (0, 1)))
    last = here & (following != packed.segment)
    # One draw a user: a table over segments, looked up at each position.
    most = packed.segment.size
    only_last = (jax.random.uniform(last_key, (most + 1,)) < mask_last_prob)[packed.segment]
    some = jax.random.uniform(any_key, packed.segment.shape) < mask_prob
    return here & jnp.where(only_last, last, some)

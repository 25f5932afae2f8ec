"""What a training step draws at random, on the device: negatives and cloze masks, and where the targets are.

BERT4Rec predicts a fifth of the positions, so its loss is computed there alone. Their number varies from batch to
batch: a step has a fixed number of places for them, T in each of G groups of rows (a group lives on one device), and
says which are taken. Causal models predict most positions. Under a softmax over the whole catalogue, where a position
is dear, they have places too (Amazon Beauty: 768 instead of 909). Under other losses every position is one,
T = P = R * W / G: picking the targets out cost more than it saved (SASRec and GRU4Rec + GRASP, Amazon Beauty).
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.batching.batches import EpochPlan, PackedRows, same_user

_PLACE_MULTIPLE = 64


class Targets(NamedTuple):
    """Positions to be predicted; P = R * W / G positions a group, counted row by row.

    Attributes:
      exist: bool [G, T], places that are taken.
      position: int32 [G, T], the position of each target within its group; None: every position has its place.
      inverse: int32 [G, P], the place of each position, T where it has none.
    """

    exist: jax.Array
    position: jax.Array | None = None
    inverse: jax.Array | None = None

    def pick(self, field: jax.Array) -> jax.Array:
        """Values at the targets: [R, W, ...] -> [G, T, ...]."""
        grouped = field.reshape(len(self.exist), -1, *field.shape[2:])
        return grouped if self.position is None else _pick(grouped, self.position, self.inverse)


class StepSamples(NamedTuple):
    """What a step draws for a packed batch.

    Attributes:
      masked: bool [R, W], items that the model must not see (BERT4Rec, RLMRec's generative form).
      targets: where the loss is computed.
      negatives: int32 [G, T, N], for each target, or [N], which all targets share.
    """

    masked: jax.Array
    targets: Targets
    negatives: jax.Array


def cloze_targets(plan: EpochPlan, groups: int, mask_prob: float, mask_last_prob: float) -> int:
    """Places T that BERT4Rec needs: the expected number of hidden items in the fullest group of rows, and eight
    standard deviations; rounded up to `_PLACE_MULTIPLE`."""
    sums = functools.partial(_sums, plan, groups)
    length = np.asarray(plan.placement.length, float)
    usual, last = (1 - mask_last_prob) * (length > 0), mask_last_prob * (length > 0)
    mean = usual * mask_prob * length + last
    square = usual * (length * mask_prob * (1 - mask_prob) + (length * mask_prob) ** 2) + last
    need = np.minimum(sums(mean) + 8 * np.sqrt(sums(square - mean ** 2)), sums(length)).max()
    return _places(need)


def next_item_targets(plan: EpochPlan, groups: int, last: int = 0) -> int:
    """Places T that a causal model needs: one for each item but a user's first, in the fullest group of rows.

    Args:
      plan: of an epoch.
      groups: G, which divides its rows.
      last: of each user so many at most; 0: all.

    Returns:
      T, rounded up to `_PLACE_MULTIPLE`; at most one for each position.
    """
    of_user = np.maximum(np.asarray(plan.placement.length) - 1, 0)
    need = _sums(plan, groups, np.minimum(of_user, last) if last else of_user).max()
    return min(_places(need), plan.num_rows // groups * plan.width)


def _places(need: float) -> int:
    return max(math.ceil(need / _PLACE_MULTIPLE), 1) * _PLACE_MULTIPLE


def _sums(plan: EpochPlan, groups: int, values: np.ndarray) -> np.ndarray:
    """Sums of users' values [S, B] by step and group of rows, [S * G]."""
    cell = np.arange(len(plan))[:, None] * groups + plan.placement.row // (plan.num_rows // groups)
    return np.bincount(cell.ravel(), values.ravel(), len(plan) * groups)


def targets_everywhere(is_target: jax.Array, groups: int) -> Targets:
    """Room for a target at every position; is_target bool [R, W] says where there is one."""
    return Targets(is_target.reshape(groups, -1))


def find_targets(is_target: jax.Array, groups: int, capacity: int) -> Targets:
    """Lists the positions of targets, in order.

    Args:
      is_target: bool [R, W].
      groups: G, which divides R.
      capacity: T; targets beyond the first T of a group are left out.
    """
    flat = is_target.reshape(groups, -1)
    number = jnp.cumsum(flat, axis=1) - 1
    inverse = jnp.where(flat & (number < capacity), number, capacity)

    def invert(inverse: jax.Array) -> jax.Array:
        return jnp.zeros(capacity, jnp.int32).at[inverse].set(jnp.arange(len(inverse)), mode='drop')

    exist = jnp.arange(capacity)[None] < jnp.sum(flat, axis=1, keepdims=True)
    return Targets(exist, jax.vmap(invert)(inverse), inverse)


@jax.custom_vjp
def _pick(values: jax.Array, position: jax.Array, inverse: jax.Array) -> jax.Array:
    """values [G, P, ...] at position [G, T] -> [G, T, ...].

    No position has two places, so the gradient is a gather as well; the scatter that automatic differentiation would
    use runs row by row on a CPU. The barrier keeps what reads the result from gathering anew.
    """
    return jax.lax.optimization_barrier(jax.vmap(lambda group, at: group[at])(values, position))


def _pick_forward(values: jax.Array, position: jax.Array, inverse: jax.Array) -> tuple[jax.Array, Any]:
    return _pick(values, position, inverse), inverse


def _pick_backward(inverse: jax.Array, cotangent: jax.Array) -> tuple[jax.Array, None, None]:
    nothing = jnp.zeros_like(cotangent[:, :1])
    return _pick(jnp.concatenate([cotangent, nothing], 1), inverse, inverse), None, None


_pick.defvjp(_pick_forward, _pick_backward)


def draw_training_negatives(key: jax.Array, packed: PackedRows, num_items: int, count: int) -> jax.Array:
    """Draws items that are not in the user's sequence, uniformly, for every position.

    Four draws, the first that is not in the sequence counts: the chance that all four are is (length / m)^4.

    Args:
      key: of this step.
      packed: the batch.
      num_items: m.
      count: N, negatives a position.

    Returns:
      int32 [R, W, N], values 1..m. Rows come first in the draw, so that more of them (on more devices) change nothing.

    Example:
      >>> packed = PackedRows(jnp.array([[7, 8, 9]]), jnp.array([[1, 1, 1]]), jnp.array([[0, 1, 2]]))
      >>> drawn = draw_training_negatives(jax.random.key(0), packed, num_items=1000, count=2)
      >>> drawn.shape, jnp.isin(drawn, packed.items).any().item()
      ((1, 3, 2), False)
    """
    draws = jnp.moveaxis(jax.random.randint(key, (*packed.items.shape, 4, count), 1, num_items + 1), 2, 0)
    own = same_user(packed.segment)

    def seen(items: jax.Array) -> jax.Array:
        equal = items[:, :, :, None] == packed.items[:, None, None, :]
        return jnp.any(equal & own[:, :, None, :], axis=-1)

    negatives = draws[3]
    for draw in (draws[2], draws[1], draws[0]):
        negatives = jnp.where(seen(draw), negatives, draw)
    return negatives


def cumulated(chance: np.ndarray) -> np.ndarray:
    """Chances [m], of any sum, as uint32 [m]: number of the last of 2 ** 32 equal draws that fall on items 1..i.

    Floating-point numbers near 1 are too coarse for the tail of a large catalogue; here each item has a draw at least.
    """
    share = np.maximum(chance / np.sum(chance, dtype=np.float64), 2.0 ** -31)
    upper = np.round(np.cumsum(share) * (2.0 ** 32 / share.sum()))
    return (upper - 1).astype(np.uint32)


def draw_shared_negatives(key: jax.Array, num_items: int, count: int, cumulative: jax.Array | None) -> jax.Array:
    """Draws items that serve every position of a batch; repeats and true items are possible.

    Args:
      key: of this step.
      num_items: m.
      count: N.
      cumulative: uint32 [m], chances of items 1..m, see `cumulated`; None: uniform.

    Returns:
      int32 [N], values 1..m.
    """
    if cumulative is None:
        return jax.random.randint(key, (count,), 1, num_items + 1)
    return jnp.searchsorted(cumulative, jax.random.bits(key, (count,))).astype(jnp.int32) + 1


def from_the_end(packed: PackedRows) -> jax.Array:
    """int32 [R, W], how many items of the same user come after each position; padding has any value."""
    width = packed.items.shape[1]
    column = jnp.arange(width)[None]
    return jax.lax.cummin(jnp.where(is_last(packed), column, width), axis=1, reverse=True) - column


def is_last(packed: PackedRows) -> jax.Array:
    """bool [R, W], the last position of each user."""
    following = jnp.pad(packed.segment[:, 1:], ((0, 0), (0, 1)))
    return (packed.segment > 0) & (following != packed.segment)


def draw_hidden(key: jax.Array, packed: PackedRows, share: float) -> jax.Array:
    """Hides a share of the items at random: bool [R, W]."""
    return (packed.items > 0) & (jax.random.uniform(key, packed.items.shape) < share)


def draw_cloze_mask(key: jax.Array, packed: PackedRows, mask_prob: float, mask_last_prob: float) -> jax.Array:
    """Chooses the items that BERT4Rec has to fill in.

    Args:
      key: of this step.
      packed: the batch.
      mask_prob: share of positions hidden.
      mask_last_prob: share of sequences in which only the last item is hidden, as in testing.

    Returns:
      bool [R, W].

    Example:
      >>> packed = PackedRows(jnp.array([[7, 8, 9, 0]]), jnp.array([[1, 1, 1, 0]]), jnp.array([[0, 1, 2, 0]]))
      >>> draw_cloze_mask(jax.random.key(0), packed, mask_prob=0.2, mask_last_prob=1.0).tolist()
      [[False, False, True, False]]
    """
    last_key, any_key = jax.random.split(key)
    here = packed.segment > 0
    # One draw a user: a table over segments, looked up at each position.
    most = packed.segment.size
    only_last = (jax.random.uniform(last_key, (most + 1,)) < mask_last_prob)[packed.segment]
    some = jax.random.uniform(any_key, packed.segment.shape) < mask_prob
    return here & jnp.where(only_last, is_last(packed), some)

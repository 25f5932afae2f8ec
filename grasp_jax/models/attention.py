"""Eq. 3 to 5 factorised, as GRASP computes them; `equations` has them as printed.

The printed form builds three gated copies of the item's vectors, side by side, times the first matrix of the MLP. The
gate is one number per (user, item) and level, so it commutes with that matrix:

    W [g1 i ; g2 ib ; g3 i ; g3 ib] = g1 (W1 i) + g2 (W2 ib) + g3 (W3 i + W4 ib)

The factorised form does the wide work once per item and leaves F-wide sums per (user, item). Tests hold them equal.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from grasp_jax.models.equations import Pair
from grasp_jax.models.products import product

LEVELS = 3  # self, similar, global


def level_scores(own: jax.Array, similar: jax.Array, width: int) -> jax.Array:
    """The arguments of the three sigmoids of Eq. 4 from the two dot products they need.

    Args:
      own: [...], u . i
      similar: [...], u_bar . i_bar
      width: D; the global level is 2D wide and its dot product is the sum of the other two.

    Returns:
      [..., 3] in the order self, similar, global.

    Example:
      >>> level_scores(own=jnp.array(4.0), similar=jnp.array(-4.0), width=4).tolist()  # 4 / 2, -4 / 2, 0
      [2.0, -2.0, 0.0]
    """
    scale = width ** -0.5
    return jnp.stack([own * scale, similar * scale, (own + similar) * (2 * width) ** -0.5], -1)


def aligned_scores(user: Pair, item: Pair) -> jax.Array:
    """Level scores where users and items share their leading axes: [..., D] -> [..., 3]."""
    own, similar = (row_dot(u, i) for u, i in zip(user, item, strict=True))
    return level_scores(own, similar, user.own.shape[-1])


def crossed_scores(user: Pair, item: Pair) -> jax.Array:
    """Level scores of every user with every item: [B, D], [N, D] -> [B, N, 3], as dense products."""
    own, similar = (jnp.einsum('bd,nd->bn', u, i) for u, i in zip(user, item, strict=True))
    return level_scores(own, similar, user.own.shape[-1])


def gates(scores: jax.Array, kind: str, log_scale: jax.Array | None = None, bias: jax.Array | None = None,
          together: jax.Array | None = None) -> jax.Array:
    """Turns level scores into gates.

    Args:
      scores: [..., P, 3] for P items that are looked at together.
      kind: 'paper' (Eq. 3), 'calibrated' (sigmoid of a learned scale and bias per level), 'softmax' (the ablation of
        Table 4: the scores are normalised over the items looked at together) or 'none' (always 1).
      log_scale, bias: [3], of the calibrated gate.
      together: bool, softmax only. [..., P] which of the items exist, or [..., P, P] where row p says which items
        are looked at together with item p. None: all.

    Returns:
      Like `scores`.

    Example:
      >>> scores = jnp.zeros((4, 3))  # four items
      >>> gates(scores, 'paper')[0].tolist(), gates(scores, 'softmax')[0].tolist(), gates(scores, 'none')[0].tolist()
      ([0.5, 0.5, 0.5], [0.25, 0.25, 0.25], [1.0, 1.0, 1.0])
    """
    if kind == 'paper':
        return jax.nn.sigmoid(scores)
    if kind == 'calibrated':
        assert log_scale is not None and bias is not None
        lead = (1,) * (scores.ndim - 1)
        return jax.nn.sigmoid(scores * jnp.exp(log_scale).reshape(*lead, -1) + bias.reshape(*lead, -1))
    if kind == 'softmax':
        return jnp.exp(scores - _log_normaliser(scores, together))
    if kind == 'none':
        return jnp.ones_like(scores)
    raise ValueError(kind)


def _log_normaliser(scores: jax.Array, together: jax.Array | None) -> jax.Array:
    if together is None:
        return jax.nn.logsumexp(scores, axis=-2, keepdims=True)
    if together.ndim == scores.ndim - 1:
        return jax.nn.logsumexp(scores, axis=-2, keepdims=True, where=together[..., None])
    # Row p sums over its own set; a row without any item (padding) keeps its own score, its gate is not used.
    sets = together | jnp.eye(together.shape[-1], dtype=bool).reshape((1,) * (together.ndim - 2) + together.shape[-2:])
    return jax.nn.logsumexp(scores[..., None, :, :], axis=-2, where=sets[..., None])


def level_switch(use_similar: bool, use_global: bool) -> jax.Array:
    """[3]: 1 for the levels in use, 0 for those that an ablation takes out."""
    return jnp.array([1.0, float(use_similar), float(use_global)])


class Projected(NamedTuple):
    """The wide half of the factorised first layer, once per item; each level is [..., F]."""

    own: jax.Array
    similar: jax.Array
    both: jax.Array


def project(item: Pair, kernel: jax.Array) -> Projected:
    """Vectors [..., D] and the first kernel [4D, F] of Eq. 5 -> the three levels' shares.

    The two products of a vector are one, twice as wide: a fifth faster on a CPU.

    Example:
      >>> item = Pair(jnp.array([1.0]), jnp.array([10.0]))
      >>> own, similar, both = project(item, kernel=jnp.array([[1.0], [1.0], [1.0], [1.0]]))
      >>> own.item(), similar.item(), both.item()
      (1.0, 10.0, 11.0)
    """
    to_self, to_similar, to_global_own, to_global_similar = jnp.split(kernel, 4)
    own, both_own = jnp.split(item.own @ jnp.concatenate([to_self, to_global_own], 1), 2, -1)
    similar, both_similar = jnp.split(item.similar @ jnp.concatenate([to_similar, to_global_similar], 1), 2, -1)
    return Projected(own, similar, both_own + both_similar)


def project_ungated(item: Pair, kernel: jax.Array, switch: jax.Array, dtype: str = 'float32') -> jax.Array:
    """Where every gate is the same number for all: vectors [..., D] -> what `fuse` would make of them, [..., F].

    The kernels of a vector are added before the product, which leaves half the work of `project`.

    Args:
      item: vectors.
      kernel: [4D, F], the first of Eq. 5.
      switch: [3], the gates.
      dtype: in which factors are multiplied; other than float32 takes vectors [m, D].
    """
    to_self, to_similar, to_global_own, to_global_similar = jnp.split(kernel, 4)
    return (product(item.own, switch[0] * to_self + switch[2] * to_global_own, dtype)
            + product(item.similar, switch[1] * to_similar + switch[2] * to_global_similar, dtype))


@jax.custom_vjp
def fuse(gate: jax.Array, projected: Projected) -> jax.Array:
    """The narrow half, once per (user, item): gates [..., 3] -> [..., F]. Equals `equations.plain_fusion`.

    The gradient is written out because its sums over F are dot products: as such they run several times faster on a
    CPU than as sums of products.

    Example:
      >>> projected = project(Pair(jnp.array([1.0]), jnp.array([10.0])), kernel=jnp.ones((4, 1)))
      >>> fuse(jnp.array([1.0, 0.5, 0.0]), projected).tolist()  # 1 and half of 10
      [6.0]
    """
    own, similar, both = (gate[..., level:level + 1] for level in range(LEVELS))
    return own * projected.own + similar * projected.similar + both * projected.both


def _fuse_forward(gate: jax.Array, projected: Projected) -> tuple[jax.Array, tuple[jax.Array, Projected]]:
    return fuse(gate, projected), (gate, projected)


def _fuse_backward(saved: tuple[jax.Array, Projected], cotangent: jax.Array) -> tuple[jax.Array, Projected]:
    gate, projected = saved
    to_gate = jnp.stack([row_dot(cotangent, level) for level in projected], -1)
    return to_gate, Projected(*(gate[..., level:level + 1] * cotangent for level in range(LEVELS)))


fuse.defvjp(_fuse_forward, _fuse_backward)


def row_dot(first: jax.Array, second: jax.Array) -> jax.Array:
    """Dot products of the last axis: [..., D], [..., D] -> [...]."""
    return jnp.einsum('...d,...d->...', first, second)


def lead(vector: jax.Array, like: jax.Array) -> jax.Array:
    """[H] -> [1, ..., H], so that it broadcasts against `like` in plain sight."""
    return vector.reshape((1,) * (like.ndim - 1) + (-1,))

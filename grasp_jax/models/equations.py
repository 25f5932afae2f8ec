"""The paper's equations as printed. Read this file first: everything else in this folder computes the same, faster.

The letters: a user's vector u, an item's vector i (LLM vectors of their texts, [..., D]), and for each the mean of its
nearest neighbours' vectors, u_bar and i_bar (Eq. 2, `vectors` and `retrieval` make them before training). A backbone
reads the representations of a user's items and gives a state o, [..., H].

    Eq. 3  attention             a gate on a vector
    Eq. 4  holistic_attention    three of them: the item itself, its neighbours, both
    Eq. 5  item_representation   an MLP makes the item's representation of the three
    Eq. 6  score, loss           o . i, and binary cross-entropy

`GraspEncoder` (methods/grasp.py) computes Eq. 3 to 5, `losses.binary_cross_entropy` Eq. 6. The forms at the end of the
file are parts of the equations with any gates; tests hold the fast forms against all of these.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Pair(NamedTuple):
    """An entity's vector and the mean of its neighbours' vectors, each [..., D].

    Example:
      >>> user = Pair(own=jnp.array([1.0, 0.0]), similar=jnp.array([0.5, 0.5]))
      >>> user.similar.tolist()
      [0.5, 0.5]
    """

    own: jax.Array
    similar: jax.Array


class MLP(NamedTuple):
    """The weights of Eq. 5.

    Attributes:
      first: [4D, F].
      first_bias: [F].
      second: [F, H].
      second_bias: [H].

    Example:
      >>> mlp = MLP(first=jnp.ones((12, 5)), first_bias=jnp.zeros(5), second=jnp.ones((5, 2)), second_bias=jnp.zeros(2))
      >>> mlp.first.size + mlp.first_bias.size + mlp.second.size + mlp.second_bias.size
      77
    """

    first: jax.Array
    first_bias: jax.Array
    second: jax.Array
    second_bias: jax.Array


def attention(query: jax.Array, value: jax.Array) -> jax.Array:
    """Eq. 3: A(q, v) = sigmoid(q v^T / sqrt(d)) v. The value is the key too, and d is the length of q.

    Args:
      query: [..., D].
      value: [..., D].

    Returns:
      [..., D], the value times one number between 0 and 1.

    Example:
      >>> value = jnp.array([2.0, 0.0, 0.0, 0.0])
      >>> attention(jnp.array([0.0, 1.0, 0.0, 0.0]), value).tolist()  # nothing in common: half open
      [1.0, 0.0, 0.0, 0.0]
      >>> attention(jnp.array([9.0, 0.0, 0.0, 0.0]), value).round(3).tolist()
      [2.0, 0.0, 0.0, 0.0]
    """
    score = jnp.sum(query * value, -1, keepdims=True) / jnp.sqrt(query.shape[-1])
    return jax.nn.sigmoid(score) * value


def holistic_attention(user: Pair, item: Pair) -> jax.Array:
    """Eq. 4: [self || similar || global], what goes into the MLP.

    self = A(u, i), similar = A(u_bar, i_bar), global = A([u || u_bar], [i || i_bar]).

    Args:
      user: u and u_bar, [..., D].
      item: i and i_bar, [..., D].

    Returns:
      [..., 4D].

    Example:
      >>> one, other = Pair(jnp.ones(3), jnp.zeros(3)), Pair(jnp.ones(3), jnp.ones(3))
      >>> holistic_attention(one, other).shape
      (12,)
    """
    itself = attention(user.own, item.own)
    similar = attention(user.similar, item.similar)
    both = attention(jnp.concatenate(user, -1), jnp.concatenate(item, -1))
    return jnp.concatenate([itself, similar, both], -1)


def item_representation(user: Pair, item: Pair, mlp: MLP) -> jax.Array:
    """Eq. 5: MLP([self || similar || global]), an item as a user sees it.

    Args:
      user, item: as in `holistic_attention`.
      mlp: the weights.

    Returns:
      [..., H].

    Example:
      >>> mlp = MLP(jnp.ones((12, 5)), jnp.zeros(5), jnp.ones((5, 2)), jnp.zeros(2))
      >>> item_representation(Pair(jnp.zeros(3), jnp.zeros(3)), Pair(jnp.ones(3), jnp.ones(3)), mlp).tolist()
      [30.0, 30.0]
    """
    hidden = holistic_attention(user, item) @ mlp.first
    hidden = jax.nn.relu(hidden + jnp.broadcast_to(mlp.first_bias, hidden.shape))
    found = hidden @ mlp.second
    return found + jnp.broadcast_to(mlp.second_bias, found.shape)


def score(state: jax.Array, representation: jax.Array) -> jax.Array:
    """The score of Eq. 6: o . i, [..., H], [..., H] -> [...].

    Example:
      >>> score(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0])).item()
      11.0
    """
    return jnp.sum(state * representation, -1)


def loss(scores: jax.Array, labels: jax.Array) -> jax.Array:
    """Eq. 6: L = -1/|B| sum_j [ y_j log s_j + (1 - y_j) log(1 - s_j) ], s_j = sigmoid(o . i_j).

    Args:
      scores: [B], of the candidates that are scored.
      labels: [B], 1 for the true item, 0 for a negative.

    Returns:
      scalar.

    Example:
      >>> round(loss(jnp.zeros(2), jnp.array([1.0, 0.0])).item(), 4)  # log 2: nothing is known yet
      0.6931
    """
    chance = jax.nn.sigmoid(scores)
    return -jnp.mean(labels * jnp.log(chance) + (1 - labels) * jnp.log(1 - chance))


def plain_fusion(gate: jax.Array, item: Pair, kernel: jax.Array) -> jax.Array:
    """First product of Eq. 5 with any gates: gated copies side by side, [..., 4D], times [4D, F].

    Args:
      gate: [..., 3], of self, similar and global.
      item: i and i_bar, [..., D].
      kernel: [4D, F].

    Returns:
      [..., F].

    Example:
      >>> plain_fusion(jnp.array([1.0, 0.0, 0.5]), Pair(jnp.ones(1), jnp.ones(1)), jnp.ones((4, 1))).tolist()
      [2.0]
    """
    own, similar, both = (gate[..., level:level + 1] for level in range(3))
    wide = jnp.concatenate([own * item.own, similar * item.similar, both * item.own, both * item.similar], -1)
    return wide @ kernel


def plain_gated_scores(query: jax.Array, gate: jax.Array, projected: tuple[jax.Array, jax.Array, jax.Array],
                       bias: jax.Array) -> jax.Array:
    """Scores of every user with every item, with any gates: query . relu(gates * projections + bias).

    Args:
      query: [B, F], states times the last layer of Eq. 5.
      gate: [B, N, 3].
      projected: the three levels' shares of the first product, each [N, F].
      bias: [F].

    Returns:
      [B, N].

    Example:
      >>> levels = jnp.ones((2, 4)), jnp.ones((2, 4)), jnp.ones((2, 4))
      >>> plain_gated_scores(jnp.ones((1, 4)), jnp.ones((1, 2, 3)), levels, jnp.zeros(4)).tolist()
      [[12.0, 12.0]]
    """
    fused = jnp.einsum('bnl,nlf->bnf', gate, jnp.stack(projected, 1))
    return jnp.einsum('bnf,bf->bn', jax.nn.relu(fused + jnp.broadcast_to(bias, fused.shape)), query)

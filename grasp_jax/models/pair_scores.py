"""Scores of every user with every item behind the gated layer, where each pair has a hidden layer of its own."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from grasp_jax.models.attention import LEVELS, Projected

# Not on a CPU: numbers of the hidden layer that are there at once.
_MOST_HIDDEN = 1 << 26
# Four numbers are summed up, or one of two factors is as narrow: accelerators gain nothing from rounding these.
_product = functools.partial(jnp.matmul, precision='highest')


@jax.custom_vjp
def gated_scores(query: jax.Array, gate: jax.Array, projected: Projected, bias: jax.Array) -> jax.Array:
    """query . relu(gates * projections + bias), as `equations.plain_gated_scores`.

    Item by item on a CPU, where the hidden layers [B, F] of an item stay in the cache, and in larger chunks elsewhere.
    The layer is a product with the item's three projections and the bias; the gradient, which makes the layers anew,
    is three more. For 896 queries, 256 items and F = 256 on one core 54 ms with the gradient, where differentiating the
    plain form query by query took 843.

    Args:
      query: [B, F].
      gate: [B, N, 3].
      projected: each level [N, F].
      bias: [F].

    Returns:
      [B, N].
    """
    summing = jnp.ones(query.shape[1])

    def of_item(opened: jax.Array, kernels: jax.Array) -> jax.Array:
        return _product(jax.nn.relu(_product(opened, kernels)) * query, summing)

    size = _chunk_size(len(query), len(projected.own), query.shape[1])
    scores: jax.Array = jax.lax.map(lambda item: of_item(*item), _items(gate, projected, bias), batch_size=size)
    return scores.T


def _forward(*given: Any) -> tuple[jax.Array, tuple[Any, ...]]:
    return gated_scores(*given), given


def _backward(saved: tuple[Any, ...], cotangent: jax.Array) -> tuple[jax.Array, jax.Array, Projected, jax.Array]:
    query, gate, projected, bias = saved

    def of_item(opened: jax.Array, kernels: jax.Array, wanted: jax.Array) -> tuple[jax.Array, ...]:
        hidden = _product(opened, kernels)
        to_hidden = jnp.where(hidden > 0, wanted[:, None] * query, 0.0)
        return wanted[:, None] * jax.nn.relu(hidden), _product(to_hidden, kernels.T), _product(opened.T, to_hidden)

    def one(to_query: jax.Array, chunk: tuple[jax.Array, ...]) -> tuple[jax.Array, tuple[jax.Array, ...]]:
        if len(chunk[0]) == 1:  # a product with an axis of one item to spare takes longer
            share, *rest = of_item(*(field[0] for field in chunk))
            return to_query + share, tuple(field[None] for field in rest)
        shares, *rest = jax.vmap(of_item)(*chunk)
        return to_query + jnp.sum(shares, 0), tuple(rest)

    size = _chunk_size(len(query), len(projected.own), query.shape[1])
    chunks = jax.tree.map(lambda field: field.reshape(-1, size, *field.shape[1:]),
                          (*_items(gate, projected, bias), cotangent.T))
    to_query, found = jax.lax.scan(one, jnp.zeros_like(query), chunks)
    to_gate, to_kernels = (field.reshape(-1, *field.shape[2:]) for field in found)
    *levels, to_bias = jnp.moveaxis(to_kernels, 1, 0)
    return to_query, jnp.moveaxis(to_gate, 0, 1)[..., :LEVELS], Projected(*levels), jnp.sum(to_bias, 0)


gated_scores.defvjp(_forward, _backward)


def _items(gate: jax.Array, projected: Projected, bias: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Of each item gates and a one [N, B, 4], and projections and the bias [N, 4, F]: their product is what goes into
    the hidden layer."""
    opened = jnp.concatenate([gate, jnp.ones((*gate.shape[:2], 1))], -1)
    return jnp.moveaxis(opened, 1, 0), jnp.stack([*projected, jnp.broadcast_to(bias[None], projected.own.shape)], 1)


def _chunk_size(queries: int, items: int, width: int) -> int:
    """C, a divisor of the number of items."""
    most = 1 if jax.default_backend() == 'cpu' else max(1, _MOST_HIDDEN // (queries * width))
    return next(size for size in range(min(items, most), 0, -1) if items % size == 0)

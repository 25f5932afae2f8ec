"""Training losses as pure functions of scores; a mask says which positions count."""

import jax
import jax.numpy as jnp
import optax


def binary_cross_entropy(positive: jax.Array, negative: jax.Array, weight: jax.Array) -> jax.Array:
    """Eq. 6 over one positive and N negatives a position.

    L = -1/|B| sum_j [ y_j log s_j + (1 - y_j) log(1 - s_j) ], s = sigmoid(score), |B| the number of scored candidates.

    Args:
      positive: [R, W], scores of the true items.
      negative: [R, W, N], scores of the negatives.
      weight: [R, W], 1 where a position has a target, else 0.

    Returns:
      scalar; 0 where no position counts.
    """
    losses = optax.sigmoid_binary_cross_entropy(positive, jnp.ones_like(positive))
    losses += jnp.sum(optax.sigmoid_binary_cross_entropy(negative, jnp.zeros_like(negative)), -1)
    candidates = jnp.sum(weight) * (1 + negative.shape[-1])
    return jnp.sum(losses * weight) / jnp.maximum(candidates, 1)

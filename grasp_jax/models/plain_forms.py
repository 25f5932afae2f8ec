"""Short and slow forms of what LLM-ESR and the softmax loss compute; tests hold the fast forms against them.

Those of GRASP are the paper's, in `equations`. Nothing in the package calls either.
"""

import jax
import jax.numpy as jnp


def plain_adapter(vectors: jax.Array, first: jax.Array, first_bias: jax.Array, second: jax.Array,
                  second_bias: jax.Array) -> jax.Array:
    """LLM-ESR's adapter as printed, two dense layers without anything in between.

    Args:
      vectors: [..., E].
      first: [E, E / 2].
      first_bias: [E / 2].
      second: [E / 2, H].
      second_bias: [H].

    Returns:
      [..., H].
    """
    hidden = vectors @ first
    outputs = (hidden + jnp.broadcast_to(first_bias, hidden.shape)) @ second
    return outputs + jnp.broadcast_to(second_bias, outputs.shape)


def plain_log_sum_exp(queries: jax.Array, items: jax.Array) -> jax.Array:
    """[P, F], [m, F] -> [P], log sum_j exp(q . i_j), with all scores at once."""
    return jax.nn.logsumexp(queries @ items.T, -1)

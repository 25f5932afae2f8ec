"""What SASRec and BERT4Rec share: attention inside packed rows."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from grasp_jax.models.dropout import Dropout


class SelfAttention(nn.Module):
    """Multi-head attention in which a position sees what `visible` allows.

    Attributes:
      num_heads: heads; must divide the width.
      dropout: on the attention weights.
    """

    num_heads: int
    dropout: float

    @nn.compact
    def __call__(self, queries: jax.Array, keys: jax.Array, visible: jax.Array, *, train: bool) -> jax.Array:
        """queries, keys [R, W, H], visible bool [R, W, W] -> [R, W, H]. A position that sees nothing gets zeros."""
        rows, length, width = queries.shape
        depth = width // self.num_heads

        def heads(name: str, inputs: jax.Array, bias: bool = True) -> jax.Array:
            """[R, W, H] -> [R * heads, W, depth]: with one leading axis the products are twice as fast on a CPU."""
            outputs = nn.DenseGeneral((self.num_heads, depth), use_bias=bias, name=name)(_flat(inputs))
            return outputs.reshape(-1, length, self.num_heads, depth).swapaxes(1, 2).reshape(-1, length, depth)

        # A bias of the keys would add the same to all scores of a query, which the softmax takes out again.
        scores = jnp.einsum('rtd,rsd->rts', heads('query', queries) * depth ** -0.5, heads('key', keys, bias=False))
        allowed = jnp.repeat(visible, self.num_heads, axis=0)
        weights = masked_softmax(scores, allowed)
        weights = Dropout(self.dropout)(weights, train=train)
        mixed = jnp.einsum('rts,rsd->rtd', weights, heads('value', keys))
        mixed = mixed.reshape(rows, self.num_heads, length, depth).swapaxes(1, 2)
        outputs = nn.DenseGeneral(width, axis=(-2, -1), name='out')(mixed.reshape(-1, self.num_heads, depth))
        return outputs.reshape(queries.shape)


def _flat(inputs: jax.Array) -> jax.Array:
    """[R, W, H] -> [R * W, H]: biases and activations behind a product run up to twice as fast on a CPU."""
    return inputs.reshape(-1, inputs.shape[-1])


def masked_softmax(scores: jax.Array, allowed: jax.Array) -> jax.Array:
    """As `jax.nn.softmax(scores, where=allowed)`, [..., W] -> [..., W]; zeros where nothing is allowed.

    It multiplies by the reciprocal of the sum: XLA does that to the library's division in programs of one device and
    not in those of several, so that the last bits would differ (`training.parts`).
    """
    scores = jnp.where(allowed, scores, -jnp.inf)
    top = jax.lax.stop_gradient(jnp.max(scores, -1, keepdims=True, initial=-1e30))
    weights = jnp.exp(scores - top)
    return weights * (1 / jnp.maximum(jnp.sum(weights, -1, keepdims=True), 1e-30))


class FeedForward(nn.Module):
    """Two dense layers per position: H -> inner -> H.

    Attributes:
      inner: width between the layers.
      activation: between the layers.
      dropout: after each layer.
    """

    inner: int
    activation: str
    dropout: float

    @nn.compact
    def __call__(self, inputs: jax.Array, *, train: bool) -> jax.Array:
        """[R, W, H] -> [R, W, H]."""
        hidden = getattr(nn, self.activation)(nn.Dense(self.inner)(_flat(inputs)))
        hidden = Dropout(self.dropout)(hidden, train=train)
        outputs = nn.Dense(inputs.shape[-1])(hidden)
        return Dropout(self.dropout)(outputs, train=train).reshape(inputs.shape)

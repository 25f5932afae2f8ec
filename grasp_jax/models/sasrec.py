"""SASRec (Kang and McAuley, ICDM 2018): a causal transformer over the items seen so far."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from grasp_jax.models.dropout import Dropout
from grasp_jax.models.item_encoders import EMBEDDING_INIT
from grasp_jax.models.spec import ModelSpec, Pick
from grasp_jax.models.transformer import FeedForward, SelfAttention


class SASRec(nn.Module):
    """Item representations of packed rows to states that predict each next item."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, inputs: jax.Array, position: jax.Array, visible: jax.Array, *, train: bool,
                 pick: Pick | None = None) -> jax.Array:
        """Runs the backbone.

        Args:
          inputs: [R, W, H], item representations.
          position: int32 [R, W], place in the user's sequence, from 0.
          visible: bool [R, W, W], causal within each user.
          train: whether dropout is on.
          pick: takes the states that are wanted, [R, W, H] -> [..., H], as soon as the others have had their say.

        Returns:
          [R, W, H], or what `pick` makes of it; scores are dot products of these with item representations.
        """
        spec = self.spec
        places = self.param('position', EMBEDDING_INIT, (spec.row_width, spec.hidden_size))
        # As in the original: items are scaled up to the positions' share of the sum.
        states = inputs * jnp.sqrt(float(spec.hidden_size)) + places[position]
        states = Dropout(spec.dropout)(states, train=train)
        for layer in range(spec.num_layers):
            queries = nn.LayerNorm()(states)
            states = queries + SelfAttention(spec.num_heads, spec.dropout)(queries, states, visible, train=train)
            if pick is not None and layer == spec.num_layers - 1:
                states = pick(states)
            normed = nn.LayerNorm()(states)
            states = normed + FeedForward(spec.hidden_size, 'relu', spec.dropout)(normed, train=train)
        return nn.LayerNorm()(states)

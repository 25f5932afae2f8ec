"""BERT4Rec (Sun et al., CIKM 2019): a bidirectional transformer that fills in masked items (cloze)."""

import jax
from flax import linen as nn

from grasp_jax.models.dropout import Dropout
from grasp_jax.models.item_encoders import EMBEDDING_INIT
from grasp_jax.models.spec import ModelSpec, Pick
from grasp_jax.models.transformer import FeedForward, SelfAttention


class BERT4Rec(nn.Module):
    """Item representations of packed rows, some of them masked, to states that predict what is masked."""

    spec: ModelSpec

    @nn.compact
    def __call__(self, inputs: jax.Array, position: jax.Array, visible: jax.Array, *, train: bool,
                 pick: Pick | None = None) -> jax.Array:
        """As `SASRec.__call__`, with `visible` covering the user's whole sequence."""
        spec = self.spec
        places = self.param('position', EMBEDDING_INIT, (spec.row_width, spec.hidden_size))
        states = nn.LayerNorm()(inputs + places[position])
        states = Dropout(spec.dropout)(states, train=train)
        for layer in range(spec.num_layers):
            normed = nn.LayerNorm()(states)
            mixed = SelfAttention(spec.num_heads, spec.dropout)(normed, normed, visible, train=train)
            states = states + Dropout(spec.dropout)(mixed, train=train)
            if pick is not None and layer == spec.num_layers - 1:
                states = pick(states)
            normed = nn.LayerNorm()(states)
            states = states + FeedForward(4 * spec.hidden_size, 'gelu', spec.dropout)(normed, train=train)
        return nn.LayerNorm()(states)

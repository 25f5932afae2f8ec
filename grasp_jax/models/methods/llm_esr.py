"""LLM-ESR (Liu et al., Large Language Models Enhancement for Long-Tailed Sequential Recommendation, NeurIPS 2024).

Every item has two representations of width H: a trained id embedding, started from the item's LLM vector reduced to
H, and the frozen LLM vector sent through a two-layer adapter. The sequences of both views attend to each other, one
backbone encodes either, and an item's score is the sum of both views' dot products. In training a user's state is
pulled towards the mean state of similar users (`distillation`).
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.partition import take_rows
from grasp_jax.models.attention import lead
from grasp_jax.models.item_encoders import EMBEDDING_INIT, KERNEL_INIT, UserIndependentEncoder, text_rows
from grasp_jax.models.methods.base import Method
from grasp_jax.models.products import product
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.transformer import SelfAttention

if TYPE_CHECKING:
    from grasp_jax.models.recommender import AuxiliaryInputs, Recommender


def adapter(vectors: jax.Array, first: jax.Array, first_bias: jax.Array, second: jax.Array,
            second_bias: jax.Array, dtype: str = 'float32') -> jax.Array:
    """As `plain_forms.plain_adapter`: two linear layers are one, whose kernel [E, H] is made once per step; `dtype` as
    in `products.product`."""
    projected = product(vectors, first @ second, dtype)
    return projected + lead(first_bias @ second + second_bias, projected)


class DualEncoder(UserIndependentEncoder):
    """Both views of an item side by side, [..., 2H]; the same for every user."""

    def setup(self) -> None:
        """Makes the parameters."""
        width, hidden = self.spec.llm_width, self.spec.hidden_size
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, hidden))
        inner = max(width // 2, 1)
        self.adapter_first = self.param('adapter_first', KERNEL_INIT, (width, inner))
        self.adapter_first_bias = self.param('adapter_first_bias', nn.initializers.zeros, (inner,))
        self.adapter_second = self.param('adapter_second', KERNEL_INIT, (inner, hidden))
        self.adapter_second_bias = self.param('adapter_second_bias', nn.initializers.zeros, (hidden,))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array,
                mesh: Mesh | None = None) -> tuple[jax.Array, jax.Array]:
        """ids [...] -> id embeddings [..., H] and LLM vectors [..., E]."""
        assert tables is not None, 'LLM-ESR needs LLM vectors'
        return take_rows(self.embedding, ids, mesh), text_rows(tables.items, tables.item_slots, ids, mesh)

    def encode_items(self, looked_up: tuple[jax.Array, jax.Array], dtype: str = 'float32') -> jax.Array:
        """[..., 2H], the id's view first."""
        identity, vectors = looked_up
        text = adapter(vectors, self.adapter_first, self.adapter_first_bias, self.adapter_second,
                       self.adapter_second_bias, dtype)
        return jnp.concatenate([identity, text], -1)


class CrossViews(nn.Module):
    """Lets the two views of a sequence attend to each other before the backbone.

    Each view's query looks at keys and values of the other, and what it finds is added to the other view. The public
    code sees later items here, also in front of causal backbones; `visible` forbids it. It also puts what was found in
    the place of the view instead of adding it; that learns more slowly (SASRec, Amazon Beauty, validation NDCG@10
    after two epochs 24.2 instead of 28.0). Dropout on inputs is left to the backbone, so that they get it once.
    """

    spec: ModelSpec

    @nn.compact
    def __call__(self, inputs: jax.Array, position: jax.Array, visible: jax.Array, *, train: bool) -> jax.Array:
        """inputs [R, W, 2H], position int32 [R, W], visible bool [R, W, W] -> [R, W, 2H]."""
        spec = self.spec
        places = self.param('position', EMBEDDING_INIT, (spec.row_width, spec.hidden_size))
        scaled = jnp.sqrt(float(spec.hidden_size))
        by_id, by_text = (view * scaled + places[position] for view in jnp.split(inputs, 2, -1))
        new_id = SelfAttention(spec.num_heads, spec.dropout, name='to_id')(by_text, by_id, visible, train=train)
        new_text = SelfAttention(spec.num_heads, spec.dropout, name='to_text')(by_id, by_text, visible, train=train)
        return inputs + jnp.concatenate([new_id, new_text], -1) / scaled


def distillation(states: jax.Array, similar: jax.Array, exist: jax.Array, weight: jax.Array) -> jax.Array:
    """LLM-ESR's retrieval-augmented self-distillation: the mean square of a user's distance to similar users.

    Args:
      states: [B, D], states of the users.
      similar: [B, K, D], states of each one's similar users; nothing is learned through them.
      exist: bool [B, K], which of them there are.
      weight: [B], 1 for users that count, else 0.

    Returns:
      scalar; 0 where no user has a similar one.
    """
    taught = jax.lax.stop_gradient(similar)
    count = jnp.sum(exist, -1)
    teacher = jnp.einsum('bkd,bk->bd', taught, exist.astype(taught.dtype)) / jnp.maximum(count, 1)[:, None]
    weight = weight * (count > 0)
    return jnp.sum(jnp.mean((states - teacher) ** 2, -1) * weight) / jnp.maximum(jnp.sum(weight), 1)


class LLMESR(Method):
    """Two views of an item, and a loss that pulls users towards similar ones."""

    name = 'llm_esr'
    label = 'LLM-ESR'
    uses_vectors = uses_vectors_in_forward = True
    uses_similar_users = True
    ranks_with = ('items',)
    num_views = 2
    default_auxiliary_weight = 0.1
    colour = 'orange'

    def id_start(self, spec: ModelSpec) -> str:
        """Always from texts: the embeddings of the id's view."""
        return 'text'

    def trains_with_last_states(self, spec: ModelSpec) -> bool:
        """Always."""
        return True

    def item_encoder(self, spec: ModelSpec) -> DualEncoder:
        """Makes the item encoder."""
        return DualEncoder(spec)

    def modules(self, spec: ModelSpec) -> dict[str, nn.Module]:
        """What mixes the views."""
        return {'cross_views': CrossViews(spec)}

    def before_backbone(self, model: 'Recommender', inputs: jax.Array, position: jax.Array, visible: jax.Array, *,
                        train: bool) -> jax.Array:
        """The views that have looked at each other."""
        mixed: jax.Array = model.cross_views(inputs, position, visible, train=train)
        return mixed

    def auxiliary_loss(self, model: 'Recommender', inputs: 'AuxiliaryInputs') -> jax.Array:
        """`distillation` of the users' last states, from those of their similar users as they are ranked by."""
        states, there = model.users_last_states(inputs)
        # Each user is in rows of one width; what is picked in the others does not count.
        exist = jnp.sum(jnp.stack([each.ends.exist for each in inputs.similar]), 0).reshape(len(inputs.users), -1)
        found = [model.last_states(inputs.tables, each, train=False) * each.ends.exist[:, None]
                 for each in inputs.similar]
        teachers = jnp.sum(jnp.stack(found), 0).reshape(*exist.shape, -1)
        return distillation(states, teachers, exist, there.astype(teachers.dtype))


METHOD = LLMESR()

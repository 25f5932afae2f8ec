"""A mixture of memory and meaning: an item's id, GRASP's texts and the plain vectors are views of it. Not in the paper.

Ids remember what was bought together, texts tell what is alike. In one sum of both (`grasp_id`) the ids soon explain
the training data, and the texts learn no more. Here each view has states and a loss of its own, and so learns to
predict by itself. An item's score is the sum of the views' scores, which multiplies the chances that they stand for;
validation chooses what each view counts (`training.view_weights`).

- `embedding`: ids, which start from the items' vectors; the backbone encodes them.
- `text`: GRASP's representation without gates (Eq. 5); the same backbone encodes it.
- content: the frozen vectors, in as many of their main directions as a view is wide. A user's state is the mean of the
  items so far, the last ones first (`RecentContent`). Two numbers of it are trained, so that it cannot overfit.
"""

import dataclasses
import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.partition import take_rows
from grasp_jax.models.equations import Pair
from grasp_jax.models.item_encoders import EMBEDDING_INIT, KERNEL_INIT, UserIndependentEncoder
from grasp_jax.models.methods.base import Method
from grasp_jax.models.methods.grasp import GraspEncoder
from grasp_jax.models.products import product
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import NO_GATES

if TYPE_CHECKING:
    from grasp_jax.models.recommender import Recommender

_RATE = 0.5  # at the start an item weighs exp(-rate) = 0.6 of the one behind it
_SCALE = 2.0  # of a state at the start


class MixtureEncoder(UserIndependentEncoder):
    """The views of an item side by side, [..., 3H]; the same for every user, so that there are no gates."""

    def setup(self) -> None:
        """Makes the parameters."""
        self.text = GraspEncoder(dataclasses.replace(self.spec, gate='none'))
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))
        # Never trained: no gradient reaches it, and it is read up to its scale, which weight decay changes.
        self.content_kernel = self.param('content_kernel', KERNEL_INIT, (self.spec.llm_width, self.spec.hidden_size))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array,
                mesh: Mesh | None = None) -> tuple[Pair, jax.Array]:
        """ids [...] -> vectors as in `GraspEncoder`, and id embeddings [..., H]."""
        return self.text.look_up(tables, ids, mesh), take_rows(self.embedding, ids, mesh)

    def encode_items(self, looked_up: tuple[Pair, jax.Array], dtype: str = 'float32') -> jax.Array:
        """[..., 3H]: the id, the representation of Eq. 5, and the direction of the vector in H dimensions."""
        vectors, identity = looked_up
        hidden = self.text.pair_features(NO_GATES, self.text.encode_items(vectors, dtype))
        content = product(vectors.own, jax.lax.stop_gradient(self.content_kernel), dtype)
        content *= jax.lax.rsqrt(jnp.sum(jnp.square(content), -1, keepdims=True) + 1e-12)
        return jnp.concatenate([identity, self.text.represent(hidden, dtype), content], -1)


class RecentContent(nn.Module):
    """A mean of the vectors of a user's items, in which the last ones weigh most."""

    @nn.compact
    def __call__(self, vectors: jax.Array, position: jax.Array, visible: jax.Array) -> jax.Array:
        """vectors [R, W, H], zero where an item is hidden, position int32 [R, W], visible bool [R, W, W] -> states
        [R, W, H], zero where nothing is visible."""
        rate = jnp.exp(self.param('log_rate', nn.initializers.constant(math.log(_RATE)), ()))
        scale = jnp.exp(self.param('log_scale', nn.initializers.constant(math.log(_SCALE)), ()))
        apart = jnp.abs(position[:, :, None] - position[:, None, :]).astype(vectors.dtype)
        weight = visible * jnp.exp(-rate * apart)
        weight /= jnp.maximum(weight.sum(-1, keepdims=True), 1e-12)
        return scale * jnp.einsum('rts,rsh->rth', weight, vectors)


class GRASPMixture(Method):
    """Ids, GRASP's texts and the vectors as they are, as views with losses of their own."""

    name = 'grasp_mixture'
    label = 'GRASP mixed with ids'
    uses_vectors = uses_vectors_in_forward = True
    ranks_with = ('items', 'items_similar')
    num_views, further_views = 2, 1
    further_weight = 0.5  # by itself it would weigh more than it adds to what the others know
    views_learn_apart = True
    default_smoothing = 1.0
    projects_vectors = True
    settings = ('fusion_size', 'gate_space', 'use_similar', 'use_global')

    def id_start(self, spec: ModelSpec) -> str:
        """Always from texts."""
        return 'text'

    def item_encoder(self, spec: ModelSpec) -> MixtureEncoder:
        """Makes the item encoder."""
        return MixtureEncoder(spec)

    def modules(self, spec: ModelSpec) -> dict[str, nn.Module]:
        """What makes the states of the content."""
        return {'recent_content': RecentContent()}

    def further_states(self, model: 'Recommender', inputs: jax.Array, position: jax.Array,
                       visible: jax.Array) -> jax.Array:
        """Those of the content."""
        found: jax.Array = model.recent_content(inputs, position, visible)
        return self.further_weight * found


METHOD = GRASPMixture()

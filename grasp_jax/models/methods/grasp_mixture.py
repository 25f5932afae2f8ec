"""A mixture of memory and meaning: an id embedding and GRASP's texts as two views of an item. Not in the paper.

Ids remember what was bought together, texts tell what is alike. In one sum of both (`grasp_id`) the ids soon explain
the training data, and the texts learn no more. Here each view has states and a loss of its own, and so learns to
predict by itself. An item's score is the sum of both views' scores, which multiplies the chances that they stand for.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.partition import take_rows
from grasp_jax.models.equations import Pair
from grasp_jax.models.item_encoders import EMBEDDING_INIT, UserIndependentEncoder
from grasp_jax.models.methods.base import Method
from grasp_jax.models.methods.grasp import GraspEncoder
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import NO_GATES


class MixtureEncoder(UserIndependentEncoder):
    """Both views of an item side by side, [..., 2H]; the same for every user, so that there are no gates."""

    def setup(self) -> None:
        """Makes the parameters."""
        self.text = GraspEncoder(dataclasses.replace(self.spec, gate='none'))
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array,
                mesh: Mesh | None = None) -> tuple[Pair, jax.Array]:
        """ids [...] -> vectors as in `GraspEncoder`, and id embeddings [..., H]."""
        return self.text.look_up(tables, ids, mesh), take_rows(self.embedding, ids, mesh)

    def encode_items(self, looked_up: tuple[Pair, jax.Array], dtype: str = 'float32') -> jax.Array:
        """[..., 2H], the id's view first, then the representation of Eq. 5."""
        vectors, identity = looked_up
        hidden = self.text.pair_features(NO_GATES, self.text.encode_items(vectors, dtype))
        return jnp.concatenate([identity, self.text.represent(hidden, dtype)], -1)


class GRASPMixture(Method):
    """Ids and GRASP's texts as two views with losses of their own."""

    name = 'grasp_mixture'
    label = 'GRASP mixed with ids'
    uses_vectors = uses_vectors_in_forward = True
    ranks_with = ('items', 'items_similar')
    num_views = 2
    views_learn_apart = True
    settings = ('fusion_size', 'gate_space', 'use_similar', 'use_global')

    def id_start(self, spec: ModelSpec) -> str:
        """What is asked for."""
        return spec.id_init

    def item_encoder(self, spec: ModelSpec) -> MixtureEncoder:
        """Makes the item encoder."""
        return MixtureEncoder(spec)


METHOD = GRASPMixture()

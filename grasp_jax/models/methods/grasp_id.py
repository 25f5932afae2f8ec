"""GRASP with an id branch: an embedding of the item's id is added to GRASP's representation. Not in the paper."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.partition import take_rows
from grasp_jax.models.equations import Pair
from grasp_jax.models.item_encoders import EMBEDDING_INIT, GatedItemEncoder
from grasp_jax.models.methods.base import Method
from grasp_jax.models.methods.grasp import GATE_SETTINGS, GraspEncoder, ItemFeatures
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import Context


class FeaturesWithId(NamedTuple):
    """Features of an item: those of `GraspEncoder`, and the id embedding [..., H]."""

    text: ItemFeatures
    identity: jax.Array


class GraspIdEncoder(GatedItemEncoder):
    """GRASP with an id branch: the representation of Eq. 5 plus a trained embedding of the item's id.

    Text tells apart what differs in words; what only behaviour tells is left to the embedding. Its
    features are joined to those of GRASP, so that folding and scoring stay what they are. With `id_init` text it starts
    from the item's vector reduced to H, like that of LLMInit.
    """

    def setup(self) -> None:
        """Makes the parameters."""
        self.text = GraspEncoder(self.spec)
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array,
                mesh: Mesh | None = None) -> tuple[Pair, jax.Array]:
        """ids [...] -> vectors as in `GraspEncoder`, and id embeddings [..., H]."""
        return self.text.look_up(tables, ids, mesh), take_rows(self.embedding, ids, mesh)

    def encode_items(self, looked_up: tuple[Pair, jax.Array], dtype: str = 'float32') -> FeaturesWithId:
        """The work per item."""
        return FeaturesWithId(self.text.encode_items(looked_up[0], dtype), looked_up[1])

    def stored(self, items: FeaturesWithId, dtype: Any) -> FeaturesWithId:
        """As in `GraspEncoder`."""
        return items._replace(text=self.text.stored(items.text, dtype))

    def context(self, tables: FrozenVectors | None, users: jax.Array, looked_up: tuple[Pair, jax.Array],
                segment: jax.Array, seen: jax.Array, train: bool = False) -> Context:
        """As in `GraspEncoder`; the id embedding has no say in the gates."""
        return self.text.context(tables, users, looked_up[0], segment, seen, train)

    def level_scores(self, context: Context, items: FeaturesWithId) -> jax.Array:
        """As in `GraspEncoder`."""
        return self.text.level_scores(context, items.text)

    def crossed_scores(self, context: Context, items: FeaturesWithId) -> jax.Array:
        """As in `GraspEncoder`."""
        return self.text.crossed_scores(context, items.text)

    def gates(self, scores: jax.Array, together: jax.Array | None) -> jax.Array:
        """As in `GraspEncoder`."""
        return self.text.gates(scores, together)

    def pair_features(self, context: Context, items: FeaturesWithId, together: jax.Array | None = None) -> jax.Array:
        """[..., F + H]."""
        return jnp.concatenate([self.text.pair_features(context, items.text, together), items.identity], -1)

    def features_at(self, gate: jax.Array, items: FeaturesWithId) -> jax.Array:
        """As in `GraspEncoder`, [N, F + H]."""
        return jnp.concatenate([self.text.features_at(gate, items.text), items.identity], -1)

    def joined_features(self, context: Context, true: FeaturesWithId,
                        drawn: FeaturesWithId) -> tuple[jax.Array, jax.Array]:
        """[..., 1, F + H] and [..., N, F + H]."""
        of_true, of_drawn = self.text.joined_features(context, true.text, drawn.text)
        return (jnp.concatenate([of_true, true.identity[..., None, :]], -1),
                jnp.concatenate([of_drawn, drawn.identity], -1))

    def log_normaliser(self, context: Context, items: FeaturesWithId, counted: jax.Array) -> jax.Array:
        """As in `GraspEncoder`."""
        return self.text.log_normaliser(context, items.text, counted)

    def score_all(self, query: jax.Array, context: Context, items: FeaturesWithId) -> jax.Array:
        """[B, N]; the id branch is one dense product."""
        to_text, to_identity = jnp.split(query, [self.spec.fusion_size], -1)
        return self.text.score_all(to_text, context, items.text) + to_identity @ items.identity.T

    def represent(self, features: jax.Array, dtype: str = 'float32') -> jax.Array:
        """The MLP's last layer plus the id embedding, [..., H]."""
        hidden, identity = jnp.split(features, [self.spec.fusion_size], -1)
        return self.text.represent(hidden, dtype) + identity

    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[..., H] -> [..., F + H] and an offset [...]."""
        folded, offset = self.text.fold(query)
        return jnp.concatenate([folded, query], -1), offset


class GRASPWithIds(Method):
    """GRASP with an id branch."""

    name = 'grasp_id'
    label = 'GRASP with ids'
    uses_vectors = uses_vectors_in_forward = True
    ranks_with = ('items', 'items_similar')
    gated = True
    settings = GATE_SETTINGS

    def id_start(self, spec: ModelSpec) -> str:
        """What is asked for."""
        return spec.id_init

    def item_encoder(self, spec: ModelSpec) -> GraspIdEncoder:
        """Makes the item encoder."""
        return GraspIdEncoder(spec)


METHOD = GRASPWithIds()

"""GRASP: an item is represented by its LLM vectors, three gates that look at the user, and an MLP (Eq. 3 to 5)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models import attention
from grasp_jax.models.attention import lead
from grasp_jax.models.equations import Pair
from grasp_jax.models.item_encoders import (
    ADAPTER_INIT,
    ITEM_BLOCK,
    KERNEL_INIT,
    TEXT_KEEP_PROB,
    GatedItemEncoder,
    pair_rows,
)
from grasp_jax.models.methods.base import Method
from grasp_jax.models.pair_scores import gated_scores
from grasp_jax.models.products import product
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import NO_GATES, Context, prefix_context, text_context

# Keys of the `model` section that the gates and the MLP depend on.
GATE_SETTINGS = ('gate', 'fusion_size', 'gate_space', 'user_context', 'use_similar', 'use_global')


class ItemFeatures(NamedTuple):
    """Features of an item.

    Attributes:
      keys: [..., D], what the gates compare with the user; None without gates.
      projected: the levels' shares of the first layer, each [..., F]; without gates their sum.
    """

    keys: Pair | None
    projected: attention.Projected | jax.Array


class GraspEncoder(GatedItemEncoder):
    """Eq. 3 to 5: LLM vectors, three gates and a two-layer MLP.

    With unit-length vectors and fan-in scaled kernels a representation starts with a standard deviation of about
    0.02, like an id embedding; scaling the vectors up by sqrt(E) was tried and learned several times slower.
    """

    def setup(self) -> None:
        """Makes the parameters."""
        hidden, inner, width = self.spec.hidden_size, self.spec.fusion_size, self.spec.llm_width
        if self.spec.gate_space == 'hidden':
            # One [E, H] kernel for vectors and one for their neighbours' means, on either side of the gate.
            self.item_adapter = self.param('item_adapter', ADAPTER_INIT, (2, width, hidden))
            self.user_adapter = self.param('user_adapter', ADAPTER_INIT, (2, width, hidden))
            width = hidden
        self.fusion_kernel = self.param('fusion_kernel', KERNEL_INIT, (4 * width, inner))
        self.fusion_bias = self.param('fusion_bias', nn.initializers.zeros, (inner,))
        self.output_kernel = self.param('output_kernel', KERNEL_INIT, (inner, hidden))
        self.output_bias = self.param('output_bias', nn.initializers.zeros, (hidden,))
        if self.spec.gate == 'calibrated':
            # Scores of unit vectors are cosines / sqrt(D); this gate starts from the cosines themselves (of the global
            # level, whose vectors are joined of two: from sqrt(2) times the cosine).
            start = nn.initializers.constant(0.5 * math.log(width))
            self.log_scale = self.param('log_scale', start, (attention.LEVELS,))
            self.gate_bias = self.param('gate_bias', nn.initializers.zeros, (attention.LEVELS,))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array, mesh: Mesh | None = None) -> Pair:
        """ids [...] -> LLM vectors and their neighbours' means, [..., E]."""
        assert tables is not None, 'GRASP needs LLM vectors'
        return pair_rows(tables.items, tables.items_similar, tables.item_slots, ids, mesh)

    def encode_items(self, looked_up: Pair, dtype: str = 'float32') -> ItemFeatures:
        """Vectors [..., E] -> keys [..., D] and projections [..., F]: all E-wide products on items."""
        keys = _adapt(self.item_adapter, looked_up, dtype) if self.spec.gate_space == 'hidden' else looked_up
        if not self.spec.items_depend_on_user:
            return ItemFeatures(None, attention.project_ungated(keys, self.fusion_kernel, self._switch(), dtype))
        return ItemFeatures(keys, attention.project(keys, self.fusion_kernel))

    def stored(self, items: ItemFeatures, dtype: Any) -> ItemFeatures:
        """Keys that are the LLM vectors themselves take no more room than in their table."""
        if not self.spec.gate_scores_are_constant:
            return items
        return items._replace(keys=jax.tree.map(lambda field: field.astype(dtype), items.keys))

    def context(self, tables: FrozenVectors | None, users: jax.Array, looked_up: Pair, segment: jax.Array,
                seen: jax.Array, train: bool = False) -> Context:
        """The user's text, the items seen so far, or their sum, [R, W, D]; nothing where there are no gates."""
        if not self.spec.items_depend_on_user:
            return NO_GATES
        kind, found = self.spec.user_context, []
        if kind != 'prefix':
            assert tables is not None, 'GRASP needs LLM vectors'
            text = pair_rows(tables.users, tables.users_similar, tables.user_slots, users)
            if kind == 'both' and train:
                kept = jax.random.bernoulli(self.make_rng('dropout'), TEXT_KEEP_PROB, (len(users), 1))
                text = jax.tree.map(lambda field: field * kept, text)
            found.append(text_context(self._of_user(text), segment))
        if kind != 'text':
            found.append(prefix_context(self._of_user(looked_up), seen))
        return Context(jax.tree.map(lambda *fields: sum(fields[1:], fields[0]), *found))

    def _of_user(self, known: Pair) -> Pair:
        """Vectors as the gates read them; the adapters are linear, so they may come before a mean."""
        return _adapt(self.user_adapter, known) if self.spec.gate_space == 'hidden' else known

    def pair_features(self, context: Context, items: ItemFeatures, together: jax.Array | None = None) -> jax.Array:
        """Hidden layer of Eq. 5's MLP, [..., F]; `together` as in `attention.gates`."""
        if not isinstance(items.projected, attention.Projected):
            return self._hidden_layer(items.projected)
        scores = self.level_scores(context, items) if context.gate_scores is None else context.gate_scores
        return self._hidden_layer(attention.fuse(self.gates(scores, together), items.projected))

    def features_at(self, gate: jax.Array, items: ItemFeatures) -> jax.Array:
        """As `pair_features`, where every gate of a level has one value: gate [3], items [N, ?] -> [N, F]."""
        assert isinstance(items.projected, attention.Projected), 'without gates there is nothing to hold'
        gates = jnp.broadcast_to(gate[None], (len(items.projected.own), attention.LEVELS))
        return self._hidden_layer(attention.fuse(gates, items.projected))

    def level_scores(self, context: Context, items: ItemFeatures) -> jax.Array:
        """The arguments of the gates, [..., 3]."""
        assert context.user is not None and items.keys is not None, 'there are no gates'
        return attention.aligned_scores(context.user, items.keys)

    def crossed_scores(self, context: Context, items: ItemFeatures) -> jax.Array:
        """Those of every user with every item, [B, N, 3]."""
        assert items.keys is not None, 'there are no gates'
        return self._crossed_scores(context, items.keys)

    def _crossed_scores(self, context: Context, keys: Pair) -> jax.Array:
        assert context.user is not None, 'there are no gates'
        return attention.crossed_scores(context.user, keys)

    def joined_features(self, context: Context, true: ItemFeatures,
                        drawn: ItemFeatures) -> tuple[jax.Array, jax.Array]:
        """True item [..., 1, F] and drawn ones [..., N, F]; only their scores are joined, which are narrow."""
        true, context = jax.tree.map(lambda field: field[..., None, :], true), context.for_candidates()
        if not self.spec.items_depend_on_user:
            return self.pair_features(context, true), self.pair_features(context, drawn)
        scores = [self.level_scores(context, items) for items in (true, drawn)]
        gate = self.gates(jnp.concatenate(scores, -2), None)
        return (self._hidden_layer(attention.fuse(gate[..., :1, :], true.projected)),
                self._hidden_layer(attention.fuse(gate[..., 1:, :], drawn.projected)))

    def score_all(self, query: jax.Array, context: Context, items: ItemFeatures) -> jax.Array:
        """Folded queries [B, F], contexts [B, D] and N items -> [B, N]; never holds [B, N, H].

        Items go block by block, which bounds the gates that are there at once. Without gates one dense product serves
        all.
        """
        if not isinstance(items.projected, attention.Projected):
            return query @ self._hidden_layer(items.projected).T

        def one_block(block: tuple[Pair, attention.Projected]) -> jax.Array:
            keys, projected = block
            return gated_scores(query, self._crossed_gates(context, keys), projected, self.fusion_bias)

        total = len(items.projected.own)
        scores = jax.lax.map(one_block, _in_blocks(tuple(items), total))
        return jnp.moveaxis(scores, 0, 1).reshape(len(query), total)

    def log_normaliser(self, context: Context, items: ItemFeatures, counted: jax.Array) -> jax.Array:
        """What the softmax gate divides by, as a logarithm: contexts [B, D], N items, counted [B, N] -> [B, 3]."""
        assert items.keys is not None, 'there are no gates'

        def one_block(block: tuple[Pair, jax.Array]) -> jax.Array:
            keys, there = block
            return jax.nn.logsumexp(self._crossed_scores(context, keys), axis=1, where=there.T[..., None])

        blocks = _in_blocks((items.keys, counted.T), len(items.keys.own))
        return jax.nn.logsumexp(jax.lax.map(one_block, blocks), axis=0)

    def _crossed_gates(self, context: Context, keys: Pair) -> jax.Array:
        """Gates [B, N, 3] of every user with every item of a block."""
        scores = self._crossed_scores(context, keys)
        if context.log_normaliser is None:
            return self.gates(scores, None)
        return jnp.exp(scores - context.log_normaliser[:, None]) * lead(self._switch(), scores)

    def represent(self, features: jax.Array, dtype: str = 'float32') -> jax.Array:
        """The MLP's last layer, [..., H]."""
        return product(features, self.output_kernel, dtype) + lead(self.output_bias, features)

    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The last layer moved to the user's side: [..., H] -> [..., F] and an offset [...]."""
        return query @ self.output_kernel.T, query @ self.output_bias

    def gates(self, scores: jax.Array, together: jax.Array | None) -> jax.Array:
        """Gates [..., 3] from level scores, with the ablated levels at zero."""
        scale, bias = (self.log_scale, self.gate_bias) if self.spec.gate == 'calibrated' else (None, None)
        return attention.gates(scores, self.spec.gate, scale, bias, together) * lead(self._switch(), scores)

    def _switch(self) -> jax.Array:
        return attention.level_switch(self.spec.use_similar, self.spec.use_global)

    def _hidden_layer(self, fused: jax.Array) -> jax.Array:
        return nn.relu(fused + lead(self.fusion_bias, fused))


def _adapt(kernels: jax.Array, pair: Pair, dtype: str = 'float32') -> Pair:
    return Pair(product(pair.own, kernels[0], dtype), product(pair.similar, kernels[1], dtype))


def _in_blocks(fields: Any, total: int) -> Any:
    """Fields [N, ?] as blocks of items [N / K, K, ?]; one block where they do not come out even."""
    size = ITEM_BLOCK if total % ITEM_BLOCK == 0 else total
    return jax.tree.map(lambda field: field.reshape(-1, size, field.shape[-1]), fields)


class GRASP(Method):
    """The paper's method."""

    name = 'grasp'
    label = 'GRASP'
    uses_vectors = uses_vectors_in_forward = True
    ranks_with = ('items', 'items_similar')
    gated = True
    settings = GATE_SETTINGS
    colour = 'blue'

    def item_encoder(self, spec: ModelSpec) -> GraspEncoder:
        """Makes the item encoder."""
        return GraspEncoder(spec)


METHOD = GRASP()

"""GRASP: an item is represented by its LLM vectors, three gates that look at the user, and an MLP (Eq. 3 to 5)."""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models import attention
from grasp_jax.models.attention import KnownScores, Normalised, Pair, lead
from grasp_jax.models.item_encoders import (
    ADAPTER_INIT,
    ITEM_BLOCK,
    KERNEL_INIT,
    TEXT_KEEP_PROB,
    ItemEncoder,
    pair_rows,
)
from grasp_jax.models.methods.base import Method
from grasp_jax.models.pair_scores import gated_scores
from grasp_jax.models.products import product
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import prefix_context, text_context

# Keys of the `model` section that the gates and the MLP depend on.
GATE_SETTINGS = ('gate', 'fusion_size', 'space', 'user_context', 'use_similar', 'use_global')


class ItemParts(NamedTuple):
    """Work of the GRASP encoder per item: a Pair of `keys` [..., D] for the gates and `projected` [..., F]; without
    gates no keys and a sum."""

    keys: Any
    projected: attention.Projected | jax.Array


class GraspEncoder(ItemEncoder):
    """Eq. 3 to 5: LLM vectors, three gates and a two-layer MLP.

    With unit-length vectors and fan-in scaled kernels a representation starts with a standard deviation of about
    0.02, like an id embedding; scaling the vectors up by sqrt(E) was tried and learned several times slower.
    """

    def setup(self) -> None:
        """Makes the parameters."""
        hidden, inner, width = self.spec.hidden_size, self.spec.fusion_size, self.spec.llm_width
        if self.spec.space == 'hidden':
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

    def look_up(self, tables: FrozenVectors, ids: jax.Array, mesh: Mesh | None = None) -> Pair:
        """ids [...] -> LLM vectors and their neighbours' means, [..., E]."""
        return pair_rows(tables.items, tables.items_similar, tables.item_slots, ids, mesh)

    def parts(self, looked_up: Pair, dtype: str = 'float32') -> ItemParts:
        """Vectors [..., E] -> keys [..., D] and projections [..., F]: all E-wide products on items."""
        keys = _adapt(self.item_adapter, looked_up, dtype) if self.spec.space == 'hidden' else looked_up
        if not self.spec.items_depend_on_user:
            return ItemParts((), attention.project_ungated(keys, self.fusion_kernel, self._switch(), dtype))
        return ItemParts(keys, attention.project(keys, self.fusion_kernel))

    def stored(self, parts: ItemParts, dtype: Any) -> ItemParts:
        """Keys that are the LLM vectors themselves take no more room than in their table."""
        if not self.spec.gate_scores_are_constant:
            return parts
        return parts._replace(keys=jax.tree.map(lambda field: field.astype(dtype), parts.keys))

    def context(self, tables: FrozenVectors, users: jax.Array, looked_up: Pair, segment: jax.Array, seen: jax.Array,
                train: bool = False) -> Pair | tuple[()]:
        """What the gates see of the user at each position, [R, W, D]; nothing where there are none."""
        if not self.spec.items_depend_on_user:
            return ()
        kind, found = self.spec.user_context, []
        if kind != 'prefix':
            text = pair_rows(tables.users, tables.users_similar, tables.user_slots, users)
            if kind == 'both' and train:
                kept = jax.random.bernoulli(self.make_rng('dropout'), TEXT_KEEP_PROB, (len(users), 1))
                text = jax.tree.map(lambda field: field * kept, text)
            found.append(text_context(self._of_user(text), segment))
        if kind != 'text':
            found.append(prefix_context(self._of_user(looked_up), seen))
        return jax.tree.map(lambda *fields: sum(fields[1:], fields[0]), *found)

    def _of_user(self, known: Pair) -> Pair:
        """Vectors as the gates read them; the adapters are linear, so they may come before a mean."""
        return _adapt(self.user_adapter, known) if self.spec.space == 'hidden' else known

    def features(self, context: Pair | KnownScores, parts: ItemParts, together: jax.Array | None = None) -> jax.Array:
        """Hidden layer of Eq. 5's MLP, [..., F]; `together` as in `attention.gates`."""
        if not isinstance(parts.projected, attention.Projected):
            return self._hidden_layer(parts.projected)
        scores = context.scores if isinstance(context, KnownScores) else self.level_scores(context, parts)
        return self._hidden_layer(attention.fuse(self.gates(scores, together), parts.projected))

    def features_at(self, gate: jax.Array, parts: ItemParts) -> jax.Array:
        """As `features`, where every gate of a level has one value: gate [3], parts [N, ?] -> [N, F]."""
        assert isinstance(parts.projected, attention.Projected), 'without gates there is nothing to hold'
        gates = jnp.broadcast_to(gate[None], (len(parts.projected.own), attention.LEVELS))
        return self._hidden_layer(attention.fuse(gates, parts.projected))

    def level_scores(self, context: Pair, parts: ItemParts) -> jax.Array:
        """The arguments of the gates [..., 3], where context and parts share their leading axes."""
        return attention.aligned_scores(context, parts.keys)

    def joined_features(self, context: Pair, true: ItemParts, drawn: ItemParts) -> tuple[jax.Array, jax.Array]:
        """True item [..., 1, F] and drawn ones [..., N, F]; only their scores are joined, which are narrow."""
        true, context = jax.tree.map(lambda field: field[..., None, :], (true, context))
        if not self.spec.items_depend_on_user:
            return self.features(context, true), self.features(context, drawn)
        scores = [self.level_scores(context, items) for items in (true, drawn)]
        gate = self.gates(jnp.concatenate(scores, -2), None)
        return (self._hidden_layer(attention.fuse(gate[..., :1, :], true.projected)),
                self._hidden_layer(attention.fuse(gate[..., 1:, :], drawn.projected)))

    def score_all(self, query: jax.Array, context: Pair | Normalised, parts: ItemParts) -> jax.Array:
        """Folded queries [B, F], contexts [B, D] and N items -> [B, N]; never holds [B, N, H].

        Items go block by block, which bounds the gates that are there at once. Without gates one dense product serves
        all.
        """
        keys, projected = parts
        if not isinstance(projected, attention.Projected):
            return query @ self._hidden_layer(projected).T

        def one_block(block: tuple[Pair, attention.Projected]) -> jax.Array:
            keys, projected = block
            return gated_scores(query, self._crossed_gates(context, keys), projected, self.fusion_bias)

        total = len(keys.own)
        scores = jax.lax.map(one_block, _in_blocks((keys, projected), total))
        return jnp.moveaxis(scores, 0, 1).reshape(len(query), total)

    def log_normaliser(self, context: Pair, parts: ItemParts, counted: jax.Array) -> jax.Array:
        """What the softmax gate divides by, as a logarithm: contexts [B, D], N items, counted [B, N] -> [B, 3]."""
        def one_block(block: tuple[Pair, jax.Array]) -> jax.Array:
            keys, there = block
            return jax.nn.logsumexp(attention.crossed_scores(context, keys), axis=1, where=there.T[..., None])

        blocks = _in_blocks((parts.keys, counted.T), len(parts.keys.own))
        return jax.nn.logsumexp(jax.lax.map(one_block, blocks), axis=0)

    def _crossed_gates(self, context: Pair | Normalised, keys: Pair) -> jax.Array:
        """Gates [B, N, 3] of every user with every item of a block."""
        if not isinstance(context, Normalised):
            return self.gates(attention.crossed_scores(context, keys), None)
        scores = attention.crossed_scores(context.context, keys)
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

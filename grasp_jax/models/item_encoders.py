"""Item representations: from an item's id alone, or from LLM vectors and the user who looks at it.

Every encoder answers the same calls. `look_up` reads an item's rows, `parts` is the work done once per item, `context`
is what the gates see of the user, `features` is the narrow work per (user, item). The representation is `features`
times the last layer, and when items are only scored, that layer is folded into the user's query instead (`fold`):
o . (W' f) = (W'^T o) . f.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.models import attention
from grasp_jax.models.attention import KnownScores, Pair, lead
from grasp_jax.models.partition import take_rows
from grasp_jax.models.spec import ModelSpec, Tables
from grasp_jax.models.user_context import prefix_context, text_context

# Items that are scored together where whole catalogues are: a multiple of it is split into blocks.
ITEM_BLOCK = 1024
# Share of the users whose text the gates see in training, where the context is `both`.
TEXT_KEPT = 0.5
# Standard deviation at the start. GRASP's representations start about as small (see its docstring).
EMBEDDING_INIT = nn.initializers.normal(0.02)
KERNEL_INIT = nn.initializers.lecun_normal()
ADAPTER_INIT = nn.initializers.lecun_normal(batch_axis=(0,))


class ItemEncoder(nn.Module):
    """The calls of every item encoder.

    look_up(tables, ids [...], mesh) -> pytree of [..., ?]: what is stored of each item; `mesh` as in
      `partition.take_rows`.
    parts(looked_up) -> pytree of [..., ?]: the work per item, independent of the user.
    context(tables, users [B], looked_up [R, W, ?], segment [R, W], seen [R, W, W], train) -> pytree of [R, W, ?].
    features(context, parts, together) -> [..., F], where context and parts share their leading axes.
    joined_features(context, true [..., ?], drawn [..., N, ?]) -> [..., 1, F] and [..., N, F], candidates of one
      position that are looked at together.
    level_scores(context, parts) -> [..., 3], where there are gates: their arguments, which `features` takes in place
      of the context as `attention.KnownScores`.
    represent(features) -> [..., H] and fold(query [..., H]) -> ([..., F], [...]), with
      represent(f) . q == f . fold(q)[0] + fold(q)[1].
    score_all(query, context, parts, users_at_once) -> [B, N], every pair of B folded queries (with contexts) and N
      items; `users_at_once` bounds the memory, also that of the gradient.
    """

    spec: ModelSpec


class CommonEncoder(ItemEncoder):
    """The calls of encoders whose items look alike to every user; `parts` are the representations themselves."""

    def context(self, tables: Tables | None, users: jax.Array, looked_up: Any, segment: jax.Array,
                seen: jax.Array, train: bool = False) -> tuple[()]:
        """Nothing: the representation does not depend on the user."""
        return ()

    def features(self, context: tuple[()], parts: jax.Array, together: jax.Array | None = None) -> jax.Array:
        """The representations as they are."""
        return parts

    def joined_features(self, context: tuple[()], true: jax.Array, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The representations as they are, [..., 1, H] and [..., N, H]."""
        return true[..., None, :], drawn

    def score_all(self, query: jax.Array, context: tuple[()], parts: jax.Array, users_at_once: int) -> jax.Array:
        """One dense product serves all users: [B, H], [N, H] -> [B, N]."""
        return query @ parts.T

    def represent(self, features: jax.Array) -> jax.Array:
        """The features as they are."""
        return features

    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The query as it is and a zero offset."""
        return query, jnp.zeros(query.shape[:-1])


class IdEncoder(CommonEncoder):
    """A trained embedding per item id: the plain backbone, LLMInit and RLMRec.

    LLMInit (Harte et al., Leveraging Large Language Models for Sequential Recommendation, RecSys 2023) starts it from
    the items' vectors reduced to H by a principal component analysis (`training.step.init_state`).
    """

    def setup(self) -> None:
        """Makes the parameters."""
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))

    def look_up(self, tables: Tables | None, ids: jax.Array, mesh: Mesh | None = None) -> jax.Array:
        """ids [...] -> [..., H]."""
        return take_rows(self.embedding, ids, mesh)

    def parts(self, looked_up: jax.Array) -> jax.Array:
        """The embeddings themselves."""
        return looked_up


class ItemParts(NamedTuple):
    """Work of the GRASP encoder per item: `keys` [..., D] for the gates, `projected` [..., F] (a sum without them)."""

    keys: Pair
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
            # Scores of unit vectors are cosines / sqrt(D); this gate starts from the cosines themselves.
            start = nn.initializers.constant(0.5 * math.log(width))
            self.log_scale = self.param('log_scale', start, (attention.LEVELS,))
            self.gate_bias = self.param('gate_bias', nn.initializers.zeros, (attention.LEVELS,))

    def look_up(self, tables: Tables, ids: jax.Array, mesh: Mesh | None = None) -> Pair:
        """ids [...] -> LLM vectors and their neighbours' means, [..., E]."""
        return _rows(tables.items, tables.items_similar, tables.item_slots, ids, mesh)

    def parts(self, looked_up: Pair) -> ItemParts:
        """Vectors [..., E] -> keys [..., D] and projections [..., F]: all E-wide products on items."""
        keys = _adapt(self.item_adapter, looked_up) if self.spec.space == 'hidden' else looked_up
        if not self.spec.personal:
            return ItemParts(keys, attention.project_ungated(keys, self.fusion_kernel, self._switch()))
        return ItemParts(keys, attention.project(keys, self.fusion_kernel))

    def context(self, tables: Tables, users: jax.Array, looked_up: Pair, segment: jax.Array, seen: jax.Array,
                train: bool = False) -> Pair:
        """What the gates see of the user at each position, [R, W, D]."""
        kind, found = self.spec.user_context, []
        if kind != 'prefix':
            text = _rows(tables.users, tables.users_similar, tables.user_slots, users)
            if kind == 'both' and train:
                kept = jax.random.bernoulli(self.make_rng('dropout'), TEXT_KEPT, (len(users), 1))
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

    def level_scores(self, context: Pair, parts: ItemParts) -> jax.Array:
        """The arguments of the gates [..., 3], where context and parts share their leading axes."""
        return attention.aligned_scores(context, parts.keys)

    def joined_features(self, context: Pair, true: ItemParts, drawn: ItemParts) -> tuple[jax.Array, jax.Array]:
        """True item [..., 1, F] and drawn ones [..., N, F]; only their scores are joined, which are narrow."""
        true, context = jax.tree.map(lambda field: field[..., None, :], (true, context))
        if not self.spec.personal:
            return self.features(context, true), self.features(context, drawn)
        scores = [self.level_scores(context, items) for items in (true, drawn)]
        gate = self.gates(jnp.concatenate(scores, -2), None)
        return (self._hidden_layer(attention.fuse(gate[..., :1, :], true.projected)),
                self._hidden_layer(attention.fuse(gate[..., 1:, :], drawn.projected)))

    def score_all(self, query: jax.Array, context: Pair, parts: ItemParts, users_at_once: int) -> jax.Array:
        """Folded queries [B, F], contexts [B, D] and N items -> [B, N]; never holds [B, N, H].

        Items go block by block, so that a block's rows stay in the cache of a CPU while all users pass over them:
        twice as fast as all items user by user, measured on 57,289 items. Without gates one dense product serves all.
        """
        keys, projected = parts
        total = len(keys.own)
        if not isinstance(projected, attention.Projected):
            return query @ self._hidden_layer(projected).T
        size = ITEM_BLOCK if total % ITEM_BLOCK == 0 else total

        def one_block(block: tuple[Pair, attention.Projected]) -> jax.Array:
            keys, projected = block
            gate = self.gates(attention.crossed_scores(context, keys), None)

            @jax.checkpoint  # the gradient makes the [N, F] features of a user anew
            def one_user(user: tuple[jax.Array, jax.Array]) -> jax.Array:
                wanted, opening = user
                return jnp.einsum('nf,f->n', self._hidden_layer(attention.fuse(opening, projected)), wanted)

            scores: jax.Array = jax.lax.map(one_user, (query, gate), batch_size=min(users_at_once, len(query)))
            return scores

        blocks = jax.tree.map(lambda field: field.reshape(-1, size, field.shape[-1]), (keys, projected))
        return jnp.moveaxis(jax.lax.map(one_block, blocks), 0, 1).reshape(len(query), total)

    def represent(self, features: jax.Array) -> jax.Array:
        """The MLP's last layer, [..., H]."""
        return features @ self.output_kernel + lead(self.output_bias, features)

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


class IdParts(NamedTuple):
    """Work per item of `GraspIdEncoder`: that of the GRASP encoder, and the id embedding [..., H]."""

    text: ItemParts
    identity: jax.Array


class GraspIdEncoder(ItemEncoder):
    """GRASP with an id branch: the representation of Eq. 5 plus a trained embedding of the item's id.

    Not in the paper. Text tells apart what differs in words; what only behaviour tells is left to the embedding. Its
    features stand beside those of GRASP, so that folding and scoring stay what they are.
    """

    def setup(self) -> None:
        """Makes the parameters."""
        self.text = GraspEncoder(self.spec)
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))

    def look_up(self, tables: Tables, ids: jax.Array, mesh: Mesh | None = None) -> tuple[Pair, jax.Array]:
        """ids [...] -> vectors as in `GraspEncoder`, and id embeddings [..., H]."""
        return self.text.look_up(tables, ids, mesh), take_rows(self.embedding, ids, mesh)

    def parts(self, looked_up: tuple[Pair, jax.Array]) -> IdParts:
        """The work per item."""
        return IdParts(self.text.parts(looked_up[0]), looked_up[1])

    def context(self, tables: Tables, users: jax.Array, looked_up: tuple[Pair, jax.Array], segment: jax.Array,
                seen: jax.Array, train: bool = False) -> Pair:
        """As in `GraspEncoder`; the id embedding has no say in the gates."""
        return self.text.context(tables, users, looked_up[0], segment, seen, train)

    def level_scores(self, context: Pair, parts: IdParts) -> jax.Array:
        """As in `GraspEncoder`."""
        return self.text.level_scores(context, parts.text)

    def gates(self, scores: jax.Array, together: jax.Array | None) -> jax.Array:
        """As in `GraspEncoder`."""
        return self.text.gates(scores, together)

    def features(self, context: Pair | KnownScores, parts: IdParts, together: jax.Array | None = None) -> jax.Array:
        """[..., F + H]."""
        return jnp.concatenate([self.text.features(context, parts.text, together), parts.identity], -1)

    def joined_features(self, context: Pair, true: IdParts, drawn: IdParts) -> tuple[jax.Array, jax.Array]:
        """[..., 1, F + H] and [..., N, F + H]."""
        of_true, of_drawn = self.text.joined_features(context, true.text, drawn.text)
        return (jnp.concatenate([of_true, true.identity[..., None, :]], -1),
                jnp.concatenate([of_drawn, drawn.identity], -1))

    def score_all(self, query: jax.Array, context: Pair, parts: IdParts, users_at_once: int) -> jax.Array:
        """[B, N]; the id branch is one dense product."""
        to_text, to_identity = jnp.split(query, [self.spec.fusion_size], -1)
        return self.text.score_all(to_text, context, parts.text, users_at_once) + to_identity @ parts.identity.T

    def represent(self, features: jax.Array) -> jax.Array:
        """The MLP's last layer plus the id embedding, [..., H]."""
        hidden, identity = jnp.split(features, [self.spec.fusion_size], -1)
        return self.text.represent(hidden) + identity

    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """[..., H] -> [..., F + H] and an offset [...]."""
        folded, offset = self.text.fold(query)
        return jnp.concatenate([folded, query], -1), offset


def _rows(own: jax.Array | np.ndarray, similar: jax.Array | np.ndarray, slots: jax.Array | None,
          ids: jax.Array, mesh: Mesh | None = None) -> Pair:
    """Rows of two tables in float32, whatever they are stored in."""
    return Pair(text_rows(own, slots, ids, mesh), text_rows(similar, slots, ids, mesh))


def text_rows(table: jax.Array | np.ndarray, slots: jax.Array | None, ids: jax.Array,
              mesh: Mesh | None = None) -> jax.Array:
    """Rows of one table in float32; `slots` as in `Tables`, `mesh` as in `partition.take_rows`."""
    rows = ids if slots is None else slots[ids]
    return take_rows(jnp.asarray(table), rows, mesh).astype(jnp.float32)


def _adapt(kernels: jax.Array, pair: Pair) -> Pair:
    return Pair(pair.own @ kernels[0], pair.similar @ kernels[1])

"""Item representations: what every item encoder answers, and those from an item's id alone.

Every encoder answers the same calls. `look_up` reads an item's rows, `parts` is the work done once per item, `context`
is what the gates see of the user, `features` is the narrow work per (user, item). The representation is `features`
times the last layer, and when items are only scored, that layer is folded into the user's query instead (`fold`):
o . (W' f) = (W'^T o) . f.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.partition import take_rows
from grasp_jax.models.attention import Pair
from grasp_jax.models.spec import ModelSpec

# Items that are scored together where whole catalogues are: a multiple of it is split into blocks.
ITEM_BLOCK = 1024
# Share of the users whose text the gates see in training, where the context is `both`.
TEXT_KEEP_PROB = 0.5
# Standard deviation at the start. GRASP's representations start about as small (see its docstring).
EMBEDDING_INIT = nn.initializers.normal(0.02)
KERNEL_INIT = nn.initializers.lecun_normal()
ADAPTER_INIT = nn.initializers.lecun_normal(batch_axis=(0,))


class ItemEncoder(nn.Module):
    """The calls of every item encoder.

    look_up(tables, ids [...], mesh) -> pytree of [..., ?]: what is stored of each item; `mesh` as in
      `partition.take_rows`.
    parts(looked_up, dtype) -> pytree of [..., ?]: the work per item, independent of the user; `dtype` of wide products
      as in `products.product`, float32 where not said.
    stored(parts, dtype) -> the same parts, those that come from tables of this type in it.
    context(tables, users [B], looked_up [R, W, ?], segment [R, W], seen [R, W, W], train) -> pytree of [R, W, ?].
    features(context, parts, together) -> [..., F], where context and parts share their leading axes.
    joined_features(context, true [..., ?], drawn [..., N, ?]) -> [..., 1, F] and [..., N, F], candidates of one
      position that are looked at together.
    level_scores(context, parts) -> [..., 3], where there are gates: their arguments, which `features` takes in place
      of the context as `attention.KnownScores`.
    represent(features, dtype) -> [..., H], dtype as in `parts`, and fold(query [..., H]) -> ([..., F], [...]), with
      represent(f) . q == f . fold(q)[0] + fold(q)[1].
    score_all(query, context, parts) -> [B, N], every pair of B folded queries (with contexts) and N items.
    log_normaliser(context, parts, counted [B, N]) -> [B, 3], where there are gates: for a softmax gate over items that
      `score_all` gets in several calls, which take `attention.Normalised` in place of the context.
    """

    spec: ModelSpec

    def stored(self, parts: Any, dtype: Any) -> Any:
        """As they are."""
        return parts


class CommonEncoder(ItemEncoder):
    """The calls of encoders whose items look alike to every user; `parts` are the representations themselves."""

    def context(self, tables: FrozenVectors | None, users: jax.Array, looked_up: Any, segment: jax.Array,
                seen: jax.Array, train: bool = False) -> tuple[()]:
        """Nothing: the representation does not depend on the user."""
        return ()

    def features(self, context: tuple[()], parts: jax.Array, together: jax.Array | None = None) -> jax.Array:
        """The representations as they are."""
        return parts

    def joined_features(self, context: tuple[()], true: jax.Array, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The representations as they are, [..., 1, H] and [..., N, H]."""
        return true[..., None, :], drawn

    def score_all(self, query: jax.Array, context: tuple[()], parts: jax.Array) -> jax.Array:
        """One dense product serves all users: [B, H], [N, H] -> [B, N]."""
        return query @ parts.T

    def represent(self, features: jax.Array, dtype: str = 'float32') -> jax.Array:
        """The features as they are."""
        return features

    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The query as it is and a zero offset."""
        return query, jnp.zeros(query.shape[:-1])


class IdEncoder(CommonEncoder):
    """A trained embedding per item id."""

    def setup(self) -> None:
        """Makes the parameters."""
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array, mesh: Mesh | None = None) -> jax.Array:
        """ids [...] -> [..., H]."""
        return take_rows(self.embedding, ids, mesh)

    def parts(self, looked_up: jax.Array, dtype: str = 'float32') -> jax.Array:
        """The embeddings themselves."""
        return looked_up


def pair_rows(own: jax.Array | np.ndarray, similar: jax.Array | np.ndarray, slots: jax.Array | None,
              ids: jax.Array, mesh: Mesh | None = None) -> Pair:
    """Rows of two tables in float32, whatever they are stored in."""
    return Pair(text_rows(own, slots, ids, mesh), text_rows(similar, slots, ids, mesh))


def text_rows(table: jax.Array | np.ndarray, slots: jax.Array | None, ids: jax.Array,
              mesh: Mesh | None = None) -> jax.Array:
    """Rows of one table in float32; `slots` as in `FrozenVectors`, `mesh` as in `partition.take_rows`."""
    rows = ids if slots is None else slots[ids]
    return take_rows(jnp.asarray(table), rows, mesh).astype(jnp.float32)

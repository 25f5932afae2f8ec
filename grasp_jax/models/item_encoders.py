"""Item encoders: what every one of them answers, and those whose items look alike to every user.

The work is split by how often it has to be done. `look_up` reads an item's rows and `encode_items` is the work once
per item. `context` is what the gates see of a user, and `pair_features` the narrow work once per (user, item). An
item's representation is `represent` of these features, one linear layer. Where items are only scored, that layer is
folded into the user's query instead (`fold`): o . (W' f) = (W'^T o) . f.

Shapes are in the letters of `spec`; [..., ?] is a tree of arrays that share their leading axes.
"""

import abc
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.partition import take_rows
from grasp_jax.models.equations import Pair
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import NO_GATES, Context

# Items that are scored together where whole catalogues are: a multiple of it is split into blocks.
ITEM_BLOCK = 1024
# Share of the users whose text the gates see in training, where the context is `both`.
TEXT_KEEP_PROB = 0.5
# Standard deviation at the start. GRASP's representations start about as small (see its docstring).
EMBEDDING_INIT = nn.initializers.normal(0.02)
KERNEL_INIT = nn.initializers.lecun_normal()
ADAPTER_INIT = nn.initializers.lecun_normal(batch_axis=(0,))


class ItemEncoder(nn.Module, abc.ABC):
    """Makes item representations, and the scores of items for users' states."""

    spec: ModelSpec

    @abc.abstractmethod
    def look_up(self, tables: FrozenVectors | None, ids: jax.Array, mesh: Mesh | None = None) -> Any:
        """Reads what is stored of each item.

        Args:
          tables: frozen LLM vectors; None for a method without.
          ids: int32 [...].
          mesh: as in `partition.take_rows`.

        Returns:
          [..., ?].
        """

    @abc.abstractmethod
    def encode_items(self, looked_up: Any, dtype: str = 'float32') -> Any:
        """The work per item that does not depend on the user.

        Args:
          looked_up: [..., ?], of `look_up`.
          dtype: of factors in wide products, as in `products.product`.

        Returns:
          [..., ?], the items' features.
        """

    def stored(self, items: Any, dtype: Any) -> Any:
        """The features of items for keeping: those fields that come from tables of this type, in it."""
        return items

    @abc.abstractmethod
    def context(self, tables: FrozenVectors | None, users: jax.Array, looked_up: Any, segment: jax.Array,
                seen: jax.Array, train: bool = False) -> Context:
        """What the gates see of the user at each position.

        Args:
          tables: as in `look_up`.
          users: int32 [B].
          looked_up: [R, W, ?], of the rows' items.
          segment: int32 [R, W], 1 + index in the batch of the user that owns a position, 0 for padding.
          seen: bool [R, W, W], the items that a position has seen so far.
          train: whether dropout is on.

        Returns:
          `user` [R, W, D], or nothing.
        """

    @abc.abstractmethod
    def pair_features(self, context: Context, items: Any, together: jax.Array | None = None) -> jax.Array:
        """The work per (user, item).

        Args:
          context: of the users, [..., ?].
          items: features of items, [..., ?].
          together: bool, which items are looked at together, as in `attention.gates`.

        Returns:
          [..., F].
        """

    @abc.abstractmethod
    def joined_features(self, context: Context, true: Any, drawn: Any) -> tuple[jax.Array, jax.Array]:
        """`pair_features` of the candidates of one position, which are looked at together.

        Args:
          context: [..., ?].
          true: features of the true item, [..., ?].
          drawn: of the negatives, [..., N, ?].

        Returns:
          [..., 1, F] and [..., N, F].
        """

    @abc.abstractmethod
    def represent(self, features: jax.Array, dtype: str = 'float32') -> jax.Array:
        """The last layer: [..., F] -> [..., H]; `dtype` as in `encode_items`."""

    @abc.abstractmethod
    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The last layer on the user's side: [..., H] -> [..., F] and an offset [...], such that
        represent(f) . q == f . fold(q)[0] + fold(q)[1]."""

    @abc.abstractmethod
    def score_all(self, query: jax.Array, context: Context, items: Any) -> jax.Array:
        """Every pair of B folded queries [B, F] (with contexts [B, ?]) and N items [N, ?] -> [B, N]."""


class GatedItemEncoder(ItemEncoder):
    """An encoder whose items look different to each user, through the gates of Eq. 4."""

    @abc.abstractmethod
    def level_scores(self, context: Context, items: Any) -> jax.Array:
        """The arguments of the gates, [..., 3], where `user` and items share their leading axes."""

    @abc.abstractmethod
    def crossed_scores(self, context: Context, items: Any) -> jax.Array:
        """The arguments of the gates of every user with every item, [B, ?], [N, ?] -> [B, N, 3]."""

    @abc.abstractmethod
    def gates(self, scores: jax.Array, together: jax.Array | None) -> jax.Array:
        """Their arguments [..., 3] -> gates [..., 3]; `together` as in `attention.gates`."""

    @abc.abstractmethod
    def features_at(self, gate: jax.Array, items: Any) -> jax.Array:
        """As `pair_features`, where every gate of a level has one value: gate [3], items [N, ?] -> [N, F]."""

    @abc.abstractmethod
    def log_normaliser(self, context: Context, items: Any, counted: jax.Array) -> jax.Array:
        """For a softmax gate over items that `score_all` gets in several calls: what it divides by, as a logarithm.

        Args:
          context: [B, ?].
          items: [N, ?].
          counted: bool [B, N], which items there are for whom.

        Returns:
          [B, 3].
        """


class UserIndependentEncoder(ItemEncoder):
    """An encoder whose items look alike to every user: `encode_items` gives the representations themselves."""

    def context(self, tables: FrozenVectors | None, users: jax.Array, looked_up: Any, segment: jax.Array,
                seen: jax.Array, train: bool = False) -> Context:
        """Nothing: the representation does not depend on the user."""
        return NO_GATES

    def pair_features(self, context: Context, items: jax.Array, together: jax.Array | None = None) -> jax.Array:
        """The representations as they are."""
        return items

    def joined_features(self, context: Context, true: jax.Array, drawn: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The representations as they are, [..., 1, H] and [..., N, H]."""
        return true[..., None, :], drawn

    def score_all(self, query: jax.Array, context: Context, items: jax.Array) -> jax.Array:
        """One dense product serves all users: [B, H], [N, H] -> [B, N]."""
        return query @ items.T

    def represent(self, features: jax.Array, dtype: str = 'float32') -> jax.Array:
        """The features as they are."""
        return features

    def fold(self, query: jax.Array) -> tuple[jax.Array, jax.Array]:
        """The query as it is and a zero offset."""
        return query, jnp.zeros(query.shape[:-1])


class IdEncoder(UserIndependentEncoder):
    """A trained embedding per item id."""

    def setup(self) -> None:
        """Makes the parameters."""
        self.embedding = self.param('embedding', EMBEDDING_INIT, (self.spec.vocabulary, self.spec.hidden_size))

    def look_up(self, tables: FrozenVectors | None, ids: jax.Array, mesh: Mesh | None = None) -> jax.Array:
        """ids [...] -> [..., H]."""
        return take_rows(self.embedding, ids, mesh)

    def encode_items(self, looked_up: jax.Array, dtype: str = 'float32') -> jax.Array:
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

"""The items of a served model on the device, with room for new ones, and the frozen vectors behind them."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.distributed.frozen_vectors import FrozenVectors, padded_rows
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.distributed.vectors_on_host import fit_on_devices
from grasp_jax.models.attention import LEVELS
from grasp_jax.models.item_encoders import ITEM_BLOCK
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.user_context import NO_GATES
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.extension import Extension, identity
from grasp_jax.serving.proxy import usual_gates
from grasp_jax.serving.scoring import Arrays

ROOM = 256  # places for new items at first


class Catalogue:
    """What is scored.

    Attributes:
      model: the recommender, for as many items as there are places.
      arrays: on the device.
    """

    def __init__(self, assets: Assets, room: int = ROOM):
        """Moves the items to the device.

        Args:
          assets: of the model.
          room: places for new items; more are made when these are taken.

        Raises:
          UserError: the model is personal and its vectors do not fit the device.
        """
        self._assets = assets
        self.arrays: Arrays
        self._more: tuple[Extension, ...] = ()
        self._build(assets.spec.num_items + room)

    @property
    def count(self) -> int:
        """Items, new ones included."""
        return self._assets.spec.num_items + sum(len(some.own) for some in self._more)

    @property
    def places(self) -> int:
        """N."""
        return int(self.arrays.items.shape[0])

    @property
    def room(self) -> int:
        """New items that fit without compiling anew."""
        return self.places - self.count

    def vectors(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vectors and neighbours' means of items [c], float32 [c, E] each; the method reads texts."""
        return self._vectors(ids, self._more)

    def _vectors(self, ids: np.ndarray, more: tuple[Extension, ...]) -> tuple[np.ndarray, np.ndarray]:
        known = self._assets.vectors
        assert known is not None
        ids, first = np.asarray(ids, np.int64), self._assets.spec.num_items + 1
        found = []
        for table, new in ((known.items, [some.own for some in more]),
                           (known.items_similar, [some.similar for some in more])):
            rows = np.asarray(table[np.where(ids < first, ids, 0)], np.float32)
            later = ids >= first
            if later.any():
                rows[later] = np.concatenate(new)[ids[later] - first]
            found.append(rows)
        return found[0], found[1]

    def neighbours(self, item: int) -> np.ndarray:
        """int64 [k], ids of the items whose mean the model reads beside an item; empty where it reads no texts."""
        known, first = self._assets.vectors, self._assets.spec.num_items + 1
        if known is None:
            return np.zeros(0, np.int64)
        if item < first:
            return np.asarray(known.neighbours[item - 1], np.int64)
        return np.concatenate([some.neighbours for some in self._more])[item - first]

    def add(self, more: Extension) -> None:
        """Takes in new items behind those that are there."""
        if len(more.own) <= self.room:
            self.take(more, self.grown(more))
            return
        self._more = (*self._more, more)
        self._build(self.count + max(ROOM, self.count // 8))

    def take(self, more: Extension, arrays: Arrays) -> None:
        """Puts arrays that are `grown` by new items in the place of those that are there."""
        self._more, self.arrays = (*self._more, more), arrays

    def grown(self, more: Extension) -> Arrays:
        """The arrays with new items; there is room for them. Nothing changes until `take`."""
        before, everything = self.count, (*self._more, more)
        after = before + len(more.own)
        ids = np.arange(before + 1, after + 1)
        params = self._with_identity(self.arrays.params, more, before + 1)
        frozen = self.arrays.tables
        if frozen is not None:
            frozen = frozen._replace(items=_set_rows(frozen.items, ids, more.own),
                                     items_similar=_set_rows(frozen.items_similar, ids, more.similar))
        items, features = self._work(params, frozen, ids, everything)
        return Arrays(params, frozen, _set_rows(self.arrays.items, ids - 1, items),
                      jax.tree.map(lambda old, new: _set_rows(old, ids - 1, new), self.arrays.item_features, features),
                      jnp.asarray(after, jnp.int32))

    def _build(self, room: int) -> None:
        """Makes all arrays, for at least so many items."""
        places = -(-room // ITEM_BLOCK) * ITEM_BLOCK if room > ITEM_BLOCK else padded_rows(room)
        spec = dataclasses.replace(self._assets.spec, num_items=places)
        self.model = Recommender(spec)
        params = jax.tree.map(jnp.asarray, _with_rows(self._assets.params, padded_rows(places + 1)))
        first = self._assets.spec.num_items + 1
        for some in self._more:
            params, first = self._with_identity(params, some, first), first + len(some.own)
        frozen = None
        if spec.items_depend_on_user:
            frozen = self._frozen(places)
        self._gates = np.ones(LEVELS, np.float32)
        if frozen is not None:
            self._gates = usual_gates(self.model, params, frozen, self._assets.interactions)
        items, features = self._work(params, frozen, np.arange(1, self.count + 1), self._more)
        rest = places - self.count
        items, features = jax.tree.map(lambda field: _filled(field, rest), (items, features))
        self.arrays = Arrays(params, frozen, items, features, jnp.asarray(self.count, jnp.int32))

    def _frozen(self, places: int) -> FrozenVectors:
        """Tables on the device, for a personal model."""
        known = self._assets.vectors
        assert known is not None
        rows = padded_rows(places + 1)
        frozen = FrozenVectors(known.users, known.users_similar, known.items, known.items_similar)
        if not fit_on_devices(frozen, make_mesh((1, 1), jax.devices()[:1]), known.items.itemsize, True, keys_kept=True):
            raise UserError(f'{self._assets.source}: gates look at vectors of every item, and these do not fit this '
                            'device; use encode.dtype=float16, a smaller encode.width or '
                            'model.gate=none')
        items, similar = (_table(table, rows, [getattr(some, name) for some in self._more])
                          for table, name in ((known.items, 'own'), (known.items_similar, 'similar')))
        users, users_similar = (jnp.asarray(np.asarray(table)) for table in (known.users, known.users_similar))
        if not len(users):
            users = users_similar = jnp.zeros((1, items.shape[1]), items.dtype)
        return FrozenVectors(users, users_similar, items, similar)

    def _with_identity(self, params: Any, more: Extension, first: int) -> Any:
        """Parameters with the id embeddings of new items, where the method has such."""
        embedding = params['encoder'].get('embedding')
        if embedding is None:
            return params
        rows = identity(np.asarray(embedding), more)
        ids = np.arange(first, first + len(rows))
        return {**params, 'encoder': {**params['encoder'], 'embedding': _set_rows(embedding, ids, rows)}}

    def _work(self, params: Any, frozen: FrozenVectors | None, ids: np.ndarray,
              more: tuple[Extension, ...]) -> tuple[Any, Any]:
        """`items` and `features` of some ids, block by block."""
        found: list[tuple[jax.Array, Any]] = []
        gates = jnp.asarray(self._gates)
        size = min(8 * ITEM_BLOCK, padded_rows(len(ids)))
        for start in range(0, len(ids), size):
            some = ids[start:start + size]
            block = np.zeros(size, np.int32)
            block[:len(some)] = some
            given = frozen
            if frozen is None and self.model.spec.uses_vectors_in_forward:
                own, similar = self._vectors(block, more)
                no_users = jnp.zeros((1, own.shape[1]))
                given = FrozenVectors(no_users, no_users, jnp.asarray(own), jnp.asarray(similar), None,
                                      jnp.zeros(padded_rows(self.model.spec.num_items + 1), jnp.int32).at[block].set(
                                   jnp.arange(size, dtype=jnp.int32)))
            items, features = _block_work(self.model, params, given, jnp.asarray(block), gates)
            found.append(jax.tree.map(lambda field: field[:len(some)], (items, features)))  # noqa: B023 (used at once)
        joined: tuple[Any, Any] = jax.tree.map(lambda *fields: jnp.concatenate(fields), *found)
        return joined


def _table(table: np.ndarray, rows: int, more: list[np.ndarray]) -> jax.Array:
    """A table of so many rows on the device, new items behind those that are known."""
    found = np.zeros((rows, table.shape[1]), table.dtype)
    found[:len(table)] = table
    if more:
        new = np.concatenate(more)
        found[len(table):len(table) + len(new)] = new
    return jnp.asarray(found)


def _with_rows(params: Any, rows: int) -> Any:
    """Parameters whose id embeddings have so many rows."""
    embedding = params['encoder'].get('embedding')
    if embedding is None:
        return params
    grown = np.zeros((rows, embedding.shape[1]), embedding.dtype)
    grown[:len(embedding)] = embedding
    return {**params, 'encoder': {**params['encoder'], 'embedding': grown}}


@jax.jit
def _put(table: jax.Array, rows: jax.Array, values: jax.Array) -> jax.Array:
    return table.at[rows].set(values.astype(table.dtype), mode='drop')


def _set_rows(table: Any, rows: np.ndarray, values: Any) -> jax.Array:
    """A table with some rows changed; as few sizes as possible are compiled."""
    size = 2 ** max(4, math.ceil(math.log2(max(len(rows), 1))))
    where = np.full(size, table.shape[0], np.int32)
    where[:len(rows)] = rows
    return _put(table, jnp.asarray(where), _filled(jnp.asarray(values), size - len(rows)))


def _filled(rows: jax.Array, more: int) -> jax.Array:
    return jnp.pad(rows, ((0, more),) + ((0, 0),) * (rows.ndim - 1))


@functools.partial(jax.jit, static_argnums=(0,))
def _block_work(model: Recommender, params: Any, tables: FrozenVectors | None, ids: jax.Array,
                gates: jax.Array) -> tuple[jax.Array, Any]:
    """What is multiplied with states, [N, S], and of a personal model the items' features."""
    def call(model: Recommender) -> tuple[jax.Array, Any]:
        features = model.stored_catalogue(tables, ids)
        if model.spec.items_depend_on_user:
            return model.encoder.represent(model.gated_encoder.features_at(gates, features)), features
        return model.encoder.represent(model.encoder.pair_features(NO_GATES, features)), ()

    found: Any = model.apply({'params': params}, method=call)
    return found

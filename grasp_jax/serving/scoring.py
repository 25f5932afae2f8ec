"""Histories to scores, on the device: a few pure functions, each compiled once for every bucket of sizes.

B requests have histories of at most W items; the catalogue has N places, of which the first `known` hold items. Item
ids are 1..known, and place r holds item r + 1. Where items look alike to every user, an item is a vector r of the width
of a state o, and a score is o . r. Where gates make them personal, the same product with every gate held at its usual
value is the proxy that finds candidates, which are then scored exactly.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.batching.batches import LastPositions, PackedRows
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Inputs, Recommender
from grasp_jax.models.user_context import NO_GATES, Context
from grasp_jax.ranking.ties import rank_in_all

_USERS_IN_CACHE = 8  # on a CPU, users whose candidates are scored together


class Arrays(NamedTuple):
    """All that requests are scored with, on the device.

    Attributes:
      params: of the model.
      tables: frozen vectors where the model is personal, else None.
      items: [N, S], what is multiplied with a state; of personal items the proxy.
      item_features: the item encoder's work on each place where the model is personal, else ().
      known: int32 scalar, places that hold an item.
    """

    params: Any
    tables: FrozenVectors | None
    items: jax.Array
    item_features: Any
    known: jax.Array


class Asked(NamedTuple):
    """What a batch of requests may be answered with.

    Attributes:
      left_out: int32 [B, X], item ids that are not recommended, 0 is none.
      allowed: bool [N] or [B, N], places that may be recommended; None: all.
    """

    left_out: jax.Array | np.ndarray
    allowed: jax.Array | np.ndarray | None = None


def as_inputs(history: jax.Array, mask_slots: int) -> Inputs:
    """Histories int32 [B, W], oldest first from column 0 and 0 behind, as rows of one user each."""
    rows = history.shape[0]  # len() takes no symbolic size, as of an export
    length = jnp.sum(history > 0, -1)
    items = jnp.pad(history, ((0, 0), (0, mask_slots)))
    place = jnp.arange(items.shape[1])[None]
    inside = place < (length + mask_slots)[:, None]
    segment = jnp.where(inside, jnp.arange(1, rows + 1)[:, None], 0)
    ends = LastPositions(jnp.arange(rows), jnp.maximum(length - 1 + mask_slots, 0), jnp.ones(rows, jnp.int32))
    return Inputs(PackedRows(items, segment, jnp.where(inside, place, 0)), inside & (items == 0), ends)


@functools.partial(jax.jit, static_argnums=(0,))
def states(model: Recommender, arrays: Arrays, history: jax.Array, users: jax.Array) -> tuple[jax.Array, Context]:
    """States [B, S] behind histories [B, W], and what the gates see of the users.

    Args:
      model, arrays: what is asked.
      history: int32 [B, W], as in `as_inputs`.
      users: int32 [B], rows of the users' tables where the gates read them.
    """
    inputs = as_inputs(history, model.spec.mask_slots)

    def call(model: Recommender) -> tuple[jax.Array, Context]:
        context = NO_GATES
        if model.spec.items_depend_on_user:
            read, _, context = model.represent_rows(arrays.tables, users, inputs.packed, inputs.masked)
        else:
            read = arrays.items[jnp.maximum(inputs.packed.items - 1, 0)]
            if model.spec.masks_inputs:
                read = jnp.where(inputs.masked[..., None], model.mask_vector[None, None], read)
        found = model.run_backbone(read, inputs.packed, train=False, ends=inputs.ends)
        return found, jax.tree.map(inputs.ends.pick, context)

    found: Any = model.apply({'params': arrays.params}, method=call)
    return found


@functools.partial(jax.jit, static_argnums=(0,))
def scores(model: Recommender, arrays: Arrays, states: jax.Array, context: Context, asked: Asked) -> jax.Array:
    """Exact scores of all places, [B, N]; -inf where nothing may be recommended."""
    return _masked(_exact(model, arrays, states, context, asked), arrays, asked)


@functools.partial(jax.jit, static_argnums=(0, 1))
def best(model: Recommender, k: int, arrays: Arrays, states: jax.Array, context: Context,
         asked: Asked) -> tuple[jax.Array, jax.Array]:
    """The k best places by exact scores, ties by the smaller: scores [B, k] and item ids [B, k], 0 where there are no
    more."""
    return _top(_masked(_exact(model, arrays, states, context, asked), arrays, asked), k)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def best_of_candidates(model: Recommender, k: int, candidates: int, arrays: Arrays, states: jax.Array, context: Context,
                       asked: Asked) -> tuple[jax.Array, jax.Array]:
    """As `best`, among so many candidates that the proxy finds."""
    _, ids = _top(_masked(states @ arrays.items.T, arrays, asked), candidates)
    return _among(model, k, arrays, states, context, ids)


@functools.partial(jax.jit, static_argnums=(0, 1))
def best_among(model: Recommender, k: int, arrays: Arrays, states: jax.Array, context: Context,
               ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    """As `best`, among given item ids int32 [B, C], 0 is none."""
    return _among(model, k, arrays, states, context, ids)


@functools.partial(jax.jit, static_argnums=(0,))
def similar(k: int, arrays: Arrays, items: jax.Array, asked: Asked) -> tuple[jax.Array, jax.Array]:
    """As `best`, by the cosine of `arrays.items` with items int32 [B]."""
    unit = arrays.items / jnp.maximum(jnp.linalg.norm(arrays.items, axis=1, keepdims=True), 1e-12)
    return _top(_masked(unit[jnp.maximum(items - 1, 0)] @ unit.T, arrays, asked), k)


@functools.partial(jax.jit, static_argnums=(0,))
def ranks(model: Recommender, arrays: Arrays, states: jax.Array, context: Context, targets: jax.Array,
          left_out: jax.Array) -> jax.Array:
    """Rank [B] of each target id among all items but those left out, ties counting half."""
    nothing = Asked(jnp.zeros((len(targets), 1), jnp.int32))
    found = _masked(_exact(model, arrays, states, context, Asked(left_out)), arrays, nothing)
    return rank_in_all(found, targets, left_out, arrays.items.shape[0])  # empty places are behind every target


def _exact(model: Recommender, arrays: Arrays, states: jax.Array, context: Context, asked: Asked) -> jax.Array:
    if not model.spec.items_depend_on_user:
        return states @ arrays.items.T
    if model.spec.gate == 'softmax':  # its candidates are all that may be recommended
        there = _there(arrays, asked, len(states))
        normaliser: Any = model.apply({'params': arrays.params}, context, arrays.item_features, there,
                                      method=Recommender.log_normaliser)
        context = context._replace(log_normaliser=normaliser)
    found: Any = model.apply({'params': arrays.params}, states, context, arrays.item_features,
                             method=Recommender.score_all)
    return jnp.asarray(found)


def _among(model: Recommender, k: int, arrays: Arrays, states: jax.Array, context: Context,
           ids: jax.Array) -> tuple[jax.Array, jax.Array]:
    def of_user(user: tuple[jax.Array, Context, jax.Array]) -> jax.Array:
        state, opening, chosen = user
        place = jnp.maximum(chosen - 1, 0)
        if not model.spec.items_depend_on_user:
            return arrays.items[place] @ state
        features = jax.tree.map(lambda field: field[place], arrays.item_features)
        found: Any = model.apply({'params': arrays.params}, state, opening, features, method=Recommender.score)
        return jnp.asarray(found)

    found = jax.lax.map(of_user, (states, context, ids), batch_size=min(_USERS_IN_CACHE, len(states)))
    order = jnp.argsort(ids, axis=1)  # ties by the smaller id
    ids = jnp.take_along_axis(ids, order, axis=1)
    found = jnp.where(ids > 0, jnp.take_along_axis(found, order, axis=1), -jnp.inf)
    found, columns = jax.lax.top_k(found, k)
    return found, jnp.where(found > -jnp.inf, jnp.take_along_axis(ids, columns, axis=1), 0)


def _there(arrays: Arrays, asked: Asked, rows: int) -> jax.Array:
    """bool [B, N], places that may be recommended."""
    places = arrays.items.shape[0]
    there = (jnp.arange(places) < arrays.known)[None]
    if asked.allowed is not None:
        there = there & (asked.allowed if asked.allowed.ndim > 1 else asked.allowed[None])
    there = jnp.broadcast_to(there, (rows, places))
    return there.at[jnp.arange(rows)[:, None], asked.left_out - 1].set(False, mode='drop', wrap_negative_indices=False)


def _masked(found: jax.Array, arrays: Arrays, asked: Asked) -> jax.Array:
    return jnp.where(_there(arrays, asked, len(found)), found, -jnp.inf)


def _top(found: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    found = jax.lax.optimization_barrier(found)  # else the mask is worked out again inside: 59 ms instead of 40
    found, places = jax.lax.top_k(found, k)
    return found, jnp.where(found > -jnp.inf, places + 1, 0).astype(jnp.int32)

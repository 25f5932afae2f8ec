"""Forward passes of an evaluation: what is done once for all items, once for each user, and once for all epochs."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.batching import batches
from grasp_jax.distributed.sharding import split_table, split_users
from grasp_jax.models.inputs import DeviceData, input_rows
from grasp_jax.models.item_encoders import ITEM_BLOCK
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.user_context import Context

# On a CPU: users whose candidates are scored together.
_USERS_IN_CACHE = 8
# Rows of tables that may be copied at once.
_ROWS_TOGETHER = 1 << 16


@functools.partial(jax.jit, static_argnums=(0, 1))
def item_features(model: Recommender, mesh: Mesh, params: Any, data: DeviceData) -> Any:
    """The item encoder's work on items 1..m, once per evaluation; filled up with the padding item so that every
    device can rank an equal share in whole blocks."""
    count, devices = model.spec.num_items, mesh.size
    share = -(-count // devices)
    share = -(-share // ITEM_BLOCK) * ITEM_BLOCK if share > ITEM_BLOCK else share
    places = share * devices
    ids = jnp.where(jnp.arange(places) < count, jnp.arange(1, places + 1), 0)

    def work(ids: jax.Array) -> Any:
        return model.apply({'params': params}, data.tables, ids, method=Recommender.stored_catalogue)

    # Block by block, so that no copy of all E-wide rows is made; a table that devices share is gathered anyway.
    if places <= _ROWS_TOGETHER or places % ITEM_BLOCK or mesh.shape['model'] > 1:
        return split_table(work(ids), mesh)
    blocks = jax.lax.map(work, ids.reshape(-1, ITEM_BLOCK))
    return split_table(jax.tree.map(lambda field: field.reshape(places, *field.shape[2:]), blocks), mesh)


def user_states(model: Recommender, mesh: Mesh, num_rows: int, params: Any, data: DeviceData,
                placement: batches.RowPlacement) -> tuple[jax.Array, Context]:
    """States and gate contexts that predict what follows each user's input: [B, H], [B, ?]."""
    packed, masked, ends = input_rows(model.spec, mesh, data.items, placement, num_rows)
    encoded: Any = model.apply({'params': params}, data.tables, placement.user, packed, masked, train=False)
    return ends.pick(encoded.states), jax.tree.map(ends.pick, encoded.context)


def known_states(model: Recommender, mesh: Mesh, num_rows: int, params: Any, data: DeviceData,
                 placement: batches.RowPlacement, features: Any, context: Context) -> jax.Array:
    """The states [B, H] of `user_states`, without looking at the E-wide vectors.

    Args:
      model, mesh, num_rows, params, data, placement: as there.
      features: `item_features`.
      context: the `gate_scores` of the rows' items, or nothing where there are no gates.
    """
    packed, masked, ends = input_rows(model.spec, mesh, data.items, placement, num_rows)
    states: Any = model.apply({'params': params}, of_items(features, packed.items), context, packed, masked,
                              method=Recommender.known_states)
    return ends.pick(states)


def of_items(features: Any, ids: jax.Array) -> Any:
    """Of `item_features` those of items [...]; what stands for id 0 is not to be used."""
    return jax.tree.map(lambda field: field[jnp.maximum(ids - 1, 0)], features)


class GateScores(NamedTuple):
    """The arguments of the gates in a batch, for three levels.

    Attributes:
      rows: [R, W, 3], of the rows' items, as the model reads them.
      candidates: [B, N, 3].
    """

    rows: jax.Array
    candidates: jax.Array


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def gate_scores(model: Recommender, mesh: Mesh, num_rows: int, params: Any, data: DeviceData,
                placement: batches.RowPlacement, candidates: jax.Array) -> GateScores:
    """The arguments of the gates for each user's input and candidates [B, N].

    With `ModelSpec.gate_scores_are_constant` they depend on frozen vectors alone, so that a later epoch need not read
    the E-wide rows of all inputs and candidates again.
    """
    def share(known: tuple[Any, Any], users: tuple[Any, jax.Array]) -> jax.Array:
        def of_user(user: tuple[Any, jax.Array]) -> jax.Array:
            opening, ids = user
            found: Any = model.apply({'params': known[0]}, known[1], opening, ids, method=Recommender.gate_scores)
            return found

        scores: jax.Array = jax.lax.map(of_user, users, batch_size=users_at_once(mesh, len(users[1])))
        return scores

    packed, masked, ends = input_rows(model.spec, mesh, data.items, placement, num_rows)
    rows, context = model.apply({'params': params}, data.tables, placement.user, packed, masked,
                                method=Recommender.row_scores)
    split_inputs = jax.tree.map(ends.pick, context), candidates
    scores: jax.Array = split_users(share, mesh)((params, data.tables), split_inputs)
    return GateScores(rows, scores)


def users_at_once(mesh: Mesh, users: int) -> int:
    """Of a batch's users, how many are scored together: few on a CPU, where caches matter, elsewhere all."""
    return min(_USERS_IN_CACHE, users) if mesh.devices.flat[0].platform == 'cpu' else users

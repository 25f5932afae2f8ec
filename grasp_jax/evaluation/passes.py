"""Forward passes of an evaluation: what is done once for all items, once for each user, and once for all epochs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.data import batches
from grasp_jax.models.item_encoders import ITEM_BLOCK
from grasp_jax.models.recommender import Recommender
from grasp_jax.training.sharding import split_rows, split_table, split_users
from grasp_jax.training.step import Data

# On a CPU: users whose candidates are scored together.
_USERS_IN_CACHE = 8
# Rows of tables that may be copied at once.
_ROWS_TOGETHER = 1 << 16


@functools.partial(jax.jit, static_argnums=(0, 1))
def item_parts(model: Recommender, mesh: Mesh, params: Any, data: Data) -> Any:
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


def user_states(model: Recommender, mesh: Mesh, num_rows: int, params: Any, data: Data,
                placement: batches.Placement) -> tuple[jax.Array, Any]:
    """States and gate contexts that predict what follows each user's input: [B, H], [B, ?]."""
    spec = model.spec
    appended = 0 if spec.causal else 1
    packed = split_rows(batches.pack_rows(data.items, placement, num_rows, spec.row_width, appended), mesh)
    masked = (packed.items == 0) & (packed.segment > 0)
    encoded: Any = model.apply({'params': params}, data.tables, placement.user, packed, masked, train=False)
    ends = batches.ends(placement, appended)
    return ends.pick(encoded.states), jax.tree.map(ends.pick, encoded.context)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def gate_scores(model: Recommender, mesh: Mesh, num_rows: int, params: Any, data: Data, placement: batches.Placement,
                candidates: jax.Array) -> jax.Array:
    """Level scores [B, N, 3] of each user's candidates [B, N], the arguments of the gates.

    With `ModelSpec.fixed_scores` they depend on frozen vectors alone, so that a later epoch need not read the E-wide
    rows of all candidates again.
    """
    def share(known: tuple[Any, Any], users: tuple[Any, jax.Array]) -> jax.Array:
        def of_user(user: tuple[Any, jax.Array]) -> jax.Array:
            opening, ids = user
            found: Any = model.apply({'params': known[0]}, known[1], opening, ids, method=Recommender.gate_scores)
            return found

        scores: jax.Array = jax.lax.map(of_user, users, batch_size=users_at_once(mesh, len(users[1])))
        return scores

    _, context = user_states(model, mesh, num_rows, params, data, placement)
    scores: jax.Array = split_users(share, mesh)((params, data.tables), (context, candidates))
    return scores


def users_at_once(mesh: Mesh, users: int) -> int:
    """Of a batch's users, how many are scored together: few on a CPU, where caches matter, elsewhere all."""
    return min(_USERS_IN_CACHE, users) if mesh.devices.flat[0].platform == 'cpu' else users

"""The mesh, and how states, tables and batches are put on it (specs: `models.partition`)."""

import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding

from grasp_jax.common.errors import UserError
from grasp_jax.distributed.frozen_vectors import ROW_MULTIPLE, FrozenVectors, padded_rows
from grasp_jax.distributed.partition import AXES, BOTH_AXES, REPLICATED, TABLE, USERS

# Parameters that are tables; all others are replicated.
_TABLE_PARAMETERS = ('embedding',)


def make_mesh(shape: tuple[int, int], devices: list[jax.Device] | None = None) -> Mesh:
    """A ('data', 'model') mesh; -1 in `shape` takes the devices that are left.

    Raises:
      UserError: the shape does not fit the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    known = math.prod(size for size in shape if size != -1)
    full = tuple(len(devices) // max(known, 1) if size == -1 else size for size in shape)
    if math.prod(full) != len(devices) or min(full) < 1:
        raise UserError(f'train.mesh={tuple(shape)}: does not fit {len(devices)} devices; use (-1, 1)')
    if ROW_MULTIPLE % full[1]:
        raise UserError(f'train.mesh={tuple(shape)}: tables cannot be split over {full[1]} devices; use a power '
                        f'of 2 up to {ROW_MULTIPLE}')
    # Linen modules fail under explicit axis types.
    kinds = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh(full, AXES, axis_types=kinds, devices=devices)


def split_rows(tree: Any, mesh: Mesh) -> Any:
    """Constrains a batch's [R, ...] arrays to be split by rows, inside jit."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, BOTH_AXES))


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """NamedSharding of every array of a train state (or its shapes), by parameter name."""
    def sharding(path: tuple[Any, ...], _: Any) -> NamedSharding:
        name = getattr(path[-1], 'key', None) if path else None
        return _by_rows(mesh) if name in _TABLE_PARAMETERS else NamedSharding(mesh, REPLICATED)

    return jax.tree_util.tree_map_with_path(sharding, state)


def put_tables(tables: FrozenVectors, mesh: Mesh, users_needed: bool, dtype: np.dtype) -> FrozenVectors:
    """Moves the frozen tables to the devices, split by rows.

    Args:
      tables: [n, E] and [m + 1, E] arrays.
      mesh: devices.
      users_needed: whether the model reads users' vectors; else those tables arrive empty.
      dtype: in which they lie there.
    """
    users = (tables.users, tables.users_similar) if users_needed else (tables.users[:0], tables.users_similar[:0])
    return FrozenVectors(*(put_rows(table, padded_rows(len(table)), mesh, dtype)
                           for table in (*users, tables.items, tables.items_similar)))


def put_rows(table: Any, places: int, mesh: Mesh, dtype: np.dtype, chosen: np.ndarray | None = None) -> jax.Array:
    """Moves a table, or some rows of it, to the devices, split by rows; a process reads those of its own devices.

    Args:
      table: [r, E], possibly memory-mapped.
      places: rows on the devices, at least as many as are moved and a multiple of the axis 'model'; the rest is zero.
      mesh: devices.
      dtype: in which they lie there.
      chosen: int, the rows to move; None: all.
    """
    def rows(index: tuple[slice, ...] | None) -> np.ndarray:
        assert index is not None
        start, stop, _ = index[0].indices(places)
        part = np.zeros((stop - start, table.shape[1]), dtype)
        there = table[start:stop] if chosen is None else table[chosen[start:stop]]
        part[:len(there)] = there
        return part

    return jax.make_array_from_callback((places, table.shape[1]), _by_rows(mesh), rows)


def table_shapes(tables: Any, mesh: Mesh) -> Any:
    """How tables (or their shapes) lie on the devices, without any data."""
    return _laid_out(tables, jax.tree.map(lambda _: _by_rows(mesh), tables))


def state_shapes(state: Any, mesh: Mesh) -> Any:
    """How a train state (or its shapes) lies on the devices, without any data."""
    return _laid_out(state, state_shardings(state, mesh))


def _laid_out(tree: Any, shardings: Any) -> Any:
    return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), tree,
                        shardings)


def table_mesh(mesh: Mesh) -> Mesh | None:
    """`ModelSpec.table_mesh`: the mesh where tables are split over it, None where every device has whole ones."""
    return mesh if mesh.shape['model'] > 1 else None


def _by_rows(mesh: Mesh) -> NamedSharding:
    """How tables lie. JAX calls a split over one device none, and compiles anew for an array under its other name."""
    return NamedSharding(mesh, TABLE if mesh.shape['model'] > 1 else REPLICATED)


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Moves arrays to all devices, whole; every process has the same ones."""
    sharding = NamedSharding(mesh, REPLICATED)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(field: Any) -> jax.Array:
        return jax.make_array_from_callback(np.shape(field), sharding, lambda index: np.asarray(field)[index])

    return jax.tree.map(put, tree)


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Constrains results to lie on every device, so that every process can read them, inside jit."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, REPLICATED))


def split_table(tree: Any, mesh: Mesh) -> Any:
    """Constrains tables [rows, ...] to lie as the frozen ones do, inside jit."""
    return jax.lax.with_sharding_constraint(tree, _by_rows(mesh))


def split_users(program: Callable[..., Any], mesh: Mesh) -> Callable[..., Any]:
    """A program(known, of_users) that devices run on their own users: `of_users` and what it returns are trees of
    arrays [B, ...], `known` is the same for all. Devices that share a table do the same users."""
    return jax.shard_map(program, mesh=mesh, in_specs=(REPLICATED, USERS), out_specs=USERS, axis_names={'data'},
                         check_vma=False)

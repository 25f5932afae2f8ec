"""The mesh and every partition spec of the program.

Axis 'data' splits batches (packed rows), axis 'model' splits the rows of item and user tables.
"""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from grasp_jax.errors import UserError
from grasp_jax.models.spec import Tables, padded_rows

ROWS = PartitionSpec('data')  # packed rows [R, W] and everything per position
TABLE = PartitionSpec('model')  # tables [rows, width]
REPLICATED = PartitionSpec()
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
        raise UserError(f'config.train.mesh={tuple(shape)}: does not fit {len(devices)} devices; use (-1, 1)')
    # Linen modules fail under explicit axis types.
    kinds = (jax.sharding.AxisType.Auto,) * 2
    return jax.make_mesh(full, ('data', 'model'), axis_types=kinds, devices=devices)


def split_rows(tree: Any, mesh: Mesh) -> Any:
    """Constrains a batch's [R, ...] arrays to be split by rows, inside jit."""
    return jax.lax.with_sharding_constraint(tree, NamedSharding(mesh, ROWS))


def state_shardings(state: Any, mesh: Mesh) -> Any:
    """NamedSharding of every array of a train state (or its shapes), by parameter name."""
    def sharding(path: tuple[Any, ...], _: Any) -> NamedSharding:
        name = getattr(path[-1], 'key', None) if path else None
        return _by_rows(mesh) if name in _TABLE_PARAMETERS else NamedSharding(mesh, REPLICATED)

    return jax.tree_util.tree_map_with_path(sharding, state)


def put_tables(tables: Tables, mesh: Mesh, users_needed: bool, dtype: np.dtype) -> Tables:
    """Moves the frozen tables to the devices, split by rows.

    Args:
      tables: [n, E] and [m + 1, E] arrays.
      mesh: devices.
      users_needed: whether the model reads users' vectors; else those tables arrive empty.
      dtype: in which they lie there.
    """
    def put(table: Any) -> jax.Array:
        filled = np.zeros((padded_rows(len(table)), table.shape[1]), dtype)
        filled[:len(table)] = table
        return put_rows(filled, mesh)

    users = (tables.users, tables.users_similar) if users_needed else (tables.users[:0], tables.users_similar[:0])
    return Tables(*map(put, (*users, tables.items, tables.items_similar)))


def put_rows(table: np.ndarray, mesh: Mesh) -> jax.Array:
    """Moves a table to the devices, split by rows; their number must be a multiple of the axis 'model'."""
    return jax.device_put(table, _by_rows(mesh))


def _by_rows(mesh: Mesh) -> NamedSharding:
    """How tables lie. JAX calls a split over one device none, and compiles anew for an array under its other name."""
    return NamedSharding(mesh, TABLE if mesh.shape['model'] > 1 else REPLICATED)


def put_replicated(tree: Any, mesh: Mesh) -> Any:
    """Moves arrays to all devices, whole."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))

"""How arrays lie on a mesh: every partition spec of the program, and the look-up of rows that lie elsewhere.

The mesh has two axes. Packed rows and all that is computed on them are split over both: every device has its own users.
Tables are split by rows over 'model' and repeated along 'data': (-1, 1) gives every device whole tables, (1, -1) splits
them over all devices, and in between devices of a group, which should be close to each other, share a table.
"""

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec

AXES = ('data', 'model')
BOTH_AXES = PartitionSpec(AXES)  # packed rows [R, ...], users or items that every device has a share of
USERS = PartitionSpec('data')  # users whose group of devices does them together
TABLE = PartitionSpec('model')  # tables [rows, width]
REPLICATED = PartitionSpec()


def take_rows(table: jax.Array, rows: jax.Array, mesh: Mesh | None) -> jax.Array:
    """table[rows], where a table is split over the axis 'model' and `rows` over all devices.

    The devices of a group ask each other: each gathers, from its share of the table, what any of the group asks for,
    and zeros for the rest; the sums are scattered back to who asked. A device sends (M - 1) times the bytes of the rows
    that it asks for, M devices a group, however many groups there are.

    Args:
      table: [r, E], r a multiple of the axis 'model'.
      rows: int [R, ...], R a multiple of the number of devices.
      mesh: devices; None: the table is whole everywhere.

    Returns:
      [R, ..., E], split as `rows`.
    """
    if mesh is None:
        return table[rows]

    def ask(share: jax.Array, rows: jax.Array) -> jax.Array:
        asked = jax.lax.all_gather(rows, 'model', tiled=True)
        place = asked - jax.lax.axis_index('model') * len(share)
        here = (place >= 0) & (place < len(share))
        found = jnp.where(here[..., None], share[jnp.where(here, place, 0)], 0)
        return jax.lax.psum_scatter(found, 'model', scatter_dimension=0, tiled=True)

    return jax.shard_map(ask, mesh=mesh, in_specs=(TABLE, BOTH_AXES), out_specs=BOTH_AXES)(table, rows)

"""Tables too large for the devices: they stay memory-mapped on the host, and rows travel when they are needed."""

import os

import numpy as np
from jax.sharding import Mesh

from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import put_replicated, put_rows

# Share of a device's memory that tables may take when the program decides where they live.
_SHARE = 0.75


class HostVectors:
    """The frozen tables of a run, as memory-mapped arrays, and the way of their rows to the devices."""

    def __init__(self, tables: FrozenVectors, mesh: Mesh, users_needed: bool, dtype: np.dtype):
        """Keeps hold of the tables.

        Args:
          tables: [n, E] and [m + 1, E] arrays, usually memory-mapped.
          mesh: where rows go.
          users_needed: whether the model reads users' vectors.
          dtype: in which rows travel and lie on the devices.
        """
        self._tables, self._mesh, self._users_needed, self._dtype = tables, mesh, users_needed, dtype

    @property
    def row_bytes(self) -> int:
        """Bytes of an entity's two rows."""
        return 2 * self._tables.items.shape[1] * self._dtype.itemsize

    def fetch(self, items: np.ndarray, users: np.ndarray, item_places: int, user_places: int) -> FrozenVectors:
        """Brings the rows of some entities to the devices.

        Args:
          items: int [...], item ids, repeats welcome.
          users: int [...], users.
          item_places, user_places: rows that the small tables get, which fixes the shape that programs are compiled
            for; at least the number of different ids.

        Returns:
          small tables, with `item_slots` and `user_slots` that say where an id's row is.
        """
        full = self._tables
        known, slots = _numbered(np.append(items, 0), len(full.items))  # padding is always there
        people, user_slots = _numbered(users if self._users_needed else users[:0], len(full.users))
        wanted = ((full.users, people, user_places), (full.users_similar, people, user_places),
                  (full.items, known, item_places), (full.items_similar, known, item_places))
        rows = [put_rows(table, places, self._mesh, self._dtype, ids) for table, ids, places in wanted]
        user_slots, slots = put_replicated((user_slots, slots), self._mesh)
        return FrozenVectors(rows[0], rows[1], rows[2], rows[3], user_slots, slots)

def _numbered(ids: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The different ids in order, and int32 [count] the place of each among them (0 for the others)."""
    different = np.unique(ids)
    slots = np.zeros(count, np.int32)
    slots[different] = np.arange(len(different))
    return different, slots


def fit_on_devices(tables: FrozenVectors, mesh: Mesh, itemsize: int, users_needed: bool, keys_kept: bool) -> bool:
    """Whether the tables, and what an evaluation adds to them, take at most three quarters of a device's memory.

    With `keys_kept` it keeps the items' vectors once more, for the gates. Where devices share tables it also gathers
    them whole for a moment, on every device.
    """
    items = itemsize * (tables.items.size + tables.items_similar.size)
    users = itemsize * (tables.users.size + tables.users_similar.size) if users_needed else 0
    sharing = mesh.shape['model']
    size = ((1 + keys_kept) * items + users) / sharing + (items if sharing > 1 else 0)
    stats = mesh.local_devices[0].memory_stats() or {}
    memory = stats.get('bytes_limit')
    if memory is None:  # a CPU
        return size <= _SHARE * os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
    return size <= _SHARE * memory

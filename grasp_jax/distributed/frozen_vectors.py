"""The frozen vectors as models read them, and how many rows a table has so that every mesh can split it."""

from typing import NamedTuple

import jax
import numpy as np

# Tables get a multiple of this many rows, so that any mesh can split them evenly.
ROW_MULTIPLE = 128


class FrozenVectors(NamedTuple):
    """The frozen LLM vectors of Eq. 2. Never trained, never in a checkpoint.

    Attributes:
      users, users_similar: [n, E], U and the mean of each user's neighbours.
      items, items_similar: [m + 1, E], I and the mean of each item's neighbours; row 0 is zero.
      user_slots, item_slots: int32 [n], [m + 1], the row of each id where the tables hold a few rows only; None where
        an id is its own row. Rows of ids that are not there must not be asked for.
    """

    users: jax.Array | np.ndarray
    users_similar: jax.Array | np.ndarray
    items: jax.Array | np.ndarray
    items_similar: jax.Array | np.ndarray
    user_slots: jax.Array | None = None
    item_slots: jax.Array | None = None


def padded_rows(rows: int) -> int:
    """`rows` rounded up to a multiple of `ROW_MULTIPLE`."""
    return -(-rows // ROW_MULTIPLE) * ROW_MULTIPLE

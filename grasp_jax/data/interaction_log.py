"""The interaction log: who touched what and when, row by row, as a source file tells it."""

import collections.abc
import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class InteractionLog:
    """Rows of a source file in file order, ids replaced by numbers.

    Attributes:
      users: int32 [r], values index `user_ids`.
      items: int32 [r], values index `item_ids`.
      times: int64 or float64 [r], any unit that grows with time.
      user_ids: id strings, sorted, so that the numbering does not depend on the order of the rows.
      item_ids: likewise for items.
    """

    users: np.ndarray
    items: np.ndarray
    times: np.ndarray
    user_ids: list[str]
    item_ids: list[str]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray) -> 'InteractionLog':
        """The rows that a mask or an index array selects; the ids keep their numbers."""
        return dataclasses.replace(self, users=self.users[rows], items=self.items[rows], times=self.times[rows])

    def compact(self) -> 'InteractionLog':
        """The same rows without the ids that no row uses; the others keep their order."""
        items, item_ids = _compact(self.items, self.item_ids)
        return dataclasses.replace(self.compact_users(), items=items, item_ids=item_ids)

    def compact_users(self) -> 'InteractionLog':
        """The same rows without the user ids that no row uses."""
        users, user_ids = _compact(self.users, self.user_ids)
        return dataclasses.replace(self, users=users, user_ids=user_ids)


def from_codes(users: np.ndarray, items: np.ndarray, times: np.ndarray, user_ids: list[str],
               item_ids: list[str], key: collections.abc.Callable[[str], Any] = str) -> InteractionLog:
    """Builds a log from numbers given in order of appearance.

    Args:
      users: integers [r] into `user_ids`.
      items: integers [r] into `item_ids`.
      times: numbers [r].
      user_ids: distinct ids in any order.
      item_ids: distinct ids in any order.
      key: ids are sorted by `key(id)`; `int` keeps the numeric order of numbered ids.
    """
    users, user_ids = _sort(users, user_ids, key)
    items, item_ids = _sort(items, item_ids, key)
    return InteractionLog(users, items, np.asarray(times), user_ids, item_ids)


def _sort(codes: np.ndarray, ids: list[str], key: collections.abc.Callable[[str], Any]) -> tuple[np.ndarray, list[str]]:
    order = sorted(range(len(ids)), key=ids.__getitem__ if key is str else lambda index: key(ids[index]))
    rank = np.empty(len(ids), np.int32)
    rank[order] = np.arange(len(ids), dtype=np.int32)
    return rank[codes], [ids[index] for index in order]


def _compact(codes: np.ndarray, ids: list[str]) -> tuple[np.ndarray, list[str]]:
    used = np.bincount(codes, minlength=len(ids)) > 0
    return (np.cumsum(used) - 1)[codes].astype(np.int32), [ids[index] for index in np.flatnonzero(used)]

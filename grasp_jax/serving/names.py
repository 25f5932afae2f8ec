"""Ids of the person's own files and the numbers that the model knows them by."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.data import spellings
from grasp_jax.serving.assets import Assets
from grasp_jax.texts.prompts import clean

_SHOWN = 80  # characters of an id in an error


class Unknown(UserError):
    """A user or an item is not known to the model."""


class Names:
    """Who is who.

    Attributes:
      users: n ids; row r of the users' tables is `users[r]`.
      items: ids, new ones last; item number i is `items[i - 1]`.
    """

    def __init__(self, known: Assets):
        """Takes the ids of opened assets."""
        self._assets = known
        self.users: Sequence[str] = known.user_ids
        self.items: list[str] = list(known.item_ids)
        self._users = {identity: row for row, identity in enumerate(self.users)}
        self._items = {identity: row + 1 for row, identity in enumerate(self.items)}
        self._more: list[dict[str, Any]] = []

    def __contains__(self, item: str) -> bool:
        return item in self._items

    def rows(self, users: Sequence[Any]) -> tuple[list[int], list[str]]:
        """Rows of the users' tables, and the ids as text.

        Raises:
          Unknown: names the first user that is not known.
        """
        names = [text(user) for user in users]
        unknown = [name for name in names if name not in self._users]
        if unknown:
            raise Unknown(f'user {unknown[0][:_SHOWN]!r}: is not known ({len(unknown)} of {len(names)} are not); give '
                          'the history instead')
        return [self._users[name] for name in names], names

    def numbers(self, items: Sequence[Any], where: str) -> np.ndarray:
        """int32, the numbers of items.

        Args:
          items: ids.
          where: what errors call the list.

        Raises:
          Unknown: names the first item that is not known.
          UserError: a text is given in place of a list.
        """
        if isinstance(items, str):
            raise UserError(f'{where}: is the text {items[:_SHOWN]!r}; give a list of ids')
        names = [text(item) for item in items]
        try:
            return np.array([self._items[name] for name in names], np.int32)
        except KeyError:
            unknown = [name for name in names if name not in self._items]
            raise Unknown(f'{where}: item {unknown[0][:_SHOWN]!r} is not known ({len(unknown)} of {len(names)} are '
                          'not); leave it out, or add it by its text') from None

    def add(self, records: Sequence[tuple[str, dict[str, Any]]]) -> None:
        """Takes in new items, ids and attributes, behind those that are there."""
        for identity, attributes in records:
            self.items.append(identity)
            self._more.append(attributes)
            self._items[identity] = len(self.items)
            if '_spellings' in vars(self):
                self._spellings.add(identity)

    def require_new(self, items: Sequence[str]) -> None:
        """Refuses ids of new items that are known, or may be known ones written otherwise.

        Raises:
          UserError: names the first, and what it meets.
        """
        fresh = spellings.KnownIds([])
        for item in items:
            if item in self:
                raise UserError(f'new item {item[:_SHOWN]!r}: is known already; leave it out, or give it an id of its '
                                'own')
            known, twin = self._spellings.meeting(item), fresh.meeting(item)
            if known or twin:
                raise UserError(f'new item {item[:_SHOWN]!r}: {(known or twin or "")[:_SHOWN]!r} is '
                                f'{"known" if known else "new as well"}, and they differ only in {spellings.WAYS}; if '
                                'it is the same item, write its id alike, else give it an id that differs in more')
            fresh.add(item)

    @functools.cached_property
    def _spellings(self) -> spellings.KnownIds:
        return spellings.KnownIds(self.items)

    @property
    def added(self) -> list[tuple[str, dict[str, Any]]]:
        """Ids and attributes of the new items."""
        return list(zip(self.items[len(self.items) - len(self._more):], self._more, strict=True))

    def describe(self, number: int) -> tuple[str, str]:
        """Id and title of item number 1, 2, ...; the title is empty where it has none."""
        known = self._assets.spec.num_items
        attributes = self._assets.item_attributes[number - 1] if number <= known else self._more[number - 1 - known]
        return self.items[number - 1], clean(attributes.get('title'))


class Titles(Mapping):
    """Titles by id, read when they are asked for."""

    def __init__(self, names: Names):
        """Takes the names."""
        self._names = names

    def __getitem__(self, item: Any) -> str:
        return self._names.describe(self._names._items[text(item)])[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names.items)

    def __len__(self) -> int:
        return len(self._names.items)


def text(identity: Any) -> str:
    """An id as data sets keep it: 17 and 17.0 are '17'."""
    if isinstance(identity, (float, np.floating)) and float(identity).is_integer():
        return str(int(identity))
    return str(identity).strip()

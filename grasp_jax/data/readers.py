"""Reads whatever kind of source the config names into a log and attributes."""

from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.data import amazon, plain_text, recbole, shop, sources, tables
from grasp_jax.data.lazy import Lazy
from grasp_jax.data.log import InteractionLog


class Reader:
    """One source, opened: its log, and the attributes of the users and items that are asked for.

    Attributes:
      log: every interaction of the source, in file order.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        """Reads the log.

        Args:
          config: the full config.

        Raises:
          UserError: the data is missing or something in it is wrong.
        """
        self._config = config.data
        self._shop = _open_shop(config.data) if config.data.kind == 'shop' else None
        self._files = {} if self._shop else sources.source_files(config)
        self.log = self._read_log()

    def _read_log(self) -> InteractionLog:
        if self._shop:
            return self._shop.log
        path = self._files['interactions']
        if recbole.is_atomic(path):
            return tables.read_interactions(path, recbole.with_columns(self._config, path))
        if self._config.kind == 'amazon':
            return amazon.read_reviews(path, amazon.layout_of(self._config))
        return tables.read_inter(path) if self._config.kind == 'inter' else tables.read_interactions(path, self._config)

    def item_attributes(self, ids: list[str]) -> Sequence[dict[str, Any]]:
        """One dict per id, empty where the source says nothing.

        Raises:
          UserError: something in the file is wrong.
        """
        if self._shop:
            return _of_ids(ids, self._shop.log.item_ids, self._shop.item_attributes)
        if self._of_amazon('items'):
            found = amazon.read_metadata(self._files['items'], amazon.layout_of(self._config), ids)
        else:
            found = self._of_table('items', 'item_column', ids)
        return [found.get(identity, {}) for identity in ids]

    def user_attributes(self, ids: list[str]) -> Sequence[dict[str, Any]]:
        """One dict per id, empty where the source says nothing.

        Raises:
          UserError: something in the file is wrong.
        """
        if self._shop:
            return _of_ids(ids, self._shop.log.user_ids, self._shop.user_attributes)
        found = self._of_table('users', 'user_column', ids)
        return [found.get(identity, {}) for identity in ids]

    def _of_amazon(self, role: str) -> bool:
        return self._config.kind == 'amazon' and role in self._files and not recbole.is_atomic(self._files[role])

    def _of_table(self, role: str, column: str, ids: list[str]) -> dict[str, dict[str, Any]]:
        """The attributes in a table of items or users, by id; none where there is no table."""
        if role not in self._files:
            return {}
        path, config = self._files[role], self._config
        if recbole.is_atomic(path):
            config = recbole.with_columns(config, path)
        return plain_text.clean(tables.read_attributes(path, config, column, ids), path)


def _open_shop(config: ml_collections.ConfigDict) -> shop.Shop:
    settings = config.shop.to_dict()
    for key in ('customers', 'products'):
        settings[key] = round(config.scale * settings[key])
    return shop.make(**settings)


def _of_ids(ids: list[str], all_ids: list[str], attributes: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    if len(ids) == len(all_ids):  # both are in the order of the numbering
        return attributes
    rows = {identity: row for row, identity in enumerate(all_ids)}
    return Lazy(len(ids), lambda place: attributes[rows[ids[place]]])

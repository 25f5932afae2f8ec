"""Reads whatever kind of source the config names into a log and attributes."""

from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.data import amazon, shop, sources, tables
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
        if 'items' not in self._files:
            found = {}
        elif self._config.kind == 'amazon':
            found = amazon.read_metadata(self._files['items'], amazon.layout_of(self._config), ids)
        else:
            found = tables.read_attributes(self._files['items'], self._config, 'item_column', ids)
        return [found.get(identity, {}) for identity in ids]

    def user_attributes(self, ids: list[str]) -> Sequence[dict[str, Any]]:
        """One dict per id, empty where the source says nothing.

        Raises:
          UserError: something in the file is wrong.
        """
        if self._shop:
            return _of_ids(ids, self._shop.log.user_ids, self._shop.user_attributes)
        if 'users' not in self._files:
            found = {}
        else:
            found = tables.read_attributes(self._files['users'], self._config, 'user_column', ids)
        return [found.get(identity, {}) for identity in ids]


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

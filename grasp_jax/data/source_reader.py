"""Reads a source of any kind that the config names into a log and attributes."""

import pathlib
from collections.abc import Collection, Sequence
from typing import Any

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import Lazy
from grasp_jax.data import amazon, own_tables, plain_text, recbole, sources
from grasp_jax.data.interaction_log import InteractionLog
from grasp_jax.data.synthetic import shop


class SourceReader:
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
        self._items: dict[str, dict[str, Any]] = {}  # attributes that were asked for before
        self.log = self._read_log()

    def _read_log(self) -> InteractionLog:
        if self._shop:
            return self._shop.log
        path = self._files['interactions']
        if self._of_amazon(path):
            return amazon.read_reviews(path, amazon.layout_of(self._config))
        if self._config.kind == 'inter' and not recbole.is_atomic(path):
            return own_tables.read_inter(path)
        return own_tables.read_interactions(path, self._named(path))

    def item_attributes(self, ids: list[str]) -> Sequence[dict[str, Any]]:
        """One dict per id, empty where the source says nothing.

        Raises:
          UserError: something in the file is wrong.
        """
        if self._shop:
            return _of_ids(ids, self._shop.log.item_ids, self._shop.item_attributes)
        asked = [identity for identity in ids if identity not in self._items]
        if asked and 'items' in self._files:
            path = self._files['items']
            if self._of_amazon(path):
                found = amazon.read_metadata(path, amazon.layout_of(self._config), asked)
            else:
                found = self._of_table(path, 'item_column', asked)
            self._items |= {identity: found.get(identity, {}) for identity in asked}
        return [self._items.get(identity, {}) for identity in ids]

    def unsold_items(self, sold: Collection[str]) -> list[str]:
        """Ids of the items that the source says something about and that are not among `sold`, sorted.

        Raises:
          UserError: something in the file is wrong, or there is no table of items.
        """
        if self._shop:
            return sorted(set(self._shop.log.item_ids) - set(sold))
        if 'items' not in self._files:
            raise UserError('data.keep_unsold asks for items that no user bought yet, and there is no table of '
                            'items to know them from; name one with data.items_file')
        unsold = sorted(set(_described(self._files['items'], self._config)) - set(sold))
        return [identity for identity, known in zip(unsold, self.item_attributes(unsold), strict=True) if known]

    def user_attributes(self, ids: list[str]) -> Sequence[dict[str, Any]]:
        """One dict per id, empty where the source says nothing.

        Raises:
          UserError: something in the file is wrong.
        """
        if self._shop:
            return _of_ids(ids, self._shop.log.user_ids, self._shop.user_attributes)
        found = self._of_table(self._files['users'], 'user_column', ids) if 'users' in self._files else {}
        return Lazy(len(ids), lambda place: found.get(ids[place], {}))

    def _of_amazon(self, path: pathlib.Path) -> bool:
        return _of_amazon(path, self._config)

    def _named(self, path: pathlib.Path) -> ml_collections.ConfigDict:
        """The section `data` with the names that the columns of a file have."""
        return _named(path, self._config)

    def _of_table(self, path: pathlib.Path, column: str, ids: list[str]) -> dict[str, dict[str, Any]]:
        return plain_text.clean(own_tables.read_attributes(path, self._named(path), column, ids), path)


def described_items(config: ml_collections.ConfigDict) -> tuple[pathlib.Path, list[str]] | None:
    """The file that describes the items, and the ids that it has, sorted; None where there is none.

    Args:
      config: the full config.

    Raises:
      UserError: something in the file is wrong.
    """
    path = None if config.data.kind == 'shop' else sources.source_files(config).get('items')
    return None if path is None else (path, sorted(_described(path, config.data)))


def _described(path: pathlib.Path, config: ml_collections.ConfigDict) -> Collection[str]:
    if _of_amazon(path, config):
        return amazon.described_items(path, amazon.layout_of(config))
    return own_tables.described_ids(path, _named(path, config), 'item_column')


def _of_amazon(path: pathlib.Path, config: ml_collections.ConfigDict) -> bool:
    return bool(config.kind == 'amazon') and not recbole.is_atomic(path)


def _named(path: pathlib.Path, config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    return recbole.with_columns(config, path) if recbole.is_atomic(path) else config


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

"""The stage `retrieve`: each entity's nearest of the same kind, and the mean of their vectors (Eq. 2)."""

import collections.abc
import pathlib
import time
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import artefacts, disk
from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.config import old_keys
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.retrieval import exact, pca_search, scann_index, wrong_texts
from grasp_jax.texts.prompts import clean
from grasp_jax.vectors import vector_files

METHODS = ('auto', 'exact', 'scann')
SCANN_FROM = 2000  # rows of a group from which an index pays; smaller groups are searched exactly
ITEM_NEIGHBOURS, USER_NEIGHBOURS = 'item_neighbours.npy', 'user_neighbours.npy'


def retrieve(dataset: Dataset, encode_folder: pathlib.Path, config: ml_collections.ConfigDict,
             folder: pathlib.Path) -> dict[str, Any]:
    """Writes the neighbours and their means.

    Files: `items_similar.npy` [m + 1, E] (row 0 zero) and `users_similar.npy` [n, E] in the dtype of the tables;
    `item_neighbours.npy` int32 [m, k], row r the neighbours of item r + 1 as item ids, 0 where there is none;
    `user_neighbours.npy` int32 [n, k], user ids, -1 where there is none. Where `retrieve.smoothing` asks for it, models
    read `items_mended.npy`, and neighbours are searched for in `items_smoothed.npy`, of which means are too
    (`wrong_texts.write_mended`).

    Args:
      dataset: the prepared data set; its attributes make the groups.
      encode_folder: folder of the stage `encode`.
      config: the full config; reads `retrieve`.
      folder: where the files go.

    Returns:
      Facts for items and users: method, width, seconds, rows without neighbours, recall against exact (None where the
      search was exact); with smoothing those of `wrong_texts.write_mended`, as `texts`.

    Raises:
      UserError: a setting or a table is wrong.
    """
    settings = config.retrieve
    items, users = vector_files.load_vectors(encode_folder, dataset.interactions.num_users,
                                             dataset.interactions.num_items)
    item_groups = groups_of(dataset.item_attributes, settings.item_group, 'item_group')
    user_groups = groups_of(dataset.user_attributes, settings.user_group, 'user_group')
    room = room_of_tables(items, users, settings.smoothing)
    disk.require(folder, room + 4 * settings.pca_dim * (len(items) + len(users)), 'retrieve',
                 'make room or choose a --workdir on another disk')
    items, texts = items_to_search(dataset, items, settings.smoothing, folder)
    kept = artefacts.unfinished(folder)
    item_ids, item_facts = _search(items[1:], settings, item_groups, kept / 'items')
    user_ids, user_facts = _search(users, settings, user_groups, kept / 'users')
    write_neighbours(folder, items, users, item_ids, user_ids)
    return {'k': settings.k, **texts, 'items': item_facts, 'users': user_facts}


def stage_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """What the stage depends on, under the names that manifests have; without smoothing as before there was such a
    setting.

    Args:
      config: the section `retrieve`.
    """
    found = old_keys.first_named('retrieve', config.to_dict())
    if found['smoothing'] > 0:
        return {**found, 'mended': True}
    del found['smoothing']
    return found


def room_of_tables(items: np.ndarray, users: np.ndarray, smoothing: float) -> int:
    """Bytes that the stage writes at most.

    Example:
      >>> room_of_tables(np.zeros((11, 4), np.float32), np.zeros((5, 4), np.float32), smoothing=0.0)
      256
    """
    mended = 2 * items.nbytes + 8 * items.size if smoothing > 0 else 0  # two of them for a while, in float32
    return items.nbytes + users.nbytes + mended


def items_to_search(dataset: Dataset, items: np.ndarray, smoothing: float,
                    folder: pathlib.Path) -> tuple[np.ndarray, dict[str, Any]]:
    """The table of items in which neighbours are searched for, and what became known of their texts.

    Args:
      dataset: the prepared data set.
      items: [m + 1, E], of the stage `encode`.
      smoothing: `retrieve.smoothing`; 0 or below: the table is `items`.
      folder: of the stage `retrieve`, which smoothing writes into.
    """
    if smoothing <= 0:
        return items, {}
    facts = wrong_texts.write_mended(dataset, items, smoothing, folder)
    return np.load(folder / vector_files.ITEMS_SMOOTHED, mmap_mode='r', allow_pickle=False), {'texts': facts}


def write_neighbours(folder: pathlib.Path, items: np.ndarray, users: np.ndarray, item_ids: np.ndarray,
                     user_ids: np.ndarray) -> None:
    """Writes the files of `retrieve`.

    Args:
      folder: where they go.
      items, users: [m + 1, E] and [n, E], the tables.
      item_ids, user_ids: int [m, k] and [n, k], row numbers of neighbours, -1 where there is none.
    """
    _write_pooled(folder / vector_files.ITEMS_SIMILAR, items[1:], item_ids, offset=1)
    _write_pooled(folder / vector_files.USERS_SIMILAR, users, user_ids, offset=0)
    np.save(folder / ITEM_NEIGHBOURS, item_ids + 1, allow_pickle=False)  # row numbers become item ids, -1 becomes 0
    np.save(folder / USER_NEIGHBOURS, user_ids, allow_pickle=False)


def neighbours(vectors: np.ndarray, k: int, method: str, groups: np.ndarray | None = None) -> np.ndarray:
    """The k nearest other rows of each row by cosine similarity, nearest first.

    Args:
      vectors: [r, E].
      k: neighbours per row.
      method: 'exact', 'scann' or 'auto' (ScaNN for groups of at least `SCANN_FROM` rows where it is installed).
        ScaNN, too, leaves smaller groups to the exact search.
      groups: int [r]; neighbours share the row's group. None: all rows are one group.

    Returns:
      int32 [r, k] row numbers, never the row itself; -1 where a group has fewer than k other rows.

    Raises:
      UserError: k or the method is wrong, or ScaNN is asked for and not installed.

    Example:
      >>> vectors = np.array([[1, 0], [1, 0.2], [0, 1]])
      >>> neighbours(vectors, k=1, method='exact').tolist()
      [[1], [0], [1]]
    """
    if k < 1:
        raise UserError(f'retrieve.k={k} is no number of neighbours; give 1 or more')
    if resolve(method, len(vectors)) == 'exact':
        return exact.nearest(vectors, k, groups)
    found = np.full((len(vectors), k), exact.NONE, np.int32)
    for members in _members(groups, len(vectors)):
        if len(members) >= SCANN_FROM:
            local = scann_index.nearest(vectors[members], k)
            found[members] = np.where(local == exact.NONE, exact.NONE, members[local])
    # Small groups, and rows for which the index came back with less than there is.
    others = np.empty(len(vectors), np.int64)
    for members in _members(groups, len(vectors)):
        others[members] = len(members) - 1
    short = np.flatnonzero((found != exact.NONE).sum(axis=1) < np.minimum(k, others))
    if len(short):
        found[short] = exact.nearest(vectors, k, groups, rows=short)
    return found


def _require_known(method: str) -> None:
    if method not in METHODS:
        raise UserError(f'retrieve.method={method!r} is not known; choose one of {", ".join(METHODS)}')


def resolve(method: str, rows: int) -> str:
    """Which search 'auto' stands for.

    Raises:
      UserError: the method is not known, or is 'scann' where ScaNN is not installed.
    """
    _require_known(method)
    if method == 'auto':
        return 'scann' if rows >= SCANN_FROM and scann_index.installed() else 'exact'
    if method == 'scann' and not scann_index.installed():
        raise UserError('retrieve.method=scann needs ScaNN, which is not installed: pip install scann, or '
                        'use retrieve.method=exact')
    return method


def pool(vectors: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Mean of each row's neighbours (Eq. 2), not rescaled.

    A row without neighbours keeps its own vector: it is the best guess at what similar entities would look like.

    Args:
      vectors: [r, E].
      ids: int [r, k], -1 where there is none.

    Returns:
      float32 [r, E].

    Example:
      >>> pool(np.array([[1, 0], [3, 4], [5, 8]]), ids=np.array([[1, 2], [0, -1], [-1, -1]])).tolist()
      [[4.0, 6.0], [1.0, 0.0], [5.0, 8.0]]
    """
    pooled = np.empty(vectors.shape, np.float32)
    for block in vector_files.blocks(len(ids), vectors.shape[1] * ids.shape[1]):
        pooled[block] = _pool_block(vectors, ids, block)
    return pooled


def recall(vectors: np.ndarray, found: np.ndarray, sample: int, groups: np.ndarray | None = None) -> float:
    """Share of the exact neighbours that `found` holds, over `sample` evenly spread rows.

    Args:
      vectors: [r, E].
      found: int [r, k].
      sample: rows to compare; all where there are fewer.
      groups: int [r] or None, as for `neighbours`.

    Example:
      >>> vectors = np.array([[1, 0], [1, 0.2], [0, 1]])
      >>> recall(vectors, found=np.array([[1], [0], [0]]), sample=3)  # the third one's nearest is row 1
      0.6666666666666666
    """
    rows = evenly_spread(len(vectors), sample)
    truth = exact.nearest(vectors, found.shape[1], groups, rows=rows)
    hits = ((truth[:, :, None] == found[rows][:, None, :]).any(axis=2) & (truth != exact.NONE)).sum()
    return float(hits / max((truth != exact.NONE).sum(), 1))


def groups_of(attributes: collections.abc.Sequence[collections.abc.Mapping[str, Any]], name: str,
              setting: str) -> np.ndarray | None:
    """Group numbers by the value of an attribute; entities without it form one group.

    Args:
      attributes: r dicts.
      name: the attribute; empty for no groups.
      setting: name of the setting, for the message.

    Returns:
      int64 [r], or None.

    Raises:
      UserError: no entity has the attribute.
    """
    if not name:
        return None
    values = [clean(entity.get(name)) for entity in attributes]
    if not any(values):
        known = sorted({key for entity in attributes for key in entity})
        raise UserError(f'retrieve.{setting}={name!r} is an attribute of none; choose one of '
                        f'{", ".join(known) or "(there are no attributes)"} or leave it empty')
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)


def _search(vectors: np.ndarray, settings: ml_collections.ConfigDict, groups: np.ndarray | None,
            kept: pathlib.Path) -> tuple[np.ndarray, dict[str, Any]]:
    start = time.monotonic()
    narrow = 0 < settings.pca_dim < vectors.shape[1]
    if narrow:
        found = _narrowly(vectors, settings, groups, kept)
    else:
        found = neighbours(vectors, settings.k, settings.method, groups)
    largest = max(map(len, _members(groups, len(vectors))), default=0)
    # What really ran: with small groups only, ScaNN leaves everything to the exact search.
    approximate = resolve(settings.method, len(vectors)) == 'scann' and largest >= SCANN_FROM
    facts = {'method': 'scann' if approximate else 'exact',
             'width': settings.pca_dim if narrow else vectors.shape[1], 'seconds': round(time.monotonic() - start, 2),
             'rows': len(vectors), 'rows_without_neighbours': int((found == exact.NONE).all(axis=1).sum()),
             'recall': None, 'recall_rows': 0}
    if groups is not None:
        facts['groups'] = int(groups.max()) + 1 if len(groups) else 0
    if (approximate or narrow) and settings.sample > 0:
        facts['recall'] = recall(vectors, found, settings.sample, groups)
        facts['recall_rows'] = min(settings.sample, len(vectors))
    return found, facts


def _narrowly(vectors: np.ndarray, settings: ml_collections.ConfigDict, groups: np.ndarray | None,
              kept: pathlib.Path) -> np.ndarray:
    """As `neighbours`, by way of candidates at a smaller width; found again after a kill in the folder `kept`."""
    by_size: dict[bool, list[np.ndarray]] = {True: [], False: []}
    for members in _members(groups, len(vectors)):
        by_size[len(members) >= SCANN_FROM].append(members)
    units = by_size[True] + ([np.concatenate(by_size[False])] if by_size[False] else [])
    kept.mkdir(exist_ok=True)
    return pca_search.nearest(vectors, settings.k, settings.pca_dim, settings.candidates,
                              lambda some, count, their: neighbours(some, count, settings.method, their), units, groups,
                              kept)


def _members(groups: np.ndarray | None, count: int) -> list[np.ndarray]:
    """The row numbers of each group."""
    if groups is None:
        return [np.arange(count)]
    order = np.argsort(groups, kind='stable')
    return np.split(order, np.flatnonzero(np.diff(groups[order])) + 1)


def _pool_block(vectors: np.ndarray, ids: np.ndarray, block: slice) -> np.ndarray:
    chosen = ids[block]
    known = chosen != exact.NONE
    gathered = np.asarray(vectors[np.where(known, chosen, 0)], np.float32) * known[:, :, None]
    count = known.sum(axis=1, keepdims=True)
    return np.where(count > 0, gathered.sum(axis=1) / np.maximum(count, 1), np.asarray(vectors[block], np.float32))


def _write_pooled(path: pathlib.Path, vectors: np.ndarray, ids: np.ndarray, offset: int) -> None:
    """Writes `pool(vectors, ids)` below `offset` rows of zeros, block by block."""
    target = np.lib.format.open_memmap(
        path, mode='w+', dtype=vectors.dtype, shape=(offset + len(vectors), vectors.shape[1]))
    target[:offset] = 0
    blocks = vector_files.blocks(len(ids), vectors.shape[1] * ids.shape[1])
    for block in Bar(blocks, desc=f'write {path.name}', unit='block', delay=1):
        target[offset + block.start:offset + block.stop] = _pool_block(vectors, ids, block)
    target.flush()

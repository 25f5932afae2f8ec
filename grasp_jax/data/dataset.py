"""The prepared data set, as all later stages read it."""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import json_lines
from grasp_jax.data.interactions import Interactions, Split

NEGATIVES: tuple[Split, ...] = ('valid', 'test')
USERS, ITEMS = 'users.jsonl', 'items.jsonl'
SPLIT_ENDS = 'split_ends.npy'  # there under a split by time


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Sequences, ids, attributes and the candidates of the sampled protocol.

    Ids and attributes stay on disk and are read when they are asked for.

    Attributes:
      name: the data set's name in reports.
      interactions: all sequences; arrays are memory-mapped.
      user_ids: n ids; entry u belongs to user u.
      item_ids: m ids; entry r belongs to item r + 1.
      item_attributes: m dicts; entry r belongs to item r + 1. Usual keys: title, brand, price, description (text),
        categories, features (lists of text); any may be missing.
      user_attributes: n dicts of profile fields.
      negatives: 'valid' and 'test', each int32 [v, N], rows in the order of `interactions.evaluated_users(split)`, 0
        where a user has no more.

    Example:
      >>> shop = load(pathlib.Path('runs/demo/prepare'))
      >>> first = shop.interactions.full_sequence(0)[0]
      >>> shop.user_ids[0], shop.item_ids[first - 1], shop.item_attributes[first - 1]['title']
      ('u0000', 'p0352', 'Papyr weatherproof desk organiser with compartments')
    """

    name: str
    interactions: Interactions
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    item_attributes: Sequence[dict[str, Any]]
    user_attributes: Sequence[dict[str, Any]]
    negatives: dict[str, np.ndarray]


def write_entities(path: pathlib.Path, entities: Iterable[tuple[str, dict[str, Any]]]) -> int:
    """Writes ids and attributes in the order of the numbering, as they come; returns how many have attributes."""
    encode = json.JSONEncoder(ensure_ascii=False).encode
    described = 0
    with path.open('w', encoding='utf-8') as file:
        for identity, attributes in entities:
            file.write(f'{encode({"id": identity, "attributes": attributes})}\n')
            described += bool(attributes)
    return described


def write_arrays(folder: pathlib.Path, name: str, interactions: Interactions,
                 negatives: Mapping[Split, Iterable[np.ndarray]]) -> None:
    """Writes what `load` reads beside the entities.

    Args:
      folder: where to.
      name: of the data set.
      interactions: all sequences.
      negatives: 'valid' and 'test', each int32 [b, N] one after the other.
    """
    for key, array in (('indptr', interactions.indptr), ('items', interactions.items)):
        np.save(folder / f'{key}.npy', array, allow_pickle=False)
    for split in NEGATIVES:
        _write_blocks(folder / f'negatives_{split}.npy', len(interactions.evaluated_users(split)), negatives[split])
    facts = {'name': name, 'num_items': interactions.num_items}
    if interactions.ends is not None:
        np.save(folder / SPLIT_ENDS, interactions.ends, allow_pickle=False)
        facts['split'] = 'time'
    artefacts.write_json(folder / 'dataset.json', facts)


def _write_blocks(path: pathlib.Path, rows: int, blocks: Iterable[np.ndarray]) -> None:
    """Writes a matrix as `np.save` does, without holding it."""
    with path.open('wb') as file:
        for place, block in enumerate(blocks):
            if place == 0:
                np.lib.format.write_array_header_1_0(file, {
                    'descr': np.lib.format.dtype_to_descr(block.dtype), 'fortran_order': False,
                    'shape': (rows, block.shape[1])})
            file.write(np.ascontiguousarray(block).data)


def load(folder: pathlib.Path, negatives: bool = True) -> Dataset:
    """Opens a prepared data set.

    Args:
      folder: the folder that `prepare` filled.
      negatives: whether the candidates of the sampled protocol are read; without them there are none.

    Raises:
      UserError: a file is missing, damaged or does not fit the others.

    Example:
      >>> shop = load(pathlib.Path('runs/demo/prepare'))
      >>> shop.interactions.num_users, shop.interactions.num_items, shop.negatives['test'].shape
      (1500, 400, (1500, 100))
    """
    facts = artefacts.read_json(folder / 'dataset.json')
    ids, attributes = {}, {}
    for file in (USERS, ITEMS):
        ids[file] = json_lines(folder / file, lambda record: str(record['id']))
        attributes[file] = json_lines(folder / file, lambda record: dict(record['attributes']))
    ends = _array(folder / SPLIT_ENDS) if facts.get('split') == 'time' else None
    interactions = Interactions(_array(folder / 'indptr.npy'), _array(folder / 'items.npy'), facts['num_items'], ends)
    splits = NEGATIVES if negatives else ()
    drawn: dict[str, np.ndarray] = {split: _array(folder / f'negatives_{split}.npy') for split in splits}
    fits = (len(ids[USERS]) == interactions.num_users and len(ids[ITEMS]) == interactions.num_items
            and interactions.indptr[-1] == len(interactions.items)
            and (ends is None or ends.shape == (2, interactions.num_users))
            and all(len(drawn[split]) == len(interactions.evaluated_users(split)) for split in splits))
    if not fits:
        raise UserError(f'{folder}: its files do not fit each other; delete this folder and run again')
    return Dataset(facts['name'], interactions, ids[USERS], ids[ITEMS], attributes[ITEMS], attributes[USERS], drawn)


def _array(path: pathlib.Path) -> np.ndarray:
    try:
        return np.asarray(np.load(path, mmap_mode='r', allow_pickle=False))  # a plain view of the file: fast rows
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f'{path}: cannot be read ({error}); delete its folder and run again') from error

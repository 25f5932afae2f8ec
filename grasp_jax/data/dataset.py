"""The prepared data set, as all later stages read it."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from grasp_jax import artefacts
from grasp_jax.data.interactions import Interactions
from grasp_jax.errors import UserError

NEGATIVES = ('valid', 'test')


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Sequences, ids, attributes and the candidates of the sampled protocol.

    Attributes:
      name: the data set's name in reports.
      interactions: all sequences; arrays are memory-mapped.
      user_ids: n ids; entry u belongs to user u.
      item_ids: m ids; entry r belongs to item r + 1.
      item_attributes: m dicts; entry r belongs to item r + 1. Usual keys: title, brand, price, description (text),
        categories, features (lists of text); any may be missing.
      user_attributes: n dicts of profile fields.
      negatives: 'valid' and 'test', each int32 [v, N], rows in the order of `interactions.evaluated_users()`, 0 where
        a user has no more.
    """

    name: str
    interactions: Interactions
    user_ids: list[str]
    item_ids: list[str]
    item_attributes: list[dict[str, Any]]
    user_attributes: list[dict[str, Any]]
    negatives: dict[str, np.ndarray]


def save(dataset: Dataset, folder: pathlib.Path) -> None:
    """Writes the files that `load` reads into an existing folder."""
    arrays = {'indptr': dataset.interactions.indptr, 'items': dataset.interactions.items}
    arrays |= {f'negatives_{split}': dataset.negatives[split] for split in NEGATIVES}
    for name, array in arrays.items():
        np.save(folder / f'{name}.npy', array, allow_pickle=False)
    _write_entities(folder / 'users.jsonl', dataset.user_ids, dataset.user_attributes)
    _write_entities(folder / 'items.jsonl', dataset.item_ids, dataset.item_attributes)
    artefacts.write_json(folder / 'dataset.json', {'name': dataset.name, 'num_items': len(dataset.item_ids)})


def load(folder: pathlib.Path) -> Dataset:
    """Opens a prepared data set.

    Args:
      folder: the folder that `prepare` filled.

    Raises:
      UserError: a file is missing, damaged or does not fit the others.
    """
    facts = artefacts.read_json(folder / 'dataset.json')
    user_ids, user_attributes = _read_entities(folder / 'users.jsonl')
    item_ids, item_attributes = _read_entities(folder / 'items.jsonl')
    interactions = Interactions(_array(folder / 'indptr.npy'), _array(folder / 'items.npy'), facts['num_items'])
    negatives = {split: _array(folder / f'negatives_{split}.npy') for split in NEGATIVES}
    evaluated = len(interactions.evaluated_users())
    fits = (len(user_ids) == interactions.num_users and len(item_ids) == interactions.num_items
            and interactions.indptr[-1] == len(interactions.items)
            and all(len(drawn) == evaluated for drawn in negatives.values()))
    if not fits:
        raise UserError(f'{folder}: its files do not fit each other; delete this folder and run again')
    return Dataset(facts['name'], interactions, user_ids, item_ids, item_attributes, user_attributes, negatives)


def _array(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f'{path}: cannot be read ({error}); delete its folder and run again') from error


def _write_entities(path: pathlib.Path, ids: list[str], attributes: list[dict[str, Any]]) -> None:
    with path.open('w', encoding='utf-8') as file:
        for identity, values in zip(ids, attributes, strict=True):
            file.write(json.dumps({'id': identity, 'attributes': values}, ensure_ascii=False) + '\n')


def _read_entities(path: pathlib.Path) -> tuple[list[str], list[dict[str, Any]]]:
    try:
        with path.open(encoding='utf-8') as file:
            records = [json.loads(line) for line in file]
        return [record['id'] for record in records], [record['attributes'] for record in records]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path}: cannot be read ({error}); delete its folder and run again') from error

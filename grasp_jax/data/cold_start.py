"""Items and users that leave training wholly, so that a run can be asked about what it never saw.

A cold item is taken out of every sequence and out of the catalogue; its text is kept. Users whose last item is a cold
one are asked for it with the rest of their history. A cold user is taken out as a whole and asked for the last item
with the items before it.
"""

import dataclasses
import json
import pathlib
from collections.abc import Iterable, Sequence
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import json_lines
from grasp_jax.data.filters import Sequences
from grasp_jax.data.interactions import MIN_EVALUATED, Interactions

ITEMS, CASES = 'cold_items.jsonl', 'cold_cases.npz'


@dataclasses.dataclass(frozen=True)
class Cold:
    """What was set aside, in the numbers of the sequences that are left.

    Attributes:
      item_ids: c ids of cold items.
      users: int32 [v], users whose last item was a cold one.
      targets: int32 [v], which one, as a place in `item_ids`.
      user_ids: ids of the cold users.
      indptr, items: their sequences, oldest first; the last item of each is asked for.
    """

    item_ids: Sequence[str]
    users: np.ndarray
    targets: np.ndarray
    user_ids: Sequence[str]
    indptr: np.ndarray
    items: np.ndarray


def asked_for(config: ml_collections.ConfigDict) -> dict[str, float]:
    """The settings of the section `evaluate` that set something aside, without those that are 0.

    Raises:
      UserError: nothing would be left to train on.
    """
    shares = {key: float(config[key]) for key in ('cold_items', 'cold_users') if config[key]}
    for key, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f'evaluate.{key}={share}: must be at least 0 and below 1')
    return shares


def set_aside(found: Sequences, config: ml_collections.ConfigDict) -> tuple[Sequences, Cold]:
    """Takes cold items and cold users out of filtered sequences.

    Args:
      found: all sequences.
      config: the section `evaluate`; `cold_items`, `cold_users` and `seed` are read.

    Returns:
      the sequences that are left, numbered anew, and what was taken out.

    Raises:
      UserError: a share leaves no user to train on, or nothing to ask for.
    """
    sequences, shares = found.interactions, asked_for(config)
    cold_items = np.zeros(sequences.num_items + 1, bool)
    cold_items[1 + _chosen(np.arange(sequences.num_items), shares.get('cold_items', 0.0), config.seed, 1)] = True
    cold_users = np.zeros(sequences.num_users, bool)
    cold_users[_chosen(sequences.evaluated_users(), shares.get('cold_users', 0.0), config.seed, 2)] = True
    owner = np.repeat(np.arange(sequences.num_users), sequences.lengths)
    warm = ~cold_items[sequences.items]
    kept = warm & ~cold_users[owner]
    stays = np.bincount(owner[kept], minlength=sequences.num_users) > 0
    item_number = np.cumsum(~cold_items).astype(np.int32) - 1  # padding is no cold item and keeps number 0
    left = Interactions(_indptr(owner[kept], stays), item_number[sequences.items[kept]],
                        int((~cold_items).sum()) - 1)
    if not len(left.evaluated_users()):
        raise UserError(f'{_named(shares)} leaves no user with {MIN_EVALUATED} interactions; lower it')
    last = sequences.items[np.maximum(sequences.indptr[1:] - 1, 0)]
    asked = np.flatnonzero(stays & cold_items[last])
    of_cold = warm & (cold_users & ~cold_items[last])[owner]
    many = np.bincount(owner[of_cold], minlength=sequences.num_users) > 1  # a history, and what is asked for
    of_cold &= many[owner]
    user_number, cold_number = np.cumsum(stays) - 1, np.cumsum(cold_items) - 1
    cold = Cold([identity for identity, gone in zip(found.item_ids, cold_items[1:], strict=True) if gone],
                user_number[asked].astype(np.int32), cold_number[last[asked]].astype(np.int32),
                [identity for identity, is_asked in zip(found.user_ids, many, strict=True) if is_asked],
                _indptr(owner[of_cold], many), item_number[sequences.items[of_cold]])
    if ('cold_items' in shares and not len(cold.users)) or ('cold_users' in shares and not len(cold.items)):
        raise UserError(f'{_named(shares)} leaves nothing to ask for; raise it')
    user_ids = [identity for identity, stay in zip(found.user_ids, stays, strict=True) if stay]
    item_ids = [identity for identity, gone in zip(found.item_ids, cold_items[1:], strict=True) if not gone]
    return dataclasses.replace(found, interactions=left, times=found.times[kept], user_ids=user_ids,
                               item_ids=item_ids), cold


def write(folder: pathlib.Path, cold: Cold, attributes: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Writes what `load` reads; returns counts for the report.

    Args:
      folder: of the stage `prepare`.
      cold: what was set aside.
      attributes: of the cold items.
    """
    with (folder / ITEMS).open('w', encoding='utf-8') as file:
        for identity, known in zip(cold.item_ids, attributes, strict=True):
            file.write(json.dumps({'id': identity, 'attributes': known}, ensure_ascii=False) + '\n')
    np.savez(folder / CASES, users=cold.users, targets=cold.targets, indptr=cold.indptr, items=cold.items,
             user_ids=np.array(cold.user_ids, str))
    return {'cold_items': len(cold.item_ids), 'cold_item_cases': len(cold.users), 'cold_users': len(cold.indptr) - 1}


def load(folder: pathlib.Path) -> tuple[Cold, Sequence[dict[str, Any]]]:
    """What `write` left, and the attributes of the cold items.

    Raises:
      UserError: a file is missing or damaged.
    """
    try:
        with np.load(folder / CASES, allow_pickle=False) as file:
            cases = {name: file[name] for name in ('users', 'targets', 'user_ids', 'indptr', 'items')}
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise UserError(f'{folder / CASES}: cannot be read ({error}); delete its folder and run again') from error
    ids = json_lines(folder / ITEMS, lambda record: str(record['id']))
    return Cold(ids, **cases), json_lines(folder / ITEMS, lambda record: dict(record['attributes']))


def _chosen(among: np.ndarray, share: float, seed: int, kind: int) -> np.ndarray:
    """A share of some numbers by seed, ascending."""
    rng = np.random.default_rng((seed, kind))
    return np.sort(rng.choice(among, round(share * len(among)), replace=False))


def _indptr(owner: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """int64: where the rows of each owner who stays begin, and the end."""
    return np.concatenate([[0], np.cumsum(np.bincount(owner, minlength=len(stays))[stays])]).astype(np.int64)


def _named(shares: dict[str, float]) -> str:
    return ' with '.join(f'evaluate.{key}={share}' for key, share in shares.items())

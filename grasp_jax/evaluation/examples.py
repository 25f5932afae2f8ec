"""A few lists of a run with titles, for the eye: what a number cannot say of a list, a person sees at once."""

import pathlib
import re
from typing import Any

import numpy as np

from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.ranking.lists import load_lists
from grasp_jax.ranking.metrics import Ranks
from grasp_jax.texts.prompts import title_or_id

USERS, LISTED, NEWEST = 10, 5, 3
_SHOWN = 60  # characters of a title
Tree = dict[str, Any]


def of_run(run_dir: pathlib.Path, ranks: Ranks, dataset: Dataset) -> list[Tree]:
    """Lists of evenly spread evaluated users, as entries of report.json.

    Args:
      run_dir: of a seed; runs of earlier versions have no lists.
      ranks: of the same run.
      dataset: with titles; the id stands in where an item has none.

    Returns:
      `user`, an id; `newest`, titles of its newest items, the newest last; `list`, titles of its best items, the best
      first; `held_out`, title of the test item; `place`, where it is in `list`, from 1, null where it is not; `rank`,
      under full ranking, null where there is no other candidate.
    """
    lists = load_lists(run_dir)
    if lists is None or not np.array_equal(lists.users, ranks.users):
        return []
    interactions, found = dataset.interactions, []
    for row in evenly_spread(len(ranks.users), USERS):
        user, target = int(ranks.users[row]), int(ranks.targets[row])
        best = [int(item) for item in lists.items[row, :LISTED] if item]
        found.append({
            'user': dataset.user_ids[user],
            'newest': [title_or_id(dataset, int(item)) for item in interactions.sequence(user, 'test')[-NEWEST:]],
            'list': [title_or_id(dataset, item) for item in best], 'held_out': title_or_id(dataset, target),
            'place': best.index(target) + 1 if target in best else None,
            'rank': None if np.isnan(ranks.full[row]) else float(ranks.full[row])})
    return found


def rows(report: Tree) -> list[list[str]]:
    """A row for each user, in Markdown, header first; none where the report has no lists."""
    if not report.get('examples'):  # older reports do not have them
        return []
    table = [['user', f'newest {NEWEST} items', f'best {LISTED} of the list', 'held out', 'its rank']]
    for each in report['examples']:
        listed = [f'**{_cell(title)}**' if place == each['place'] else _cell(title)
                  for place, title in enumerate(each['list'], 1)]
        rank = '-' if each['rank'] is None else f'{each["rank"]:,.1f}'.removesuffix('.0')
        table.append([_cell(each['user']), '; '.join(map(_cell, each['newest'])),
                      '; '.join(f'{place}. {title}' for place, title in enumerate(listed, 1)),
                      _cell(each['held_out']), rank])
    return table


def _cell(text: str) -> str:
    """A text as a cell of a Markdown table shows it."""
    short = text if len(text) <= _SHOWN else text[:_SHOWN - 1].rstrip() + '…'
    return re.sub(r'([\\`*_\[\]<>|])', r'\\\1', short)

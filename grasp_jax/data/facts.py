"""What of a prepared data set makes its test easy, hard or arbitrary: counted for the report, said where it is much."""

import collections.abc
import logging
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.data.filters import Sequences
from grasp_jax.data.interactions import Interactions

LOG = logging.getLogger(__name__)
_BLOCK = 1 << 16  # users looked at together
_MANY_REPEATS = 0.2


def count(found: Sequences, negatives: np.ndarray) -> dict[str, int]:
    """Counts over the evaluated users of filtered sequences.

    Args:
      found: the sequences.
      negatives: int32 [v, N], stored candidates of the test, 0 where a user has no more.

    Returns:
      doubles: rows whose user, item and time an earlier row has too, before any were dropped;
      tied_ends: users whose last two interactions have one time; under a split by time, the first two of the test;
      one_time: users whose interactions all have one time;
      repeated_targets: test items that their user had before;
      new_targets: test items without a row in training;
      without_negatives: users who have every item, so that there is nothing to rank;
      few_negatives: users with fewer candidates than were asked for, those without any among them.
    """
    interactions = found.interactions
    users, targets = interactions.evaluated_users(), interactions.targets('test')
    starts, stops = interactions.indptr[users], interactions.indptr[users + 1]
    return {
        'doubles': found.doubles,
        'tied_ends': found.tied_ends(),
        'one_time': int((found.times[starts] == found.times[stops - 1]).sum()),
        'repeated_targets': int(repeated(interactions, users, targets).sum()),
        'new_targets': int((interactions.train_item_counts()[targets] == 0).sum()),
        'without_negatives': _rows(negatives, lambda rows: (rows == 0).all(axis=1)),
        'few_negatives': _rows(negatives, lambda rows: (rows == 0).any(axis=1)),
    }


def _rows(negatives: np.ndarray, look: collections.abc.Callable[[np.ndarray], np.ndarray]) -> int:
    """How many rows of stored candidates are such, looked at in blocks: they may be larger than the memory."""
    return sum(int(look(negatives[first:first + _BLOCK]).sum()) for first in range(0, len(negatives), _BLOCK))


def repeated(interactions: Interactions, users: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """bool [v]: whether each of some users int [v] had the own test item int [v] before."""
    known = interactions.input_lengths('test')[users]
    found = np.zeros(len(users), bool)
    for first in range(0, len(users), _BLOCK):
        block = slice(first, first + _BLOCK)
        owner, items = interactions.oldest(users[block], known[block])
        same = items == targets[block][owner]
        found[block] = np.bincount(owner[same], minlength=len(users[block])) > 0
    return found


def warn(facts: dict[str, Any], config: ml_collections.ConfigDict) -> None:
    """Says what asks for another setting.

    Args:
      facts: of `count`, and `evaluated_users`.
      config: the full config.
    """
    name, tested = config.data.name or 'the data set', facts['evaluated_users']
    repeats = facts['repeated_targets']
    if repeats >= _MANY_REPEATS * tested and not config.evaluate.repeats:
        LOG.warning('%s: %s of %s test items (%.0f%%) are ones that their user had before, and lists leave out what a '
                    'user had; if buying again is to be predicted, use evaluate.repeats=True, else '
                    'data.duplicates=first', name, f'{repeats:,}', f'{tested:,}', 100 * repeats / tested)
    if facts['without_negatives']:
        means = 'the means of the sampled protocol' if config.evaluate.repeats else 'all means'
        LOG.warning('%s: %s of %s evaluated users have every item, so there is nothing to rank their test item '
                    'against, and they are left out of %s; give more items, or items that no user bought yet with '
                    'data.keep_unsold=True', name, f'{facts["without_negatives"]:,}', f'{tested:,}', means)


def sentences(facts: collections.abc.Mapping[str, Any]) -> list[str]:
    """The counts of the stage `prepare` as the report says them; older stages have fewer."""
    which = 'first two test' if 'split' in facts else 'last two'
    said = (
        ('tied_ends', f'The {which} interactions of {{}} evaluated users have the same time: the order of the rows '
                      'says which of them is tested.'),
        ('one_time', 'All interactions of {} evaluated users have one time.'),
        ('doubles', '{} rows of the source repeat the user, item and time of an earlier row.'),
        ('repeated_targets', '{} test items are ones that their user had before.'),
        ('new_targets', '{} test items are new: no row of the training has them.'),
        ('without_negatives', '{} evaluated users have every item: nothing stands against their test item.'),
        ('few_negatives', '{} evaluated users have fewer candidates than were asked for under the sampled protocol.'),
        ('unsold', '{} items of the catalogue have no purchase.'),
    )
    return [text.format(f'{facts[key]:,}{_share(facts, key)}') for key, text in said if facts.get(key)]


def left_out(facts: collections.abc.Mapping[str, Any]) -> str:
    """How much of the source is in no sequence, and why; empty where a stage does not say.

    Args:
      facts: of the stage `prepare`.

    Example:
      >>> left_out({'dropped': {'users': 1, 'items': 2, 'interactions': 7, 'repeats': 5}})
      '1 users, 2 items, 7 interactions (5 repeats, 2 filtered)'
    """
    dropped, by_time = facts.get('dropped'), facts.get('split')
    if not dropped:
        return ''
    counts = ', '.join(f'{dropped[key]:,} {key}' for key in ('users', 'items', 'interactions'))
    if by_time and 'cold_interactions' not in by_time:  # an older stage
        return counts
    reasons = {'repeats': dropped['repeats']}
    if by_time:
        reasons |= {f'of {by_time["cold_users"]:,} cold users': by_time['cold_interactions'],
                    'of items outside the catalogue': by_time['unknown']}
    reasons['filtered'] = dropped['interactions'] - sum(reasons.values())
    shares = ', '.join(f'{count:,} {reason}' for reason, count in reasons.items() if count)
    return f'{counts} ({shares})' if shares else counts


def _share(facts: collections.abc.Mapping[str, Any], key: str) -> str:
    """Of the test items, where that is what a count is of."""
    tested = facts.get('evaluated_users')
    return f' ({facts[key] / tested:.1%})' if tested and key in ('repeated_targets', 'new_targets') else ''

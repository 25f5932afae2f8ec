"""From a log to sequences: time order, repeated items, minimum counts, numbering."""

import dataclasses
import logging
from collections.abc import Callable, Collection

import ml_collections
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.data import time_split
from grasp_jax.data.interaction_log import InteractionLog
from grasp_jax.data.interactions import Interactions

LOG = logging.getLogger(__name__)
# Share of all rows, and times the mean, from which one user or item is hardly one; real bestsellers reach 5.5%.
_CROWD_SHARE, _CROWD_TIMES = {'user': 0.05, 'item': 0.07}, 20
_NAMED = 3
Unsold = Callable[[Collection[str]], list[str]]


@dataclasses.dataclass(frozen=True)
class Sequences:
    """What is left of a log after filtering, one sequence per user.

    Users 0..n-1 and items 1..m are numbered in the sorted order of their ids: the numbering does not depend on the
    order of the rows in the file.

    Attributes:
      interactions: the sequences.
      times: int64 or float64 [interactions], beside `interactions.items`.
      user_ids: n ids.
      item_ids: m ids; entry r belongs to item r + 1.
      dropped: how many users, items and interactions the source had beyond these, and how many of the interactions
        fell to the policy for repeated items.
      doubles: rows of the source whose user, item and time an earlier row has too.
      by_time: what a split by time leaves out; None under leave-one-out.
    """

    interactions: Interactions
    times: np.ndarray
    user_ids: list[str]
    item_ids: list[str]
    dropped: dict[str, int]
    doubles: int = 0
    by_time: time_split.Left | None = None

    def tied_ends(self) -> int:
        """Tested users for whom the order of the rows decides what is tested: their last two interactions have one
        time, or, under a split by time, the first two of the test."""
        if self.by_time:
            users = self.interactions.evaluated_users('test')
            start = self.interactions.indptr[users] + self.interactions.input_lengths('test')[users]
            more = start + 1 < self.interactions.indptr[users + 1]
            return int((self.times[start[more]] == self.times[start[more] + 1]).sum())
        ends = self.interactions.indptr[self.interactions.evaluated_users() + 1]
        return int((self.times[ends - 1] == self.times[ends - 2]).sum())


def k_core(users: np.ndarray, items: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Keeps the largest set of rows in which every user and every item has enough rows.

    Rows are dropped round by round until a round drops nothing; the result is the same in any order of dropping.

    Args:
      users: int [r], non-negative.
      items: int [r], non-negative.
      min_user: rows that each remaining user has at least.
      min_item: rows that each remaining item has at least.

    Returns:
      bool [r].

    Example:
      >>> users, items = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 2])
      >>> k_core(users, items, min_user=2, min_item=2).tolist()  # without user 2, item 2 has one buyer left
      [True, True, False, True, True, False]
    """
    kept = np.arange(len(users))
    while len(kept):
        enough = one_pass(users[kept], items[kept], min_user, min_item)
        if enough.all():
            break
        kept = kept[enough]
    mask = np.zeros(len(users), bool)
    mask[kept] = True
    return mask


def one_pass(users: np.ndarray, items: np.ndarray, min_user: int, min_item: int) -> np.ndarray:
    """Keeps the rows whose user and item are both frequent in the full log, counted once.

    This is how SASRec and LLM-ESR cut their data: afterwards a user may have fewer than `min_user` rows, because the
    counts are not taken again.

    Returns:
      bool [r].

    Example:
      >>> users, items = np.array([0, 0, 0, 1, 1, 2]), np.array([0, 1, 2, 0, 1, 2])
      >>> one_pass(users, items, min_user=2, min_item=2).tolist()
      [True, True, True, True, True, False]
    """
    return (np.bincount(users)[users] >= min_user) & (np.bincount(items)[items] >= min_item)


def time_order(log: InteractionLog) -> InteractionLog:
    """Sorts rows by user, then by time; equal times keep the order of the file and never look at the item's id."""
    return log.take(np.lexsort((log.times, log.users)))


def drop_repeats(log: InteractionLog, policy: str) -> InteractionLog:
    """Keeps one row per user and item of a log in time order, the 'first' or the 'last'; 'exact' keeps one of those
    that share the time as well, 'keep' all."""
    if policy == 'keep':
        return log
    if policy == 'exact':
        return log.take(np.flatnonzero(~_doubles(log)))
    pairs = log.users.astype(np.int64) * len(log.item_ids) + log.items
    if policy == 'last':
        _, reverse = np.unique(pairs[::-1], return_index=True)
        return log.take(np.sort(len(pairs) - 1 - reverse))
    _, first = np.unique(pairs, return_index=True)
    return log.take(np.sort(first))


def _doubles(log: InteractionLog) -> np.ndarray:
    """bool [r], rows of a log in time order whose user, item and time an earlier row has too."""
    found = np.zeros(len(log), bool)
    tied = np.zeros(len(log) + 1, bool)
    tied[1:-1] = (np.diff(log.users) == 0) & (np.diff(log.times) == 0)
    rows = np.flatnonzero(tied[1:] | tied[:-1])  # the others are alone with their time
    few = log.take(rows)
    order = np.lexsort((few.times, few.items, few.users))  # equal rows keep their order
    same = np.all([np.diff(field[order]) == 0 for field in (few.users, few.items, few.times)], axis=0)
    found[rows[order[1:]]] = same
    return found


def _warn_of_doubles(same: int, name: str) -> None:
    """Says how many rows of a log stand there twice: as repeated purchases they make the test easy."""
    if same:
        LOG.warning('%s: %d rows repeat the user, item and time of an earlier row; if these are no purchases of their '
                    'own, use data.duplicates=exact', name or 'the data set', same)


def _warn_of_crowds(log: InteractionLog, name: str) -> None:
    """Says which users and items have so many rows that they are hardly one person or one thing to buy."""
    found = []
    for kind, codes, ids in (('user', log.users, log.user_ids), ('item', log.items, log.item_ids)):
        rows = np.bincount(codes)
        least = max(_CROWD_SHARE[kind] * len(log), _CROWD_TIMES * rows[rows > 0].mean()) if len(log) else 0
        found += [(int(rows[code]), f'{kind} {ids[code]!r}') for code in np.flatnonzero(rows >= least)]
    if found:
        found.sort(reverse=True)
        said = ', '.join(f'{who} {count / len(log):.1%} ({count:,})' for count, who in found[:_NAMED])
        more = f' and {len(found) - _NAMED} more as much' if len(found) > _NAMED else ''
        LOG.warning('%s: of %s interactions so many are of one: %s%s; a test account, guests under one id, shipping, '
                    'vouchers and the like are no user and no item: take their rows out', name or 'the data set',
                    f'{len(log):,}', said, more)


def _warn_of_losses(before: InteractionLog, left: InteractionLog, config: ml_collections.ConfigDict) -> None:
    """Says where a filter takes a third or more of the users, items or interactions."""
    kept = {'users': (_used(left.users), _used(before.users)), 'items': (_used(left.items), _used(before.items)),
            'interactions': (len(left), len(before))}
    if any(few <= 2 / 3 * many for few, many in kept.values()):
        LOG.warning('%s: filter %s with min_user=%d and min_item=%d leaves %s; if that is too little, lower '
                    'data.min_user or data.min_item, or use data.filter=none',
                    config.name or 'the data set', config.filter, config.min_user, config.min_item,
                    ', '.join(f'{few:,} of {many:,} {what}' for what, (few, many) in kept.items()))


def _used(codes: np.ndarray) -> int:
    return int(np.count_nonzero(np.bincount(codes)))


def _warn_of_repeats(before: InteractionLog, left: InteractionLog, config: ml_collections.ConfigDict) -> None:
    """Says where the policy for repeated items takes a third or more of the interactions."""
    if len(left) <= 2 / 3 * len(before):
        LOG.warning('%s: duplicates=%s leaves %s of %s interactions; if people buy things again, use '
                    'data.duplicates=keep', config.name or 'the data set', config.duplicates,
                    f'{len(left):,}', f'{len(before):,}')


def _warn_of_ties(found: Sequences, name: str) -> None:
    """Says where for most users it is not time that tells which item is tested."""
    evaluated, tied = len(found.interactions.evaluated_users()), found.tied_ends()
    if tied > evaluated / 2:
        LOG.warning('%s: the %s two interactions of %d of %d evaluated users have the same time, so the order of the '
                    'rows says which of them is tested; if it is not the true order, give finer times',
                    name or 'the data set', 'first test' if found.by_time else 'last', tied, evaluated)


def sequences(log: InteractionLog, config: ml_collections.ConfigDict, unsold: Unsold | None = None) -> Sequences:
    """Orders, filters and numbers a log as the `data` section of the config says.

    Repeated items are dropped before anything is counted. Under a split by time the filter counts training interactions
    alone, and the catalogue is made of them.

    Args:
      log: all rows of the source, in file order.
      config: the `data` section; `duplicates`, `filter`, `min_user`, `min_item`, `split` and `split_times` are read.
      unsold: of a split by time, gives the items that are in the catalogue beside the given ones, which have a training
        interaction.

    Raises:
      UserError: an unknown filter or policy, moments that cannot be, or nothing is left.
    """
    if config.duplicates not in ('keep', 'exact', 'first', 'last'):
        raise UserError(f'data.duplicates is {config.duplicates!r}; choose keep, exact, first or last')
    if config.filter not in ('k_core', 'one_pass', 'none'):
        raise UserError(f'data.filter is {config.filter!r}; choose k_core, one_pass or none')
    _warn_of_crowds(log, config.name)
    ordered = time_order(log)
    doubles = int(_doubles(ordered).sum())
    unique = drop_repeats(ordered, config.duplicates)
    borders = time_split.moments(unique, config) if time_split.asked_for(config) and len(unique) else None
    counted = unique.take(time_split.training_part(unique, borders[0])) if borders else unique
    left = counted
    if config.filter != 'none':
        keep = k_core if config.filter == 'k_core' else one_pass
        left = counted.take(keep(counted.users, counted.items, config.min_user, config.min_item))
    if not len(left):
        raise UserError(
            f'{config.name or "the data set"}: filter {config.filter} with min_user={config.min_user} and '
            f'min_item={config.min_item} leaves none of {len(counted)} interactions; lower data.min_user or '
            'data.min_item')
    if config.filter != 'none':  # a catalogue may hold items without a purchase yet
        if not borders:
            left = left.compact()
        _warn_of_losses(counted, left, config)
    by_time = None
    if borders:
        more = unsold([log.item_ids[item] for item in np.unique(counted.items)]) if unsold else ()
        left, by_time = time_split.filtered(unique, borders, left, more)
    _warn_of_repeats(ordered, unique, config)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(left.users, minlength=len(left.user_ids)))]).astype(np.int64)
    if config.duplicates == 'keep':  # the other policies drop them
        _warn_of_doubles(doubles, config.name)
    dropped = {
        'users': len(log.user_ids) - len(left.user_ids),
        'items': len(log.item_ids) - (len(set(log.item_ids) & set(left.item_ids)) if by_time else len(left.item_ids)),
        'interactions': len(log) - len(left), 'repeats': len(log) - len(unique)}
    ends = np.stack(time_split.ends(left, borders)) if borders else None
    interactions = Interactions(indptr, left.items + np.int32(1), len(left.item_ids), ends)
    found = Sequences(interactions, left.times, left.user_ids, left.item_ids, dropped, doubles, by_time)
    _warn_of_ties(found, config.name)
    return found

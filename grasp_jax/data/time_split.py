"""The split by time: training lies before a first moment, validation between it and a second one, the test after."""

import dataclasses
import datetime
import logging
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import ml_collections
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.data.interaction_log import InteractionLog
from grasp_jax.data.interactions import Interactions, Split

LOG = logging.getLogger(__name__)
SPLITS = ('leave_one_out', 'time')
TARGETS = ('next', 'all')
SHARES = (0.8, 0.9)  # the default of split_times
Borders = tuple[int | float, int | float]
_CROWD, _ALL = 20, 0.99  # so many users, and so great a share of them, do not begin at one moment by chance
_MANY = 1 / 3  # of the later interactions
_FEW = 0.05  # of the users; where fewer have a target, figures tell little
# Units of Unix times, by the largest number that is taken for one: seconds, milli-, micro- and nanoseconds.
_UNITS = ((1e11, 1), (1e14, 10**3), (1e17, 10**6), (float('inf'), 10**9))


def asked_for(config: ml_collections.ConfigDict) -> bool:
    """Whether the section `data` asks for a split by time."""
    return bool(config.split == 'time')


def stage_settings(data: dict[str, Any]) -> dict[str, Any]:
    """The section `data` as a stage is marked by it: leave-one-out is what there was before there was a choice."""
    if data['split'] == 'time':
        return data
    return {key: value for key, value in data.items() if key not in ('split', 'split_times')}


def check_moments(data: ml_collections.ConfigDict) -> None:
    """Refuses moments that cannot be those of any log.

    Args:
      data: the section `data`.

    Raises:
      UserError: names the setting and the remedy.
    """
    if not asked_for(data):
        return
    values = _read(data.split_times)
    if _dated(values) == [True, True] or _dated(values) == [False, False]:
        _require_order(data.split_times, *values)


def warn_of_unused_moments(data: ml_collections.ConfigDict) -> None:
    """Says where moments are given and nothing is split by time; `data` is the section `data`."""
    if not asked_for(data) and tuple(data.split_times) != SHARES:
        LOG.warning('data.split_times=%s: does nothing under data.split=leave_one_out; to split by time, use '
                    'data.split=time', _shown(data.split_times))


def moments(log: InteractionLog, config: ml_collections.ConfigDict) -> Borders:
    """The two borders in the unit of the log; a row at a border lies after it.

    Args:
      log: all rows, before any filter.
      config: the section `data`; `split_times` are two shares of the span of the log (both above 0 and below 1), or
        two moments, each a number in the unit of the log or an ISO 8601 date, in UTC where it names no zone.

    Raises:
      UserError: they are no such thing, reversed, or outside the span of the log, or its times are no clock.
    """
    values = _read(config.split_times)
    _require_clock(log)
    first, last = log.times.min(), log.times.max()
    shares = [value for value in values if isinstance(value, float) and 0 < value < 1]
    if len(shares) == 1:
        raise UserError(f'data.split_times={_shown(config.split_times)}: one is a share of the span and the '
                        'other a moment; give two of a kind')
    if shares:
        found = [first + (float(last) - float(first)) * share for share in shares]
    else:
        found = [_as_number(value, float(max(abs(first), abs(last)))) for value in values]
    _require_order(config.split_times, *found)
    if not (first < found[0] and found[1] <= last):
        raise UserError(f'data.split_times={_shown(config.split_times)}: the log runs from {_moment(first)} to '
                        f'{_moment(last)}; give two moments between these, or two shares as (0.8, 0.9)')
    return found[0], found[1]


def _require_clock(log: InteractionLog) -> None:
    """Refuses times that count each user's steps: no moment divides them into before and after.

    Raises:
      UserError: practically all users begin together.
    """
    begins = np.full(len(log.user_ids), log.times.max())
    np.minimum.at(begins, log.users, log.times)
    begins = begins[np.bincount(log.users, minlength=len(begins)) > 0]
    together = int((begins == begins.min()).sum())
    if len(begins) >= _CROWD and together >= _ALL * len(begins):
        raise UserError(f'data.split=time: {together:,} of {len(begins):,} users begin at '
                        f'{_moment(begins.min())}, as where times count the steps of each user and are no clock; give '
                        'true times, or use data.split=leave_one_out')


def training_part(log: InteractionLog, first: int | float) -> np.ndarray:
    """bool [r]: rows before the first moment."""
    return np.asarray(log.times < first)


class Left(NamedTuple):
    """What a split by time leaves out.

    Attributes:
      borders: the two moments.
      cold_users: users without a training interaction.
      cold_interactions: their interactions.
      unknown: later interactions of the other users whose item is not in the catalogue.
      unknown_items: their items.
      unsold: items of the catalogue that have no training interaction.
    """

    borders: Borders
    cold_users: int
    cold_interactions: int
    unknown: int
    unknown_items: int
    unsold: int


def filtered(log: InteractionLog, borders: Borders, trained: InteractionLog,
             unsold: Sequence[str]) -> tuple[InteractionLog, Left]:
    """All rows of the users and items that have a training row.

    What is new after the first moment is not known before it, so later rows change neither the catalogue nor its order.

    Args:
      log: all rows.
      borders: the two moments.
      trained: training rows that a filter left, ids numbered as in `log`.
      unsold: ids of items that are in the catalogue all the same, behind the others.
    """
    early = training_part(log, borders[0])
    users, items = (np.bincount(codes, minlength=len(ids)) > 0 for codes, ids in (
        (trained.users, log.user_ids), (trained.items, log.item_ids)))
    catalogue = [*(log.item_ids[item] for item in np.flatnonzero(items)), *unsold]
    places = {identity: place for place, identity in enumerate(catalogue)}
    left = log.take(users[log.users])
    place = np.array([places.get(identity, -1) for identity in log.item_ids], np.int32)[left.items]
    there = place >= 0
    found = dataclasses.replace(left.take(there), items=place[there], item_ids=catalogue).compact_users()
    unknown = left.items[~there & ~training_part(left, borders[0])]
    rows, begun = (np.bincount(codes, minlength=len(log.user_ids)) for codes in (log.users, log.users[early]))
    cold = rows[(rows > 0) & (begun == 0)]
    return found, Left(borders, len(cold), int(cold.sum()), len(unknown), len(np.unique(unknown)), len(unsold))


def ends(log: InteractionLog, borders: Borders) -> tuple[np.ndarray, np.ndarray]:
    """int64 [n] twice: how many rows of each user lie before the first and before the second moment."""
    count = len(log.user_ids)
    first, second = (np.bincount(log.users[log.times < border], minlength=count).astype(np.int64)
                     for border in borders)
    return first, second


def require_targets(interactions: Interactions, config: ml_collections.ConfigDict) -> None:
    """Refuses a split that leaves no user to validate or to test.

    Raises:
      UserError: names the moments.
    """
    places: tuple[tuple[Split, str], ...] = (('valid', 'between the two moments'), ('test', 'after the second moment'))
    for split, where in places:
        if not len(interactions.evaluated_users(split)):
            raise UserError(f'data.split_times={_shown(config.split_times)}: no user with a training '
                            f'interaction has one {where}, so there is no {split} target; give other moments')


def facts(interactions: Interactions, left: Left) -> dict[str, Any]:
    """What the report says of the split; a part of it is said now as well.

    Args:
      interactions: all sequences that are left.
      left: what is not.
    """
    later = int((interactions.lengths - interactions.input_lengths('train')).sum())
    found: dict[str, Any] = {'moments': [_moment(border) for border in left.borders], 'cold_users': left.cold_users,
                             'cold_interactions': left.cold_interactions,
                             'unknown': left.unknown, 'unknown_items': left.unknown_items,
                             'later': later + left.unknown,
                             'valid_users': len(interactions.evaluated_users('valid')),
                             'test_users': len(interactions.evaluated_users('test'))}
    LOG.info('split %s', described(found))
    few = {split: found[f'{split}_users'] for split in ('valid', 'test')
           if found[f'{split}_users'] < _FEW * interactions.num_users}
    if few:
        said = ' and '.join(f'{count:,} ({split})' for split, count in few.items())
        LOG.warning('data.split_times: of %s users with a training interaction only %s have a target, which '
                    'tells little; give moments that more users go beyond, or use data.split=leave_one_out',
                    f'{interactions.num_users:,}', said)
    if left.unknown > _MANY * found['later']:
        LOG.warning('data.split=time: %s of %s later interactions of the users in training are left out, as '
                    'their items have no training interaction; data.keep_unsold=True keeps those that the '
                    'table of items describes, later moments make them fewer', f'{left.unknown:,}',
                    f'{found["later"]:,}')
    return found


def described(found: dict[str, Any]) -> str:
    """The split in words, for the report, from `facts`."""
    unknown = (f'; of the {found["later"]:,} later interactions of the users in training {found["unknown"]:,} are '
               f'left out, as their {found["unknown_items"]:,} items are not in the catalogue of the training'
               ) if found['unknown'] else ''
    rows = f' with their {found["cold_interactions"]:,} interactions' if found.get('cold_interactions') else ''
    return (f'by time: training before {found["moments"][0]}, validation from there, test from {found["moments"][1]} '
            f'on; the target is the next interaction of a user there, its input all before it; '
            f'{found["valid_users"]:,} users are validated, {found["test_users"]:,} tested; '
            f'{found["cold_users"]:,} cold users, who have no training interaction, are left out{rows}{unknown}')


def _read(given: Any) -> list[float | int | datetime.datetime]:
    """Numbers and dates of the setting.

    Raises:
      UserError: there are not two, or one is neither.
    """
    values = list(given) if isinstance(given, tuple | list) else [given]
    if len(values) != 2:
        raise UserError(f'data.split_times={_shown(given)}: give two moments, as data.split_times='
                        '"(\'2015-01-01\', \'2015-04-01\')", or two shares of the span, as "(0.8, 0.9)"')
    return [_value(value, given) for value in values]


def _value(value: Any, given: Any) -> float | int | datetime.datetime:
    if isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value):
        return value
    text = str(value).strip()
    if re.fullmatch(r'[+-]?\d+', text) and not re.fullmatch(r'\d{8}', text):  # eight digits are a date, as 20150101
        return int(text)
    if re.fullmatch(r'[+-]?\d*\.\d+', text):
        return float(text)
    try:
        found = datetime.datetime.fromisoformat(text)
    except ValueError as error:
        raise UserError(f'data.split_times={_shown(given)}: {value!r} is neither a number nor an ISO date, as '
                        '2015-01-31 or 2015-01-31T12:00:00') from error
    return found if found.tzinfo else found.replace(tzinfo=datetime.UTC)


def _dated(values: list[Any]) -> list[bool]:
    return [isinstance(value, datetime.datetime) for value in values]


def _as_number(value: Any, largest: float) -> int | float:
    """A moment in the unit of a log whose largest time is given."""
    if not isinstance(value, datetime.datetime):
        return value if isinstance(value, int) else float(value)
    unit = next(unit for border, unit in _UNITS if largest < border)
    since = value - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
    return (since.days * 86400 + since.seconds) * unit + since.microseconds * unit // 10**6


def _require_order(given: Any, first: Any, second: Any) -> None:
    if not first < second:
        raise UserError(f'data.split_times={_shown(given)}: the second has to be later than the first')


def _shown(given: Any) -> str:
    values = given if isinstance(given, tuple | list) else (given,)
    return f'({", ".join(map(str, values))})'


def _moment(value: Any) -> str:
    """A time of a log as a person reads it: the number, and the date where it looks like a Unix time; of nanoseconds,
    as which dates are read, the date alone."""
    number = float(value)
    shown = f'{int(number)}' if number.is_integer() else f'{number:.6g}' if abs(number) < 1e6 else f'{number:.1f}'
    unit = next(unit for border, unit in _UNITS if abs(number) < border)
    if number < 1e8:  # before 1973: rather the number of a day or a place
        return shown
    if unit < 10**9:
        return f'{shown} ({datetime.datetime.fromtimestamp(number / unit, datetime.UTC):%Y-%m-%d %H:%M})'
    date = datetime.datetime.fromtimestamp(int(value) // unit, datetime.UTC)
    return f'{date:%Y-%m-%d}' if not date.hour + date.minute + date.second else (
        f'{date:%Y-%m-%d %H:%M}' if not date.second else f'{date:%Y-%m-%d %H:%M:%S}')

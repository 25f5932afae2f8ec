"""What a column of times says of itself: which units stand in it, and which values stand in for unknown ones.

Everything is counted over blocks of rows, so that any number of them needs no more memory.
"""

import datetime
import logging
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.data.row_locations import RowLocations

LOG = logging.getLogger(__name__)

_BLOCK = 1 << 22
_SECOND = 'Unix seconds'


class Band(NamedTuple):
    """The numbers that times of a unit take in our days.

    Attributes:
      low, high: from and below.
      name: of the unit.
      year: units in a year; 0 where only the order counts.
      strong: whether numbers of other kinds are hardly ever so large.
    """

    low: float
    high: float
    name: str
    year: float
    strong: bool


_YEAR = 31557600.0
BANDS = (
    Band(1970, 2101, 'years', 1, False), Band(7305, 60000, 'numbers of days', 365.25, False),
    Band(19700101, 21010101, 'dates written as 20240131', 1e4, False), Band(7e8, 4.2e9, _SECOND, _YEAR, True),
    Band(1.970e11, 2.101e11, 'dates written as 202401312359', 1e8, True),
    Band(7e11, 4.2e12, 'milliseconds since 1970', _YEAR * 1e3, True),
    Band(1.970e13, 2.101e13, 'dates written as 20240131235959', 1e10, True),
    Band(7e14, 4.2e15, 'microseconds since 1970', _YEAR * 1e6, True),
    Band(7e17, 4.2e18, 'nanoseconds since 1970', _YEAR * 1e9, True))
_DATES = Band(-2.0**63, 2.0**63, 'nanoseconds since 1970', _YEAR * 1e9, True)
_EDGES = np.array([edge for band in BANDS for edge in (band.low, band.high)])


def _seconds(year: int, month: int = 1, day: int = 1) -> int:
    return (datetime.date(year, month, day) - datetime.date(1970, 1, 1)).days * 86400


_EARLY = {_seconds(*day) for day in ((1, 1, 1), (1601,), (1753,), (1899, 12, 30), (1899, 12, 31), (1900,), (1900, 1, 2),
                                     (1901,), (1904,))}
_LATE = {second for year in (2099, 2199, 2222, 2299, 2999, 3000, 9998, 9999) for start in (_seconds(year, 12, 31),)
         for second in (_seconds(year), start, start + 86399, start + 86400)} | {2**31 - 1, 2**32 - 1, 2**63 // 10**9}
_RAW_LOW = {0, -1, 1, -2**31, -2**63, *(-(10**digits - 1) for digits in range(1, 10))}
_RAW_HIGH = {2**31 - 1, 2**32 - 1, 2**53 - 1, 2**63 - 1, *(10**digits - 1 for digits in range(4, 19))}
_CALENDAR = {10101, 17530101, 18991230, 19000101, 19010101, 19700101, 20991231, 21000101, 29991231, 30000101, 99991231,
             99990101}


def check(times: np.ndarray, path: RowLocations, column: str, rows: Sequence[int], dates: bool) -> None:
    """Refuses a column whose order means nothing, and warns where that is only likely.

    Args:
      times: int64 or float64 [r].
      path, column: where they stand, for messages.
      rows: [r], numbers of the rows.
      dates: whether they were dates, which are nanoseconds now.

    Raises:
      UserError: two units in one column, or a stand-in for unknown times among real ones.
    """
    standing = _standing_in(times, dates)
    band: Band | None = _DATES
    if not dates:
        counts = _by_band(times, standing)
        _refuse_units(times, standing, counts, path, column, rows)
        band = _main_band(counts)
    if band is not None:
        _check_standing_in(times, standing, band, path, column, rows)
        if band.year:
            _warn_of_far_ones(times, standing, band, path, column, rows)
    elif standing:
        _warn_of_minus(times, path, column, rows)


def _blocks(times: np.ndarray) -> Iterator[np.ndarray]:
    return (times[start:start + _BLOCK] for start in range(0, len(times), _BLOCK))


def _standing_in(times: np.ndarray, dates: bool) -> dict[int, int]:
    """The values that may stand in for unknown times: how many rows each has."""
    units = (10**9,) if dates else (1, 10**3, 10**6, 10**9)
    calendar = {day * 10**digits + clock for day in _CALENDAR for digits, clock in (
        (0, 0), (4, 0), (4, 2359), (6, 0), (6, 235959))}
    raw = {-1, 1} if dates else _RAW_LOW | _RAW_HIGH | calendar
    # Midnight of 1970-01-01 in the time of another place than Greenwich.
    zones = {1800 * half for half in range(-28, 29)}
    early = {second * unit for second in _EARLY | zones | {-1, 1} for unit in units}
    late = {second * unit + step for second in _LATE for unit in units for step in {0, unit - 1, max(0, unit - 1000)}}
    wanted = np.array(sorted(value for value in raw | early | late if -2**63 <= value < 2**63), np.int64)
    found: dict[int, int] = {}
    for block in _blocks(times):
        with np.errstate(invalid='ignore'):
            whole = block.astype(np.int64, copy=False)
        places = np.searchsorted(wanted, whole).clip(max=len(wanted) - 1)
        hits = whole[(wanted[places] == whole) & (whole == block)]
        for value, count in zip(*np.unique(hits, return_counts=True), strict=True):
            found[int(value)] = found.get(int(value), 0) + int(count)
    return found


def _row_of(times: np.ndarray, value: float, rows: Sequence[int]) -> int:
    return int(rows[int(np.argmax(times == value))])


def _by_band(times: np.ndarray, standing: dict[int, int]) -> np.ndarray:
    """int [2 bands + 1], rows between (even places) and inside (odd) the bands, without those that may be stand-ins."""
    counts = np.zeros(len(_EDGES) + 1, np.int64)
    for block in _blocks(times):
        places = np.searchsorted(_EDGES, block.astype(np.float64), side='right')
        counts += np.bincount(places, minlength=len(counts))
    for value, count in standing.items():
        counts[int(np.searchsorted(_EDGES, float(value), side='right'))] -= count
    return counts


def _refuse_units(times: np.ndarray, standing: dict[int, int], counts: np.ndarray, path: RowLocations, column: str,
                  rows: Sequence[int]) -> None:
    used = _mixed(counts)
    if not used:
        return
    one, other = used[0], used[-1]
    first = {place: int(np.argmax(_inside(times, BANDS[place // 2], standing))) for place in (one, other)}
    early, late = sorted((one, other), key=first.__getitem__)
    raise UserError(
        f'{path.row(rows[first[late]])}: column {column!r} is {times[first[late]]}, which reads as '
        f'{BANDS[late // 2].name}, while row {path.name(rows[first[early]])} is {times[first[early]]}, '
        f'{BANDS[early // 2].name} ({counts[late]} and {counts[early]} rows): their order would be wrong; write all '
        'rows in one unit')


def _mixed(counts: np.ndarray) -> list[int]:
    """Places of the units that stand in one column: of any two where all rows lie in bands, else of large ones with
    nothing between them. Counters and order numbers lie between the bands as well."""
    used = [place for place in range(1, len(counts), 2) if counts[place]]
    large = [place for place in used if BANDS[place // 2].strong]
    for places in (used, large):
        if large and len(places) > 1:
            below = 0 if BANDS[places[0] // 2].strong else counts[:places[0]].sum()
            if not below and not counts[places[0] + 1:places[-1]:2].any():
                return places
    return []


def _inside(times: np.ndarray, band: Band, standing: dict[int, int]) -> np.ndarray:
    found = (times >= band.low) & (times < band.high)
    for value in standing:
        if band.low <= value < band.high:
            found &= times != value
    return found


def _main_band(counts: np.ndarray) -> Band | None:
    """The band of at least 9 in 10 of the rows that are no stand-ins, as `_by_band` counts them."""
    place = int(np.argmax(counts))
    if place % 2 == 0 or counts[place] < 0.9 * counts.sum():
        return None
    return BANDS[place // 2]


def _check_standing_in(times: np.ndarray, standing: dict[int, int], band: Band, path: RowLocations, column: str,
                       rows: Sequence[int]) -> None:
    """Refuses a stand-in that lies ten years from all real times and beyond them; of small units, only says it."""
    if not standing:
        return
    low, high = np.inf, -np.inf
    known = np.array(sorted(standing), np.int64)
    for block in _blocks(times):
        rest = block[~np.isin(block, known)]
        if len(rest):
            low, high = min(low, float(rest.min())), max(high, float(rest.max()))
    if low > high:
        return  # nothing but stand-ins: perhaps a constant
    gap = 10 * band.year
    found = {value: count for value, count in standing.items() if low > max(0, value + gap) or value - high >= gap}
    if not found:
        return
    value = max(found, key=lambda value: found[value])
    other = int(np.argmax(~np.isin(times, known)))
    if band.name == 'numbers of days' and low < 30000:
        return  # these may count anything; those of spreadsheets are larger
    text = (f'{path.row(_row_of(times, value, rows))}: column {column!r} is {_shown(value, band)} (rows: '
            f'{found[value]}), which is no time like {_shown(times[other], band)} in row {path.name(rows[other])} '
            'but stands in for an unknown one')
    if band.strong or band.year == 1e4:
        raise UserError(f'{text}: these rows would be the first or the last of their users; give their times or delete '
                        'them')
    LOG.warning('%s, it seems; if so, give the times of these rows or delete them', text)


def _shown(value: float, band: Band) -> str:
    if band is not _DATES:
        return str(value)
    return str(np.datetime64(int(value), 'ns').astype('datetime64[s]'))


def _warn_of_far_ones(times: np.ndarray, standing: dict[int, int], band: Band, path: RowLocations, column: str,
                      rows: Sequence[int]) -> None:
    """Says which few rows, or which one value, lie twenty years from all others, as where a year was mistyped."""
    if not band.strong and band.year != 1e4:
        return
    lowest, size = -600, 1300  # years since 1970, or of the calendar where dates are written as numbers
    shift = 1970 if band.low > 0 and band.name.startswith('dates') else 0
    counts = np.zeros(size, np.int64)

    def years(block: np.ndarray) -> np.ndarray:
        return np.clip(np.floor(block / band.year) - shift - lowest, 0, size - 1).astype(np.int64)

    for block in _blocks(times):
        counts += np.bincount(years(block), minlength=size)
    used = np.flatnonzero(counts)
    groups = np.split(used, np.flatnonzero(np.diff(used) > 20) + 1)
    main = max(groups, key=lambda group: counts[group].sum())
    far = len(times) - counts[main].sum()
    if not far:
        return
    beyond = ~np.isin(years(times), main)
    if far <= 0.05 * len(times) or far > 1 and len(np.unique(times[beyond])) == 1:
        place = int(np.argmax(beyond))
        LOG.warning('%s: column %r is %s, over twenty years from nearly all others (%d such rows); if this is '
                    'no time of its own, correct or delete these rows', path.row(rows[place]), column,
                    _shown(times[place], band), far)


def _warn_of_minus(times: np.ndarray, path: RowLocations, column: str, rows: Sequence[int]) -> None:
    """Says where the only negative number is one that stands in for unknown ones."""
    negative = np.unique(times[times < 0])
    if len(negative) == 1 and negative[0] in _RAW_LOW and (times > 0).any():
        LOG.warning('%s: column %r is %s in %d rows, the only number below 0; if it stands in for an unknown '
                    'time, give the times of these rows or delete them', path.row(_row_of(times, negative[0], rows)),
                    column, negative[0], int((times == negative[0]).sum()))

"""Words that programs write where they have no value."""

import re
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as pc

_ALWAYS = frozenset((
    'none', 'nan', 'null', 'nil', 'n/a', 'na', 'n.a.', 'nat', 'undefined', r'\n', '-', '--', '---', '?', '.', '-nan',
    '<na>', '<null>', '<none>', '<nan>', '(null)', '(none)', '[null]', '(not set)', 'not available', '#n/a', '#ref!',
    '#value!', '#name?', '#num!', '#div/0!', '#null!', 'pd.na', '[object object]'))
_PERHAPS = frozenset((
    'unknown', '(unknown)', '[unknown]', '<unknown>', 'missing', 'empty', '(empty)', 'blank', '(blank)', 'unspecified',
    'not specified', 'not applicable', 'not set', 'no data', 'anonymous', 'guest', 'deleted', '[deleted]', 'removed',
    '[removed]', '00000000-0000-0000-0000-000000000000'))
_HASHES = re.compile(r'#{3,}')  # a number that did not fit its cell


def reads_as_nothing(text: str) -> bool:
    """Whether a text is what programs write for a missing value, in any case."""
    word = text.strip().casefold()
    return word in _ALWAYS or bool(_HASHES.fullmatch(word))


def may_be_nothing(text: str) -> bool:
    """Whether a text is a word that people write for a missing value and that may be a name as well."""
    return text.strip().casefold() in _PERHAPS


def missing_ids(ids: pyarrow.Array, counts: np.ndarray) -> np.ndarray:
    """Which ids read as if there were none.

    0 does where no 1 is an id, so that ids are not counted from 0, and it has over five times as many rows as ids have
    on average; -1 does where it is the only negative number.

    Args:
      ids: text [n], distinct.
      counts: int [n], rows of each.

    Returns:
      int [k], their places, most rows first.
    """
    words = pc.utf8_lower(ids)
    known = pc.is_in(words, pyarrow.array([*_ALWAYS, *_PERHAPS], words.type))
    found = np.asarray(pc.or_(known, pc.match_substring_regex(words, f'^{_HASHES.pattern}$')))
    zero = np.asarray(pc.match_substring_regex(ids, r'^0+(\.0+)?$'))
    if zero.any() and not pc.any(pc.match_substring_regex(ids, r'^0*1(\.0+)?$')).as_py():
        found |= zero & (counts > 5 * counts.sum() / len(counts))
    negative = np.asarray(pc.match_substring_regex(ids, r'^-\d+(\.0+)?$'))
    if negative.sum() == 1:
        found |= negative & np.asarray(pc.match_substring_regex(ids, r'^-(1|9+)(\.0+)?$'))
    places = np.flatnonzero(found)
    return places[np.argsort(-counts[places], kind='stable')]


def without_nothing(value: Any) -> Any:
    """A JSON value without the texts that read as nothing: None for such a text, lists and objects without them."""
    if isinstance(value, str):
        return None if reads_as_nothing(value) else value
    if isinstance(value, list):
        return [part for part in map(without_nothing, value) if part is not None]
    if isinstance(value, dict):
        return {key: part for key, part in ((key, without_nothing(part)) for key, part in value.items())
                if part is not None}
    return value

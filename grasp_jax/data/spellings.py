"""Ids that differ only in how one thing may be written: zeros, `.0`, case, Unicode form, invisible characters."""

import decimal
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow
import pyarrow.compute as pc

WAYS = 'leading zeros, `.0`, case, exponents, Unicode form, quotes or invisible characters'
_INVISIBLE = r'[\p{Cf}\x{034F}\x{115F}\x{1160}\x{180B}-\x{180E}\x{2800}\x{3164}\x{FE00}-\x{FE0F}\x{FFA0}]'
_EXPONENT = r'^[+-]?\d(\.\d+)?e\+?\d{1,2}$'
_RANDOM_CASE = r'[a-z0-9][A-Z]'  # a capital letter inside a word


class Meeting(NamedTuple):
    """Ids that meet others in their loose form alone.

    Attributes:
      number: how many.
      one: an example.
      other: what it meets.
    """

    number: int
    one: str
    other: str


def loose(ids: pyarrow.Array, fold_case: bool = True) -> pyarrow.Array:
    """The loose form of ids, equal for two ways to write one thing.

    Args:
      ids: text [n].
      fold_case: whether capital letters are small ones.

    Returns:
      text [n].
    """
    text = ids
    if not pc.all(pc.string_is_ascii(text)).as_py():
        text = pc.utf8_normalize(text, 'NFKC')
        text = pc.replace_substring_regex(text, _INVISIBLE, '')
        text = pc.replace_substring_regex(text, r'\p{Pd}', '-')
    if pc.any(pc.match_substring_regex(text, r'[\s\p{Z}]')).as_py():
        text = pc.replace_substring_regex(text, r'[\s\p{Z}]+', ' ')
    text = pc.utf8_trim(text, ' \'"`\u2018\u2019\u201c\u201d')
    text = _numbers(text)
    if fold_case:
        text = pc.utf8_lower(text)
    return pc.if_else(pc.equal(text, ''), ids, text)


def _numbers(text: pyarrow.Array) -> pyarrow.Array:
    """Numbers without what does not change them."""
    thousands = pc.match_substring_regex(text, r'^\d{1,3}(,\d{3})+(\.0+)?$')
    if pc.any(thousands).as_py():
        text = pc.if_else(thousands, pc.replace_substring(text, ',', ''), text)
    exponents = pc.match_substring_regex(text, _EXPONENT, ignore_case=True)
    dotted = pc.or_(pc.match_substring(text, '.'), pc.match_substring(text, '+'))  # 12E5 may be a code
    written = pc.and_(exponents, dotted)
    whole = [format(decimal.Decimal(number), 'f') for number in text.filter(written).to_pylist()]
    text = pc.replace_with_mask(text, written, pyarrow.array(whole, text.type))
    if pc.any(pc.match_substring_regex(text, r'^\+?0\d|^\+\d|\.0+$')).as_py():
        text = pc.replace_substring_regex(text, r'^\+?0*(\d+)(\.0*)?$', r'\1')
    return text


def _case_tells(ids: pyarrow.Array) -> bool:
    """Whether most ids with letters have capital letters inside of words, as random ones do."""
    lettered = pc.sum(pc.match_substring_regex(ids, r'[A-Za-z]')).as_py() or 0
    mixed = pc.sum(pc.and_(pc.match_substring_regex(ids, _RANDOM_CASE),
                           pc.match_substring_regex(ids, r'[a-z]'))).as_py() or 0
    return mixed > lettered / 2


class KnownIds:
    """Ids that are known, asked for those that meet another one in the loose form alone.

    Example:
      >>> known = KnownIds(['001658', 'B7'])
      >>> known.meeting('1658'), known.meeting('b7'), known.meeting('001658'), known.meeting('1659')
      ('001658', 'B7', None, None)
    """

    def __init__(self, ids: Iterable[str]):
        """Takes the ids; where most look random, case tells them apart."""
        array = pyarrow.array(ids, pyarrow.large_string())
        self._fold_case = not _case_tells(array)
        self._ids = dict(zip(loose(array, self._fold_case).to_pylist(), array.to_pylist(), strict=True))

    def meeting(self, identity: str) -> str | None:
        """A known id that may be the same one, written otherwise."""
        found = self._ids.get(self._loose(identity))
        return None if found == identity else found

    def add(self, identity: str) -> None:
        """Takes in one more."""
        self._ids[self._loose(identity)] = identity

    def _loose(self, identity: str) -> str:
        return str(loose(pyarrow.array([identity], pyarrow.large_string()), self._fold_case)[0].as_py())


def within(ids: pyarrow.Array) -> Meeting | None:
    """Distinct ids of one column that meet another one only in the loose form.

    Where ids look random and fewer than 1 in 100 meet so by case alone, case tells them apart and is kept.
    """
    found = _within(ids, fold_case=True)
    if found and found.number < len(ids) / 100 and _case_tells(ids):
        found = _within(ids, fold_case=False)
    return found


def _within(ids: pyarrow.Array, fold_case: bool) -> Meeting | None:
    forms = loose(ids, fold_case).dictionary_encode()
    if len(forms.dictionary) == len(ids):
        return None
    codes = np.asarray(forms.indices)
    several = np.bincount(codes)[codes] > 1
    first = int(np.argmax(several))
    second = first + 1 + int(np.argmax(codes[first + 1:] == codes[first]))
    return Meeting(int(several.sum()), ids[first].as_py(), ids[second].as_py())


def between(ids: pyarrow.Array, others: pyarrow.Array) -> Meeting | None:
    """Ids that are not among others but meet one of them in the loose form.

    Args:
      ids: text [n], distinct.
      others: text [m], distinct.
    """
    absent = ids.filter(pc.invert(pc.is_in(ids, others)))
    found = _between(absent, others, fold_case=True)
    if found and found.number < len(ids) / 100 and _case_tells(ids) and _case_tells(others):
        found = _between(absent, others, fold_case=False)
    return found


def _between(absent: pyarrow.Array, others: pyarrow.Array, fold_case: bool) -> Meeting | None:
    if not len(absent) or not len(others):
        return None
    places = pc.index_in(loose(absent, fold_case), loose(others, fold_case))
    met = pc.indices_nonzero(pc.is_valid(places))
    if not len(met):
        return None
    first = met[0].as_py()
    return Meeting(len(met), absent[first].as_py(), others[places[first].as_py()].as_py())

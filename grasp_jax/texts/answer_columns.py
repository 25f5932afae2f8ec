"""Columns that know the answer: a user's profile that names the held-out items, an item's list of other items that were
bought later.

Whether a column does so is counted over evaluated users and compared with chance: how often it names the held-out item
of some other user. What a user had in training is no answer, and neither are words that a title of it has as well.
"""

import functools
import logging
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.data.dataset import NEGATIVES, Dataset
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.texts import scripts
from grasp_jax.texts.domains import Domain
from grasp_jax.texts.prompts import clean

LOG = logging.getLogger(__name__)
_USERS, _ITEMS = 4000, 5000  # that are looked at
_COVER, _BEGINNING = 0.8, 0.4  # share of a title's weight, rare words weighing more, that names it; as its first words
_SHORTEST = 12  # characters of such a beginning
_SURE = 1e-3  # probability below which more hits than by chance are none of chance
_PLAIN = 0.05  # share above chance from which on a run would be about the answers
_TIMES = 1.5  # as often as by chance, at least, is more than chance
_LISTS = 0.05  # share of items whose attribute lists others, from which on it is looked at
_CUT = re.compile(r'[,;|\n]|\s/\s')
_NUMBER = re.compile(r'0*(\d+)(?:\.0+)?')


class Found(NamedTuple):
    """What a column names.

    Attributes:
      of: 'users' or 'items'.
      column: its name.
      split: 'valid' or 'test', whichever it names more often.
      share: of the users whose held-out item it names.
      chance: share of users for whom it names somebody else's.
      listed: share of items for which it lists other items; 0 of a user's column.
      knows: whether it is more than chance.
    """

    of: str
    column: str
    split: str
    share: float
    chance: float
    listed: float
    knows: bool

    @property
    def plain(self) -> bool:
        """Whether a model that reads it would be measured by what it was told."""
        return self.of == 'users' and self.knows and self.share - self.chance >= _PLAIN

    def __str__(self) -> str:
        held_out = {'valid': 'validation', 'test': 'test'}[self.split]
        numbers = f'{100 * self.share:.1f}% of the users, by chance {100 * self.chance:.1f}%'
        if self.of == 'users':
            return f'column {self.column!r} of the users names the {held_out} item of {numbers}'
        return (f'column {self.column!r} of the items lists other items (for {100 * self.listed:.0f}% of the items) '
                f'and names, at the item that a user had before it, the {held_out} item of {numbers}')


def look(dataset: Dataset, domain: Domain) -> list[Found]:
    """All columns of the texts that name a held-out item more often than never; those that know it come first.

    Args:
      dataset: as the texts are made of, without what is left out of them.
      domain: which says which attributes of items go into texts.
    """
    people = _People(dataset)
    if not len(people.users):
        return []
    found = [*_of_users(dataset, people), *_of_items(dataset, people, domain)]
    return sorted(found, key=lambda one: (not one.knows, -one.share))


def say(found: Sequence[Found], refuse: bool) -> None:
    """Warns of columns that know the answer.

    Raises:
      UserError: `refuse`, and a column of the users plainly does.
    """
    for one in found:
        if one.knows:
            remedy = f'leave it out with text.leave_out={one.column}'
            if one.of == 'items':
                LOG.warning('%s: such lists are made from later purchases, so that figures come out too good; %s', one,
                            remedy)
            elif refuse and one.plain:
                raise UserError(f'{one}, which would leak the answer; {remedy}, or go on all the same with '
                                'text.audit=False')
            else:
                LOG.warning('%s, which leaks the answer to any model that reads the texts of users; %s', one, remedy)


class _People:
    """Evaluated users, evenly spread, and what they had."""

    def __init__(self, dataset: Dataset):
        interactions = dataset.interactions
        evaluated = np.union1d(*map(interactions.evaluated_users, NEGATIVES))
        rows = evenly_spread(len(evaluated), _USERS)
        self.users = evaluated[rows]
        self.targets: dict[str, np.ndarray] = {}  # 0 where a user has none
        for split in NEGATIVES:
            of_all = np.zeros(interactions.num_users, np.int32)
            of_all[interactions.evaluated_users(split)] = interactions.targets(split)
            self.targets[split] = of_all[self.users]
        self.training = [np.asarray(interactions.sequence(int(user), 'train')) for user in self.users]
        had = [set(map(int, own)) for own in self.training]
        # Rows of the users whose held-out item is not one of their training.
        self.untold = {split: [row for row, target in enumerate(targets) if target and int(target) not in had[row]]
                       for split, targets in self.targets.items()}
        self.whole = [set(map(int, interactions.full_sequence(int(user)))) for user in self.users]
        # The item before the held-out one.
        self.before: dict[str, list[int]] = {split: [int(own[-1]) if len(own) else 0 for own in (
            interactions.sequence(int(user), split) for user in self.users)] for split in NEGATIVES}
        self.turns = 20 if len(rows) <= 1000 else 5

    def count(self, split: str, names: Callable[[int, int], bool]) -> tuple[int, int, int, int]:
        """Hits and tries of `names(row, item)` for own held-out items, and for those of other users."""
        targets, hits, tries, by_chance, tries_by_chance = self.targets[split], 0, 0, 0, 0
        own = self.untold[split]
        for row in own:
            hits, tries = hits + names(row, int(targets[row])), tries + 1
        if hits:
            for turn in range(1, min(self.turns, len(targets) - 1) + 1):
                others = np.roll(targets, turn * max(1, len(targets) // (self.turns + 1)))
                for row in own:
                    if others[row] and int(others[row]) not in self.whole[row]:
                        by_chance, tries_by_chance = by_chance + names(row, int(others[row])), tries_by_chance + 1
        return hits, tries, by_chance, tries_by_chance


def _measured(of: str, column: str, people: _People, names: Callable[[str, int, int], bool],
              listed: float = 0.0) -> Iterator[Found]:
    """The split that a column names more often, where it names any."""
    best: Found | None = None
    for split in ('test', 'valid'):
        hits, tries, by_chance, others = people.count(split, functools.partial(names, split))
        if not hits:
            continue
        share, chance = hits / tries, by_chance / max(others, 1)
        one = Found(of, column, split, share, chance, listed,
                    share > _TIMES * chance and _surprise(hits, tries, by_chance, others) < _SURE)
        if best is None or (one.knows, one.share) > (best.knows, best.share):
            best = one
    if best is not None:
        yield best


def _surprise(hits: int, tries: int, by_chance: int, others: int) -> float:
    """Probability of so many hits or more, were both shares the same (Fisher)."""
    from scipy import stats
    return float(stats.hypergeom.sf(hits - 1, tries + others, hits + by_chance, tries))


class _Names:
    """What items are called."""

    def __init__(self, dataset: Dataset):
        self.ids = [str(identity).casefold() for identity in dataset.item_ids]
        self.titles = [clean(attributes.get('title')) for attributes in dataset.item_attributes]
        self.words = [frozenset(_words(title)) for title in self.titles]
        counts = Counter(word for words in self.words for word in words)
        self._weight = {word: math.log(1 + len(self.words) / count) for word, count in counts.items()}

    def said(self, item: int, value: '_Value', training: Iterable[int]) -> bool:
        """Whether a value names an item, by its id or by most of its title."""
        identity = self.ids[item - 1]
        if loose(identity) in value.pieces or is_named(value.text, identity):
            return True
        words = self.words[item - 1]
        shared = words & value.words
        if not shared:
            return False
        cover = self._sum(shared) / self._sum(words)
        title = self.titles[item - 1].casefold()
        begun = cover >= _BEGINNING and any(title.startswith(piece) for piece in value.beginnings)
        if cover < _COVER and not begun:
            return False
        return not any(shared <= self.words[other - 1] for other in training)

    def _sum(self, words: Iterable[str]) -> float:
        return sum(self._weight[word] for word in words)


class _Value:
    """A value of a profile, taken to pieces."""

    def __init__(self, value: Any):
        self.text = clean(value).casefold()
        self.words = frozenset(_words(self.text))
        self.pieces = {loose(piece) for piece in re.split(r'[\s,;|/=&?"\'()\[\]{}]+', self.text) if piece}
        self.pieces.add(loose(self.text))
        parts = (piece.rstrip(' .…') for piece in (self.text, *_CUT.split(self.text)))
        self.beginnings = {piece.strip() for piece in parts if len(piece.strip()) >= _SHORTEST}


def _of_users(dataset: Dataset, people: _People) -> Iterator[Found]:
    profiles = [dataset.user_attributes[int(user)] for user in people.users]
    columns = sorted({column for profile in profiles for column in profile})
    if not columns:
        return
    names = _Names(dataset)
    for column in columns:
        values = [_Value(profile.get(column)) for profile in profiles]

        def names_it(split: str, row: int, item: int, values: list[_Value] = values) -> bool:
            return bool(values[row].text) and names.said(item, values[row], people.training[row])

        yield from _measured('users', column, people, names_it)


def _of_items(dataset: Dataset, people: _People, domain: Domain) -> Iterator[Found]:
    rows = evenly_spread(len(dataset.item_attributes), _ITEMS)
    some = [dataset.item_attributes[int(row)] for row in rows]
    columns = {name for _, name in domain.fields + domain.sentences}
    if domain.extra:
        columns |= {name for attributes in some for name in attributes}
    columns -= {'title'}
    if not any(attributes.get(column) for attributes in some for column in columns):
        return
    numbers = {loose(str(identity)): row + 1 for row, identity in enumerate(dataset.item_ids)}
    titles: dict[str, int] = {}
    for row, attributes in enumerate(dataset.item_attributes):
        title = clean(attributes.get('title')).casefold()
        if len(title) > 1:
            titles.setdefault(title, row + 1)

    def listed(value: Any, itself: int) -> set[int]:
        found = {numbers.get(loose(piece)) or titles.get(piece) or 0 for piece in pieces_of(value)}
        return found - {0, itself}

    for column in sorted(columns):
        lists = [listed(attributes.get(column), int(row) + 1) for row, attributes in zip(rows, some, strict=True)]
        having = sum(clean(attributes.get(column)) != '' for attributes in some)
        listing = [one for one in lists if one]
        share = len(listing) / max(having, 1)
        if share < _LISTS or share < 0.5 and sum(map(len, listing)) < 2 * len(listing):
            continue  # as a series that is called as its first book

        @functools.cache
        def at(item: int, column: str = column) -> set[int]:
            return listed(dataset.item_attributes[item - 1].get(column), item)

        def names_it(split: str, row: int, item: int, at: Callable[[int], set[int]] = at) -> bool:
            before = people.before[split][row]
            return before > 0 and item in at(before)

        yield from _measured('items', column, people, names_it, share)


def pieces_of(value: Any) -> Iterator[str]:
    """The entries of a list, and of a text that lists."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from pieces_of(each)
        return
    text = clean(value).casefold()
    if text:
        yield text
        yield from (piece.strip(' []\'"') for piece in _CUT.split(text))
        yield from (piece.strip('[]\'",;|') for piece in text.split())


def loose(identity: str) -> str:
    """An id without what programs do to numbers: leading zeros, a point and zeros behind it; and in lower case."""
    identity = identity.strip().casefold()
    number = _NUMBER.fullmatch(identity)
    return number[1] if number else identity


def is_named(text: str, name: str) -> bool:
    """Whether `name` is in `text` as whole words: 'red' is not in 'shredded'. Words that need no space between them end
    anywhere."""
    start = text.find(name) if name else -1
    while start >= 0:
        end = start + len(name)
        cut_before = start > 0 and _joined(text[start - 1], name[0])
        cut_after = end < len(text) and _joined(text[end], name[-1])
        if not (cut_before or cut_after):
            return True
        start = text.find(name, start + 1)
    return False


def _joined(one: str, other: str) -> bool:
    return one.isalnum() and other.isalnum() and not (scripts.is_spaceless(one) or scripts.is_spaceless(other))


def _words(text: str) -> list[str]:
    rest, pieces = scripts.split(text) if scripts.needs_pieces(text) else (text.casefold(), [])
    return [*re.findall(r'\w+', rest), *pieces]

"""Who interacted with what, in time order, and its split: leave-one-out, or by time.

Item id 0 is padding everywhere; items are 1..m, users are 0..n-1.
"""

import dataclasses
from collections.abc import Iterator
from typing import Literal

import numpy as np

Split = Literal['train', 'valid', 'test']
# Users with fewer interactions than this only train (design: one item each for training, validation and test).
MIN_EVALUATED = 3
_HELD_OUT: dict[Split, int] = {'train': 2, 'valid': 2, 'test': 1}  # newest items that the input lacks, leave-one-out
_BLOCK = 1 << 14  # users whose candidates are drawn together


@dataclasses.dataclass(frozen=True)
class Interactions:
    """All users' sequences in compressed rows.

    Attributes:
      indptr: int64 [n + 1]; user u's items are items[indptr[u]:indptr[u + 1]], oldest first.
      items: int32 [interactions], values 1..num_items.
      num_items: number of items m.
      ends: int64 [2, n], for a split by time: how many of each user's oldest items lie before the first and before
        the second moment; None: leave-one-out.

    Example:
      >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
      >>> bought.full_sequence(0).tolist(), bought.full_sequence(1).tolist()
      ([1, 2, 3, 4], [2, 1])
    """

    indptr: np.ndarray
    items: np.ndarray
    num_items: int
    ends: np.ndarray | None = None

    @property
    def num_users(self) -> int:
        """Number of users n.

        Example:
          >>> Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5).num_users
          2
        """
        return len(self.indptr) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: interactions of each user.

        Example:
          >>> Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5).lengths.tolist()
          [4, 2]
        """
        return np.diff(self.indptr)

    def evaluated_users(self, split: Split = 'test') -> np.ndarray:
        """int64 [v]: the users that have a target, in order; under leave-one-out the same for 'valid' and 'test'.

        Example:
          >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
          >>> bought.evaluated_users().tolist()  # user 1 has two items and only trains
          [0]
        """
        if self.ends is None:
            return np.flatnonzero(self.lengths >= MIN_EVALUATED)
        begin = self.input_lengths(split)
        return np.flatnonzero((begin > 0) & (begin < self.window_ends(split)))

    def input_lengths(self, split: Split) -> np.ndarray:
        """int64 [n]: how many of a user's oldest items a model may see as input.

        Training and validation see all but the last two, the test all but the last (leave-one-out); users below
        `MIN_EVALUATED` interactions train with all they have. Split by time, training and validation see all before the
        first moment, the test all before the second.
        """
        if self.ends is not None:
            return np.asarray(self.ends[1 if split == 'test' else 0])
        lengths = self.lengths
        return np.where(lengths >= MIN_EVALUATED, lengths - _HELD_OUT[split], lengths)

    def window_ends(self, split: Split) -> np.ndarray:
        """int64 [n]: how many of a user's oldest items lie before the end of a split: of its input and its window."""
        if self.ends is not None:
            return np.asarray(self.ends[1]) if split == 'valid' else self.lengths
        return self.input_lengths(split) + (self.lengths >= MIN_EVALUATED)

    def targets(self, split: Split) -> np.ndarray:
        """int32 [v]: the held-out item of each evaluated user for 'valid' or 'test', the next one after the input.

        Example:
          >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
          >>> bought.targets('valid').tolist(), bought.targets('test').tolist()
          ([3], [4])
        """
        users = self.evaluated_users(split)
        return self.items[self.indptr[users] + self.input_lengths(split)[users]]

    def sequence(self, user: int, split: Split) -> np.ndarray:
        """int32 [length]: the input items of one user under a split, oldest first.

        Example:
          >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
          >>> bought.sequence(0, 'train').tolist(), bought.sequence(0, 'test').tolist()
          ([1, 2], [1, 2, 3])
        """
        start, stop = int(self.indptr[user]), int(self.indptr[user + 1])
        if self.ends is not None:
            stop = start + int(self.ends[1 if split == 'test' else 0][user])
        elif stop - start >= MIN_EVALUATED:
            stop -= _HELD_OUT[split]
        return self.items[start:stop]

    def full_sequence(self, user: int) -> np.ndarray:
        """int32 [length]: all items of one user, held-out ones included, oldest first.

        Example:
          >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
          >>> bought.full_sequence(0).tolist()
          [1, 2, 3, 4]
        """
        return self.items[self.indptr[user]:self.indptr[user + 1]]

    def touched(self, user: int, split: Split) -> np.ndarray:
        """int32 [length]: the items of one user that are no negatives of a split, see `touched_lengths`."""
        if self.ends is None or split == 'test':
            return self.full_sequence(user)
        return self.items[self.indptr[user]:self.indptr[user] + self.ends[1][user]]

    def touched_lengths(self, split: Split) -> np.ndarray:
        """int64 [n]: how many of a user's oldest items are no negatives of a split.

        All of them, as far as the end of the split: split by time, nothing of the test reaches the validation, which
        picks the parameters.
        """
        return self.lengths if self.ends is None or split == 'test' else np.asarray(self.ends[1])

    def oldest(self, users: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The oldest so many items of some users, one user after the other.

        Args:
          users: int [v].
          lengths: int [v], how many items of each.

        Returns:
          int64 [sum of lengths], the place in `users`, and int32, the items.
        """
        place = np.repeat(np.arange(len(users)), lengths)
        inside = np.arange(len(place)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return place, self.items[self.indptr[users][place] + inside]

    def in_training(self, newest: int = 0) -> np.ndarray:
        """bool [interactions]: which ones are of the training part, of each user the `newest` at most; 0: all."""
        position = np.arange(len(self.items)) - np.repeat(self.indptr[:-1], self.lengths)
        length = np.repeat(self.input_lengths('train'), self.lengths)
        found = position < length
        return found & (position >= length - newest) if newest else found

    def train_item_counts(self) -> np.ndarray:
        """int64 [m + 1]: training interactions of each item; entry 0 is zero.

        Example:
          >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
          >>> bought.train_item_counts().tolist()  # of items 0 (which is none) to 5: users train on 1, 2 and 2, 1
          [0, 2, 2, 0, 0, 0]
        """
        return np.bincount(self.items[self.in_training()], minlength=self.num_items + 1)


def evenly_spread(total: int, count: int) -> np.ndarray:
    """int64: `count` rows of `total`, evenly spread; all where `count` is 0 or there are no more."""
    return np.arange(total) if not 0 < count < total else np.linspace(0, total - 1, count).astype(np.int64)


def draw_negatives(interactions: Interactions, count: int, seed: int, split: Split = 'test') -> np.ndarray:
    """Draws the candidates of all evaluated users; see `negatives_in_blocks`.

    Returns:
      int32 [v, N], rows in the order of `evaluated_users(split)`.

    Example:
      >>> bought = Interactions(np.array([0, 4, 6]), np.array([1, 2, 3, 4, 2, 1]), num_items=5)
      >>> draw_negatives(bought, count=3, seed=42).tolist()  # item 5 alone is new to user 0
      [[5, 0, 0]]
    """
    return np.concatenate([*negatives_in_blocks(interactions, count, seed, split)])


def negatives_in_blocks(interactions: Interactions, count: int, seed: int,
                        split: Split = 'test') -> Iterator[np.ndarray]:
    """Draws the candidates of the sampled protocol, once for all models and epochs, for some users after the others.

    For each evaluated user `count` different items, uniform over those the user never interacted with (training,
    validation or test; see `Interactions.touched`). Where fewer are left than `count`, all of them are taken and the
    rest is 0, which is never ranked.

    Args:
      interactions: all sequences.
      count: negatives per user, N.
      seed: makes the draw repeatable.
      split: whose candidates they are.

    Yields:
      int32 [b, N], one at least, which together are the rows in the order of `evaluated_users(split)`.
    """
    rng = np.random.default_rng(seed)
    users = interactions.evaluated_users(split)
    for first in range(0, max(len(users), 1), _BLOCK):
        some = users[first:first + _BLOCK]
        starts, below = _allowed_below(interactions, some, split)
        left = interactions.num_items - np.diff(starts)
        few = len(left) and left.min() > 2 * count * count  # beside the catalogue
        picks = _pick_few(rng, left, count) if few else _pick(rng, left, count)
        yield _stepped_over(picks, starts, below)


def _allowed_below(interactions: Interactions, users: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray]:
    """How many allowed items lie below each different item of some users.

    Returns:
      int64 [b + 1], where the items of each user begin, and int64, ascending for each user.
    """
    owner, items = interactions.oldest(users, interactions.touched_lengths(split)[users])
    width = interactions.num_items + 1
    pairs = np.sort(owner * width + items)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # np.unique takes ten times as long here
    starts = np.searchsorted(pairs, np.arange(len(users) + 1) * width)
    owner, items = np.divmod(pairs, width)
    return starts, items - 1 - (np.arange(len(pairs)) - starts[owner])


def _pick(rng: np.random.Generator, left: np.ndarray, count: int) -> np.ndarray:
    """int32 [b, N]: different numbers below each of `left`, all of them and then -1 where they are fewer."""
    picks = np.full((len(left), count), -1, np.int32)
    for row, number in enumerate(left.tolist()):
        wanted = min(count, number)
        picks[row, :wanted] = rng.choice(number, wanted, replace=False, shuffle=False)
    return picks


def _pick_few(rng: np.random.Generator, left: np.ndarray, count: int) -> np.ndarray:
    """What `_pick` draws, for all rows at once: a fifth of the time where hardly any number is drawn twice.

    Floyd's algorithm, as in `rng.choice`: the t-th draw is of left - N + t + 1 numbers, the last of which stands in for
    one that the row has already.
    """
    last = (left[:, None] - count + np.arange(count)).astype(np.int64)
    picks = rng.integers(0, last + 1).astype(np.int32)
    ordered = np.sort(picks, axis=1)
    for row in np.flatnonzero((ordered[:, 1:] == ordered[:, :-1]).any(axis=1)):
        seen: set[int] = set()
        for place, pick in enumerate(picks[row].tolist()):
            if pick in seen:
                picks[row, place] = pick = int(last[row, place])
            seen.add(pick)
    return picks


def _stepped_over(picks: np.ndarray, starts: np.ndarray, below: np.ndarray) -> np.ndarray:
    """int32 [b, N], the items that picks among the allowed ones are: each of the user's own is stepped over."""
    number = np.diff(starts)
    order = np.argsort(-number, kind='stable')
    begin, below = starts[order], below.astype(np.int32)
    more = np.searchsorted(-number[order], -np.arange(number.max(initial=0)))  # who has more items of their own
    picked = picks[order]
    found = picked + np.int32(1)
    for place, few in enumerate(more.tolist()):
        found[:few] += picked[:few] >= below[begin[:few] + place, None]
    result = np.empty_like(picks)
    result[order] = found
    return result


def numbers_of_negatives(interactions: Interactions) -> tuple[int, int]:
    """The smallest and the largest number of items that a tested user never touched, of those who left any; twice the
    whole catalogue where there are none such."""
    owner = np.repeat(np.arange(interactions.num_users, dtype=np.int64), interactions.lengths)
    pairs = np.unique(owner * (interactions.num_items + 1) + interactions.items)
    different = np.bincount(pairs // (interactions.num_items + 1), minlength=interactions.num_users)
    left = interactions.num_items - different[interactions.evaluated_users()]
    left = left[left > 0]
    return (int(left.min()), int(left.max())) if len(left) else (interactions.num_items, interactions.num_items)


def head_mask(counts: np.ndarray, threshold: int) -> np.ndarray:
    """bool, like `counts`: which entities are head (the rest are tail).

    Args:
      counts: training interactions per entity.
      threshold: head from this count on; 0 takes the top 20% by count (Pareto), ties at the border counting as head.

    Example:
      >>> head_mask(np.array([9, 5, 1, 1, 0]), threshold=5).tolist()
      [True, True, False, False, False]
      >>> head_mask(np.array([9, 5, 1, 1, 0]), threshold=0).tolist()  # one of five is 20%
      [True, False, False, False, False]
    """
    if threshold > 0:
        return counts >= threshold
    border = np.sort(counts)[::-1][max(int(np.ceil(0.2 * len(counts))) - 1, 0)] if len(counts) else 0
    return counts >= max(border, 1)

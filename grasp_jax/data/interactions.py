"""Who interacted with what, in time order, and its split: leave-one-out, or by time.

Item id 0 is padding everywhere; items are 1..m, users are 0..n-1.
"""

import dataclasses
from typing import Literal

import numpy as np

Split = Literal['train', 'valid', 'test']
# Users with fewer interactions than this only train (design: one item each for training, validation and test).
MIN_EVALUATED = 3


@dataclasses.dataclass(frozen=True)
class Interactions:
    """All users' sequences in compressed rows.

    Attributes:
      indptr: int64 [n + 1]; user u's items are items[indptr[u]:indptr[u + 1]], oldest first.
      items: int32 [interactions], values 1..num_items.
      num_items: number of items m.
      ends: int64 [2, n], for a split by time: how many of each user's oldest items lie before the first and before
        the second moment; None: leave-one-out.
    """

    indptr: np.ndarray
    items: np.ndarray
    num_items: int
    ends: np.ndarray | None = None

    @property
    def num_users(self) -> int:
        """Number of users n."""
        return len(self.indptr) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 [n]: interactions of each user."""
        return np.diff(self.indptr)

    def evaluated_users(self, split: Split = 'test') -> np.ndarray:
        """int64 [v]: the users that have a target, in order; under leave-one-out the same for 'valid' and 'test'."""
        if self.ends is None:
            return np.flatnonzero(self.lengths >= MIN_EVALUATED)
        begin = self.input_lengths(split)
        end = self.ends[1] if split == 'valid' else self.lengths
        return np.flatnonzero((begin > 0) & (begin < end))

    def input_lengths(self, split: Split) -> np.ndarray:
        """int64 [n]: how many of a user's oldest items a model may see as input.

        Training and validation see all but the last two, the test all but the last (leave-one-out); users below
        `MIN_EVALUATED` interactions train with all they have. Split by time, training and validation see all before the
        first moment, the test all before the second.
        """
        if self.ends is not None:
            return np.asarray(self.ends[1 if split == 'test' else 0])
        held_out = {'train': 2, 'valid': 2, 'test': 1}[split]
        lengths = self.lengths
        return np.where(lengths >= MIN_EVALUATED, lengths - held_out, lengths)

    def targets(self, split: Split) -> np.ndarray:
        """int32 [v]: the held-out item of each evaluated user for 'valid' or 'test', the next one after the input."""
        users = self.evaluated_users(split)
        return self.items[self.indptr[users] + self.input_lengths(split)[users]]

    def sequence(self, user: int, split: Split) -> np.ndarray:
        """int32 [length]: the input items of one user under a split, oldest first."""
        start = self.indptr[user]
        return self.items[start:start + self.input_lengths(split)[user]]

    def whole(self, user: int) -> np.ndarray:
        """int32 [length]: all items of one user, held-out ones included, oldest first."""
        return self.items[self.indptr[user]:self.indptr[user + 1]]

    def touched(self, user: int, split: Split) -> np.ndarray:
        """int32 [length]: the items of one user that are no negatives of a split.

        All of them, as far as the end of the split: split by time, nothing of the test reaches the validation, which
        picks the parameters.
        """
        if self.ends is None or split == 'test':
            return self.whole(user)
        return self.items[self.indptr[user]:self.indptr[user] + self.ends[1][user]]

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
        """int64 [m + 1]: training interactions of each item; entry 0 is zero."""
        return np.bincount(self.items[self.in_training()], minlength=self.num_items + 1)


def evenly_spread(total: int, count: int) -> np.ndarray:
    """int64: `count` rows of `total`, evenly spread; all where `count` is 0 or there are no more."""
    return np.arange(total) if not 0 < count < total else np.linspace(0, total - 1, count).astype(np.int64)


def draw_negatives(interactions: Interactions, count: int, seed: int, split: Split = 'test') -> np.ndarray:
    """Draws the candidates of the sampled protocol, once for all models and epochs.

    For each evaluated user `count` different items, uniform over those the user never interacted with (training,
    validation or test; see `Interactions.touched`). Where fewer are left than `count`, all of them are taken and the
    rest is 0, which is never ranked.

    Args:
      interactions: all sequences.
      count: negatives per user, N.
      seed: makes the draw repeatable.
      split: whose candidates they are.

    Returns:
      int32 [v, N], rows in the order of `evaluated_users(split)`.
    """
    rng = np.random.default_rng(seed)
    users = interactions.evaluated_users(split)
    drawn = np.zeros((len(users), count), np.int32)
    for row, user in enumerate(users):
        own = np.unique(interactions.touched(user, split))
        left = interactions.num_items - len(own)
        wanted = min(count, left)
        # An index among the allowed items becomes an item id by stepping over the user's own.
        picks = rng.choice(left, wanted, replace=False, shuffle=False)
        drawn[row, :wanted] = picks + np.searchsorted(own - np.arange(len(own)) - 1, picks, side='right') + 1
    return drawn


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
    """
    if threshold > 0:
        return counts >= threshold
    border = np.sort(counts)[::-1][max(int(np.ceil(0.2 * len(counts))) - 1, 0)] if len(counts) else 0
    return counts >= max(border, 1)

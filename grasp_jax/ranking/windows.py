"""All items that a user comes to in a split's window, instead of the next one alone (`evaluate.targets=all`).

They are looked for in the list of a user, the best items under full ranking. As RecTools and RePlay define them, over
the n different items of the window:

- NDCG@k: the sum of 1 / log2(place + 1) over the first k places that hold one of them, over the same sum of the best
  list that there can be, which begins with min(k, n) of them (RecTools' `NDCG` with `divide_by_achievable`, RePlay's
  `NDCG`);
- Recall@k: how many of the n the first k places hold, as a share of n;
- HR@k: 1 where they hold any;
- MRR: 1 / the first place that holds one, 0 where the list has none.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from grasp_jax.data.interactions import Interactions, Split

_BLOCK = 1 << 16  # users looked at together


class Wanted(NamedTuple):
    """Different items of some users' windows.

    Attributes:
      counts: int32 [v], how many each user has; 0 where a window holds nothing but what was in the input.
      pairs: int64, sorted, the place of a user times `width` plus an item.
      width: m + 1.
    """

    counts: np.ndarray
    pairs: np.ndarray
    width: int

    def some(self, chosen: slice) -> 'Wanted':
        """Those of some of the users, one after the other."""
        first, last, _ = chosen.indices(len(self.counts))
        low, high = np.searchsorted(self.pairs, [first * self.width, last * self.width])
        return Wanted(self.counts[first:last], self.pairs[low:high] - first * self.width, self.width)


def wanted(interactions: Interactions, users: np.ndarray, split: Split, repeats: bool = False) -> Wanted:
    """What lists of a split should hold.

    Args:
      interactions: all sequences.
      users: int [v].
      split: 'valid' or 'test'.
      repeats: whether lists hold items of the input; where they do not, such an item of the window is none of them.
    """
    width, pairs = interactions.num_items + 1, []
    begin = interactions.input_lengths(split)
    end = interactions.window_ends(split)
    for first in range(0, len(users), _BLOCK):
        some = users[first:first + _BLOCK]
        owner, items = interactions.oldest(some, end[some])
        inside = np.arange(len(owner)) - np.searchsorted(owner, owner)
        later = inside >= begin[some][owner]
        keys = (first + owner) * width + items
        found = np.unique(keys[later])
        pairs.append(found if repeats else np.setdiff1d(found, keys[~later]))
    found = np.concatenate([np.zeros(0, np.int64), *pairs])
    return Wanted(np.bincount(found // width, minlength=len(users)).astype(np.int32), found, width)


def hits(lists: np.ndarray, found: Wanted) -> np.ndarray:
    """uint8 [v, K], 1 where a place of a list holds an item that is wanted.

    Args:
      lists: int [v, K], item ids, the best first, 0 where there are no more.
      found: of these v users.
    """
    keys = np.arange(len(lists))[:, None] * found.width + lists
    return (np.isin(keys, found.pairs, kind='sort') & (lists > 0)).astype(np.uint8)


def values(there: np.ndarray, counts: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """NDCG, HR and Recall at each k, and MRR: float64 [v], NaN of users for whom nothing is wanted.

    Args:
      there: [v, K], of `hits`.
      counts: int [v], of `Wanted`.
      ks: cut-offs; one above K means K places, of an ideal list too.
    """
    there, empty = np.asarray(there, np.float64), np.asarray(counts) == 0
    gains = 1 / np.log2(np.arange(2, there.shape[1] + 2))
    ideal = np.concatenate([[np.nan], np.cumsum(gains)])
    some = np.where(empty, np.nan, 1)
    found = {f'NDCG@{k}': there[:, :k] @ gains[:k] / ideal[np.minimum(counts, min(k, len(gains)))] for k in ks}
    found |= {f'HR@{k}': there[:, :k].max(1, initial=0) * some for k in ks}
    found |= {f'Recall@{k}': there[:, :k].sum(1) / np.where(empty, np.nan, counts) for k in ks}
    first = np.where(there.any(1), there.argmax(1) + 1, np.inf) if there.shape[1] else np.full(len(there), np.inf)
    return {**found, 'MRR': some / first}

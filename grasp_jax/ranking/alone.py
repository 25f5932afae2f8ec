"""Users whose target has nothing to be ranked against: their rank is NaN, and every mean leaves them out."""

import numpy as np

from grasp_jax.data.interactions import Interactions, Split
from grasp_jax.ranking.metrics import Ranks


def under_sampled(interactions: Interactions, users: np.ndarray) -> np.ndarray:
    """bool [v], which of some users have every item, so that they have no negatives."""
    return _having_all(interactions, users, interactions.lengths[users], None)


def under_full(interactions: Interactions, users: np.ndarray, targets: np.ndarray, split: Split,
               repeats: bool) -> np.ndarray:
    """bool [v], which of some users have no candidate but the target under full ranking.

    Args:
      interactions: all sequences.
      users: int [v].
      targets: int [v], their held-out items.
      split: 'valid' or 'test', whose inputs are left out.
      repeats: whether they are not.
    """
    if repeats:
        return np.full(len(users), interactions.num_items == 1)
    return _having_all(interactions, users, interactions.input_lengths(split)[users], targets)


def without(ranks: Ranks, interactions: Interactions, repeats: bool) -> Ranks:
    """Ranks of the test, and NaN for users that have none, where files of earlier versions have 1; `repeats` as in
    `under_full`."""
    return marked(ranks, under_sampled(interactions, ranks.users),
                  under_full(interactions, ranks.users, ranks.targets, 'test', repeats))


def marked(ranks: Ranks, sampled: np.ndarray, full: np.ndarray) -> Ranks:
    """The same ranks, and NaN for users bool [v] that have none under a protocol."""
    found = ranks._replace(sampled=np.where(sampled, np.float32(np.nan), ranks.sampled))
    return found._replace(full=np.where(full, np.float32(np.nan), ranks.full)) if len(ranks.full) else found


def _having_all(interactions: Interactions, users: np.ndarray, lengths: np.ndarray,
                targets: np.ndarray | None) -> np.ndarray:
    """bool [v], whose oldest so many items are, with the target, all items that there are."""
    found, own = np.zeros(len(users), bool), [] if targets is None else [targets]
    for row in np.flatnonzero(lengths + len(own) >= interactions.num_items):  # few, and none in a usual catalogue
        start = interactions.indptr[users[row]]
        items = interactions.items[start:start + lengths[row]]
        found[row] = len(np.unique(np.append(items, [each[row] for each in own]))) == interactions.num_items
    return found

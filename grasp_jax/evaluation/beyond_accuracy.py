"""What accuracy hides: how much of the catalogue lists show, how popular, novel and diverse it is, and for whom.

All values are of the first k items of each list. A popularity is a number of training interactions.

| key | definition |
|---|---|
| `Coverage@k` | different items in all lists, as a share of the catalogue (RecTools' `CatalogCoverage`, normalised) |
| `Gini@k` | Gini coefficient of how often each item of the catalogue is listed: 0 all alike, 1 - k/m the same k of m for all |
| `Popularity@k` | mean popularity of a list's items, mean over users (RecTools' `AvgRecPopularity`) |
| `Novelty@k` | mean of -log2 of the share of training users who have the item, mean over users (RecTools' `MeanInvUserFreq`; an item that no one has counts as one that one user has) |
| `Diversity@k` | mean of 1 - cosine over the pairs of a list by the items' text vectors, mean over users (RecTools' `IntraListDiversity`; 0 for a list of one item); None where there are no vectors |
| `PopularityLift@k` | of a group of users: how far the mean popularity of their lists is above that of their histories, as a share of the latter; 0 is calibrated (Abdollahpouri et al., "The Connection Between Popularity Bias, Calibration, and Fairness in Recommendation", RecSys 2020) |
| `PopularityDeviation@k` | of a group: mean Jensen-Shannon divergence, 0 to 1, of the shares of popular, middle and rare items in a user's history and list (Abdollahpouri et al., "User-centered Evaluation of Popularity Bias in Recommender Systems", UMAP 2021); popular and rare items make up the upper and the lower fifth of the training interactions |
"""  # noqa: E501 (a table row is one line)

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from grasp_jax.data.interactions import Interactions
from grasp_jax.retrieval.exact import unit

Tree = dict[str, Any]
OF_ALL = ('Coverage', 'Gini', 'Popularity', 'Novelty', 'Diversity')
OF_GROUPS = ('PopularityLift', 'PopularityDeviation')
_USERS = 256  # whose vectors are held at once
_BORDER = 0.2  # share of the training interactions that popular items, and rare ones, make up


class Known(NamedTuple):
    """What lists are measured against.

    Attributes:
      counts: int64 [m + 1], training interactions of each item; entry 0 is zero.
      owners: int64 [m + 1], how many different users they are of.
      users: how many users have any.
      vectors: [m + 1, E], of the items' texts, row 0 is no item; None where there are none.
    """

    counts: np.ndarray
    owners: np.ndarray
    users: int
    vectors: np.ndarray | None = None


def known_of(interactions: Interactions, vectors: np.ndarray | None = None) -> Known:
    """What lists are measured against, from the training part of all sequences.

    Example:
      >>> bought = Interactions(np.array([0, 3, 6]), np.array([1, 2, 3, 1, 3, 4]), num_items=4)
      >>> known_of(bought).counts.tolist()  # the last two items of each user are held out
      [0, 2, 0, 0, 0]
    """
    lengths = interactions.input_lengths('train')
    owner, items = interactions.oldest(np.arange(interactions.num_users), lengths)
    pairs = np.unique(owner * (interactions.num_items + 1) + items)
    size = interactions.num_items + 1
    return Known(np.bincount(items, minlength=size), np.bincount(pairs % size, minlength=size),
                 int((lengths > 0).sum()), vectors)


def of_lists(lists: np.ndarray, ks: Sequence[int], known: Known) -> dict[str, float | None]:
    """The values of all users together, `OF_ALL` at each k.

    Args:
      lists: int32 [v, K], item ids, the best first, 0 where there are no more.
      ks: cut-offs, up to K; a larger one means K.
      known: what they are measured against.

    Returns:
      `Coverage@k` and so on; None where no list has an item, and the diversity where there are no vectors.

    Example:
      >>> bought = Interactions(np.array([0, 3, 6]), np.array([1, 2, 3, 1, 3, 4]), num_items=4)
      >>> found = of_lists(np.array([[2, 3], [3, 2]]), ks=[2], known=known_of(bought))
      >>> found['Coverage@2'], found['Gini@2'], found['Popularity@2']  # 2 of 4 items, none of them popular
      (0.5, 0.5, 0.0)
    """
    counts, owners = known.counts, np.maximum(known.owners, 1)
    novelty = -np.log2(owners / max(known.users, 1))
    similar = None if known.vectors is None else _pair_sums(lists, known.vectors)
    found: dict[str, float | None] = {}
    for k in ks:
        top = lists[:, :k]
        shown = np.bincount(top.ravel(), minlength=len(counts))[1:]
        found[f'Coverage@{k}'] = float((shown > 0).mean()) if shown.any() else None
        found[f'Gini@{k}'] = gini(shown) if shown.any() else None
        found[f'Popularity@{k}'] = _mean(_of_each(counts, top))
        found[f'Novelty@{k}'] = _mean(_of_each(novelty, top))
        found[f'Diversity@{k}'] = None if similar is None else _mean(_diversity(similar, top))
    return found


def of_groups(lists: np.ndarray, users: np.ndarray, interactions: Interactions, groups: Mapping[str, np.ndarray],
              ks: Sequence[int], known: Known) -> dict[str, dict[str, float | None]]:
    """How well the popularity of lists fits that of histories, `OF_GROUPS` at each k.

    Args:
      lists: as in `of_lists`.
      users: int [v], whose lists they are; their histories are the inputs of the test.
      interactions: all sequences.
      groups: bool [v] by name.
      ks, known: as in `of_lists`.

    Returns:
      For each group `PopularityLift@k` and `PopularityDeviation@k`; None for an empty group.
    """
    owner, items = interactions.oldest(users, interactions.input_lengths('test')[users])
    length = np.bincount(owner, minlength=len(users))
    own = np.bincount(owner, known.counts[items], len(users)) / np.maximum(length, 1)
    kinds = popularity_kinds(known.counts)
    own_shares = np.stack([np.bincount(owner, kinds[items] == kind, len(users)) for kind in range(3)], 1)
    found: dict[str, dict[str, float | None]] = {name: {} for name in groups}
    for k in ks:
        top = lists[:, :k]
        there = (top > 0).any(1) & (length > 0)
        popularity = np.where(there, known.counts[top].sum(1) / np.maximum((top > 0).sum(1), 1), 0)
        shares = np.stack([((kinds[top] == kind) & (top > 0)).sum(1) for kind in range(3)], 1)
        apart = divergence(own_shares, shares)
        for name, mask in groups.items():
            chosen = mask & there
            before, after = own[chosen].sum(), popularity[chosen].sum()
            found[name][f'PopularityLift@{k}'] = float(after / before - 1) if before else None
            found[name][f'PopularityDeviation@{k}'] = _mean(apart[chosen])
    return found


def gini(counts: np.ndarray) -> float:
    """Gini coefficient of counts [m] that are not all zero: 0 where all are equal, 1 - 1/m where one has all.

    Example:
      >>> gini(np.array([1, 1, 1, 1])), gini(np.array([4, 0, 0, 0]))
      (0.0, 0.75)
    """
    ordered = np.sort(counts.astype(np.float64))
    places = 2 * np.arange(1, len(ordered) + 1) - len(ordered) - 1
    return float(places @ ordered / (len(ordered) * ordered.sum()))


def popularity_kinds(counts: np.ndarray) -> np.ndarray:
    """int [m + 1], 0 for a popular, 1 for a middle and 2 for a rare item; items of equal counts are of one kind.

    Args:
      counts: int64 [m + 1], training interactions of each item; entry 0 is no item.
    """
    values, many = np.unique(counts[1:], return_counts=True)
    below = np.cumsum(values * many) / max(int(counts.sum()), 1)  # share that items of at most this count make up
    kind = np.where(below <= _BORDER, 2, 1)
    kind[np.concatenate([[0], below[:-1]]) >= 1 - _BORDER] = 0
    kind[-1:] = 0  # the most popular are popular, however large their share
    return np.concatenate([[1], kind[np.searchsorted(values, counts[1:])]])


def divergence(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Jensen-Shannon divergence, 0 to 1, of the distributions that rows of counts [v, c] stand for: float64 [v].

    Example:
      >>> divergence(np.array([[1, 1], [3, 0]]), np.array([[2, 2], [0, 5]])).tolist()
      [0.0, 1.0]
    """
    first, second = (each / np.maximum(each.sum(1, keepdims=True), 1) for each in (left, right))
    middle = (first + second) / 2

    def apart(each: np.ndarray) -> np.ndarray:
        ratio = np.divide(each, middle, out=np.ones_like(each), where=each > 0)
        total: np.ndarray = (each * np.log2(ratio)).sum(1)
        return total

    return (apart(first) + apart(second)) / 2


def _of_each(values: np.ndarray, top: np.ndarray) -> np.ndarray:
    """The mean of `values` [m + 1] over each list that has an item."""
    there = top > 0
    many = there.sum(1)
    return (values[top] * there).sum(1)[many > 0] / many[many > 0]


def _pair_sums(lists: np.ndarray, vectors: np.ndarray) -> np.ndarray:
    """float64 [v, K], the sum of the cosines of each item with those before it in its list."""
    found = np.zeros(lists.shape)
    for start in range(0, len(lists), _USERS):
        some = lists[start:start + _USERS]
        ids, place = np.unique(some, return_inverse=True)
        directions = unit(vectors[ids])
        directions[ids == 0] = 0
        rows = directions[place.reshape(some.shape)]
        found[start:start + len(some)] = np.tril(rows @ rows.transpose(0, 2, 1), -1).sum(2, dtype=np.float64)
    return found


def _diversity(sums: np.ndarray, top: np.ndarray) -> np.ndarray:
    """1 - the mean cosine of the pairs of each list that has an item; 0 where there is no pair."""
    many = (top > 0).sum(1)
    pairs = many * (many - 1) / 2
    found = 1 - sums[:, :top.shape[1]].sum(1) / np.maximum(pairs, 1)
    return np.where(pairs > 0, found, 0)[many > 0]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None

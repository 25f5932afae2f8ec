"""Baselines that cost seconds, ranked on the same users, targets and candidates as the model.

They count training rows alone, and score with the items that the model has as its input (in the test the validation
item too). Nothing about them is tuned.

- popularity: training interactions of an item.
- item_knn: the sum, over the items of the whole history, of the cosine between two items' columns of the matrix of
  users and items (1 where a user has an item in training, else 0). In large catalogues an item keeps its nearest
  others alone, so many that the table has `_ENTRIES` at most: all of them up to 6,324 items, 33 of 1.2 million items.
- item_knn_last3: the same over the three newest interactions.
- transitions: how often the item followed the newest item of the history directly, in training (first-order Markov).
- content: the cosine with the mean of the history's vectors, where there are any.
- own_items: how often the user had it, with `evaluate.repeats` alone, as elsewhere what a user had is left out.

Everything else is zero, and ties count half, so an item that a baseline knows nothing of is no better than chance.
"""

import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse

from grasp_jax.common import archives
from grasp_jax.data.interactions import Interactions, Split, evenly_spread
from grasp_jax.ranking import windows
from grasp_jax.ranking.metrics import Ranks
from grasp_jax.retrieval.exact import unit

NAMES = {'popularity': 'popularity', 'item_knn': 'item-KNN', 'item_knn_last3': 'item-KNN over the last 3 items',
         'transitions': 'first-order transitions', 'content': "mean of the history's vectors",
         'own_items': "the user's own items by count"}
_ENTRIES = 4 * 10 ** 7  # of the table of neighbours: 320 MB
_PAIRS = 10 ** 9  # of items in the users' histories at most: half a minute of one core
_BLOCK = 1 << 24  # numbers of a block of scores or of pairs: 64 MB in float32
# Users times items, and users, that are ranked at most; of more users a sample is, evenly spread.
_CELLS, _USERS = 2 * 10 ** 9, 200_000
_ITEMS = 1 << 16  # vectors that are read together

Histories = Sequence[np.ndarray]
Scores = Callable[[Histories], np.ndarray]


class Sample(NamedTuple):
    """The users that are ranked.

    Attributes:
      users: int64 [v], evaluated users.
      targets: int32 [v].
      negatives: int32 [v, N], the stored draw, 0 where there is none.
      histories: v arrays of item ids, what the model has as its input, oldest first.
      depth: how many places of lists are looked at for `wanted`; 0: none.
      wanted: all items of the users' windows; None where the next one alone is looked for.
    """

    users: np.ndarray
    targets: np.ndarray
    negatives: np.ndarray
    histories: Histories
    depth: int = 0
    wanted: windows.Wanted | None = None


def ranked(interactions: Interactions, negatives: np.ndarray, count: int = 0, split: Split = 'test', depth: int = 0,
           repeats: bool = False) -> Sample:
    """The users that a model is ranked on, or evenly spread ones of them where data are large.

    Args:
      interactions: all sequences.
      negatives: int32, one row for each evaluated user.
      count: as `evaluate.max_users`; 0: all.
      split: 'valid' or 'test'.
      depth: places of lists that are looked at for all items of a window; 0: the next item alone is looked for.
      repeats: whether items of the history are among the former.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 3, 4, 4, 3, 2, 1]), num_items=5)
      >>> sample = ranked(bought, negatives=np.array([[5], [5]]))
      >>> sample.targets.tolist(), [history.tolist() for history in sample.histories]
      ([4, 1], [[1, 2, 3], [4, 3, 2]])
    """
    users = interactions.evaluated_users(split)
    chosen = evenly_spread(len(users), count)
    most = min(max(_CELLS // max(interactions.num_items, 1), 1), _USERS)
    chosen = chosen[evenly_spread(len(chosen), most)]
    users, items = users[chosen], np.asarray(interactions.items)
    starts, lengths = interactions.indptr[users], interactions.input_lengths(split)[users]
    return Sample(users, interactions.targets(split)[chosen], np.asarray(negatives[chosen]),
                  [items[start:start + length] for start, length in zip(starts, lengths, strict=True)],
                  min(depth, interactions.num_items),
                  windows.wanted(interactions, users, split, repeats) if depth else None)


def by_counts(interactions: Interactions, sample: Sample, repeats: bool = False) -> dict[str, Ranks]:
    """Ranks by popularity, both kinds of item-KNN, transitions and, with repeats, the user's own counts.

    Args:
      interactions: all sequences.
      sample: who is ranked.
      repeats: whether the items of the history stay among the candidates of full ranking.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 3, 4, 4, 3, 2, 1]), num_items=5)
      >>> found = by_counts(bought, ranked(bought, negatives=np.array([[5], [5]])))
      >>> found['popularity'].full.tolist()  # no user bought item 5
      [1.0, 1.0]
      >>> found['transitions'].full.tolist()  # nothing follows item 3 or 2 in training: a tie with item 5
      [1.5, 1.5]
    """
    popular = interactions.train_item_counts().astype(np.float32)
    near, moves = similarities(interactions), transitions(interactions)

    def through(table: sparse.csr_matrix, newest: int) -> Scores:
        return lambda histories: (_rows(histories, newest, table.shape[0]) @ table).toarray()

    scorers: dict[str, Scores] = {
        'popularity': lambda histories: np.tile(popular, (len(histories), 1)),
        'item_knn': through(near, 0), 'item_knn_last3': through(near, 3), 'transitions': through(moves, 1)}
    if repeats:
        scorers['own_items'] = lambda histories: _rows(histories, 0, len(popular), counted=True).toarray()
    return {name: _ranks(scores, len(popular), sample, repeats) for name, scores in scorers.items()}


def by_content(sample: Sample, vectors: np.ndarray, repeats: bool = False) -> Ranks:
    """Ranks by the cosine with the mean of the history's unit vectors; items of equal vectors tie.

    Args:
      sample, repeats: as in `by_counts`.
      vectors: [m, E], of items 1..m.

    Example:
      >>> bought = Interactions(np.array([0, 4]), np.array([1, 2, 3, 4]), num_items=5)
      >>> vectors = np.array([[1, 0], [1, 0], [1, 0], [1, 0.1], [0, 1]], np.float32)  # item 4 is like the first three
      >>> by_content(ranked(bought, negatives=np.array([[5]])), vectors).full.tolist()
      [1.0]
    """
    first, place = _different(vectors)
    place = np.concatenate([[0], place + 1])  # a column of zeros for item 0

    def scores(histories: Histories) -> np.ndarray:
        means = np.stack([unit(vectors[history - 1]).mean(0) if len(history) else np.zeros(vectors.shape[1], np.float32)
                          for history in histories])
        parts = [means @ unit(vectors[first[start:start + _ITEMS]]).T for start in range(0, len(first), _ITEMS)]
        return np.concatenate([np.zeros((len(means), 1), np.float32), *parts], 1)[:, place]

    return _ranks(scores, len(place), sample, repeats)


def _different(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each different vector, and which of these each row is equal to: a matrix product may give equal
    columns scores that differ in the last bit."""
    weights = np.random.default_rng(0).integers(1, 2 ** 63, vectors.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    marks = [(np.asarray(vectors[start:start + _ITEMS], np.float32) + np.float32(0)).view(np.uint32) @ weights
             for start in range(0, len(vectors), _ITEMS)]  # 64 bits of each row
    _, first, place = np.unique(np.concatenate(marks), return_index=True, return_inverse=True)
    return first, place


def similarities(interactions: Interactions) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1]: of each item the cosines with its nearest others, ties by the smaller id.

    Of very long histories the newest different items alone count, so many that all users have `_PAIRS` pairs at most.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 3, 4, 1, 5, 3, 4]), num_items=5)
      >>> round(similarities(bought)[1, 2].item(), 3)  # item 1 has two buyers, item 2 one of them: 1 / sqrt(2)
      0.707
    """
    table = _training(interactions)
    lengths = np.diff(table.indptr).astype(np.float32)
    norms = np.sqrt(np.maximum(np.bincount(table.indices, minlength=table.shape[1]), 1)).astype(np.float32)
    by_item = table.T.tocsr()
    rows, neighbours = [], max(_ENTRIES // interactions.num_items, 1)
    for start, stop in _blocks(by_item @ lengths):
        found = (by_item[start:stop] @ table).tocsr()
        found.sort_indices()
        owner = np.repeat(np.arange(start, stop), np.diff(found.indptr))
        found.data = np.where(found.indices == owner, 0, found.data / (norms[owner] * norms[found.indices]))
        found.eliminate_zeros()
        rows.append(_nearest(found, neighbours))
    return sparse.vstack(rows, format='csr')


def transitions(interactions: Interactions) -> sparse.csr_matrix:
    """float32 [m + 1, m + 1]: how often one item follows another directly in training.

    Example:
      >>> bought = Interactions(np.array([0, 4, 8]), np.array([1, 2, 3, 4, 1, 2, 5, 3]), num_items=5)
      >>> transitions(bought)[1, 2].item()
      2.0
    """
    before = interactions.in_training()
    last = np.zeros(len(before) + 1, bool)
    last[interactions.indptr[:-1] + interactions.input_lengths('train') - 1] = True
    places = np.flatnonzero(before & ~last[:-1])
    items, size = np.asarray(interactions.items), interactions.num_items + 1
    return sparse.csr_matrix((np.ones(len(places), np.float32), (items[places], items[places + 1])), (size, size))


def save(path: pathlib.Path, ranks: dict[str, Ranks]) -> None:
    """Writes the ranks of several baselines over the same users."""
    first = next(iter(ranks.values()))
    arrays = {f'{name}_{key}': getattr(found, key).astype(np.float32) for name, found in ranks.items()
              for key in ('sampled', 'full')}
    if first.wanted is not None:
        arrays |= {'wanted': first.wanted, **{f'{name}_hits': found.hits for name, found in ranks.items()}}
    archives.write(path, {'users': first.users, 'targets': first.targets, **arrays})


def load(path: pathlib.Path) -> dict[str, Ranks]:
    """Reads what `save` wrote."""
    found = archives.read(path, ('users', 'targets'))
    return {name: Ranks(found['users'], found['targets'], found[f'{name}_sampled'], found[f'{name}_full'],
                        hits=found.get(f'{name}_hits'), wanted=found.get('wanted'))
            for name in NAMES if f'{name}_full' in found}


def _training(interactions: Interactions) -> sparse.csr_matrix:
    """float32 [n, m + 1], 1 where a user has an item in training, the newest of each user up to the cap."""
    kept = interactions.in_training(newest_counted(interactions))
    owner = np.repeat(np.arange(interactions.num_users, dtype=np.int32), interactions.lengths)[kept]
    items = np.asarray(interactions.items)[kept]
    shape = (interactions.num_users, interactions.num_items + 1)
    table = sparse.csr_matrix((np.ones(len(items), np.float32), (owner, items)), shape)
    table.data[:] = 1
    return table


def newest_counted(interactions: Interactions) -> int:
    """How many of a user's newest training items item-KNN counts: so many that all users together have `_PAIRS` pairs
    at most, and all of them where they have no more."""
    values, counts = np.unique(interactions.input_lengths('train'), return_counts=True)
    low, high = 1, int(values.max(initial=1))
    while low < high:
        middle = (low + high + 1) // 2
        fits = int((np.minimum(values, middle).astype(np.float64) ** 2 * counts).sum()) <= _PAIRS
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def _blocks(costs: np.ndarray) -> Iterator[tuple[int, int]]:
    """Ranges of rows whose costs add up to a block."""
    block = (np.cumsum(costs, dtype=np.float64) // _BLOCK).astype(np.int64)
    borders = [0, *(np.flatnonzero(np.diff(block)) + 1), len(costs)]
    yield from zip(borders[:-1], borders[1:], strict=True)


def _nearest(found: sparse.csr_matrix, neighbours: int) -> sparse.csr_matrix:
    """Of each row the largest entries, `neighbours` of them."""
    sizes = np.diff(found.indptr)
    kept = np.ones(found.nnz, bool)
    for row in np.flatnonzero(sizes > neighbours):
        own = slice(found.indptr[row], found.indptr[row + 1])
        kept[own] = False
        kept[own.start + np.argsort(-found.data[own], kind='stable')[:neighbours]] = True
    indptr = np.concatenate([[0], np.cumsum(np.minimum(sizes, neighbours))])
    return sparse.csr_matrix((found.data[kept].astype(np.float32), found.indices[kept], indptr), found.shape)


def _rows(histories: Histories, newest: int, width: int, counted: bool = False) -> sparse.csr_matrix:
    """float32 [B, width], 1 (or how often it is there, where `counted`) at each item of a history, or of the newest
    interactions of it where that is not 0."""
    own = [np.unique(history[-newest:], return_counts=True) for history in histories]
    indptr = np.concatenate([[0], np.cumsum([len(items) for items, _ in own])])
    items, often = (np.concatenate([*parts, np.zeros(0, np.int32)]).astype(np.int32)
                    for parts in ([each[side] for each in own] for side in (0, 1)))
    values = often.astype(np.float32) if counted else np.ones(len(items), np.float32)
    return sparse.csr_matrix((values, items, indptr), (len(own), width))


def _ranks(scorer: Scores, width: int, sample: Sample, repeats: bool) -> Ranks:
    """Ranks of all users of a sample, a block at a time, NaN where there is no other candidate; `width` is m + 1."""
    together = max(_BLOCK // width, 1)
    sampled, full = (np.zeros(len(sample.users), np.float32) for _ in range(2))
    hits: list[np.ndarray] = []
    for start in range(0, len(sample.users), together):
        some = slice(start, start + together)
        targets, negatives = (part[some].astype(np.int64) for part in (sample.targets[:, None], sample.negatives))
        scores = scorer(sample.histories[some])
        own = np.take_along_axis(scores, targets, 1)
        others = np.where(negatives > 0, np.take_along_axis(scores, negatives, 1), -np.inf)
        sampled[some] = np.where((others > -np.inf).any(1), _rank(others, own), np.nan)
        scores[:, 0] = -np.inf
        for row, history in enumerate(() if repeats else sample.histories[some]):
            scores[row, history] = -np.inf
        if sample.wanted is not None:
            hits.append(windows.hits(_best(scores, sample.depth), sample.wanted.some(some)))
        np.put_along_axis(scores, targets, np.float32(-np.inf), 1)
        full[some] = np.where((scores > -np.inf).any(1), _rank(scores, own), np.nan)
    found = Ranks(sample.users.astype(np.int32), sample.targets.astype(np.int32), sampled, full)
    return found if sample.wanted is None else found._replace(hits=np.concatenate(hits), wanted=sample.wanted.counts)


def _best(scores: np.ndarray, depth: int) -> np.ndarray:
    """int [B, depth], the best of scores [B, m + 1], the smaller id first where they tie; 0 where a score is -inf."""
    border = np.partition(scores, -depth, axis=1)[:, -depth, None]
    found = np.zeros((len(scores), depth), np.int64)
    for row, (own, least) in enumerate(zip(scores, border, strict=True)):
        above, level = np.flatnonzero(own > least), np.flatnonzero(own == least)
        chosen = np.concatenate([above, level[:depth - len(above)]])
        chosen = chosen[np.argsort(-own[chosen], kind='stable')]
        found[row] = np.where(own[chosen] > -np.inf, chosen, 0)
    return found


def _rank(others: np.ndarray, own: np.ndarray) -> np.ndarray:
    """1 + better + equal / 2 of scores [B, 1] against others [B, ?]."""
    return 1 + np.count_nonzero(others > own, axis=1) + np.count_nonzero(others == own, axis=1) / 2

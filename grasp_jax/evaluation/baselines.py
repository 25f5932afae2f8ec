"""Baselines that cost seconds, ranked on the same users, targets and candidates as the model.

They count training rows alone, and score with the items that the model has as its input (in the test the validation
item too). Nothing about them is tuned but two weights of the graph, on the validation of one set (`item_tables`).

- popularity: training interactions of an item.
- item_knn: the sum, over the items of the whole history, of the cosine between two items' columns of the matrix of
  users and items (1 where a user has an item in training, else 0). In large catalogues an item keeps its nearest
  others alone, so many that the table has `_ENTRIES` at most: all of them up to 6,324 items, 33 of 1.2 million items.
- item_knn_last3: the same over the three newest interactions.
- transitions: how often the item followed the newest item of the history directly, in training (first-order Markov).
- graph: over the three newest interactions, each weighing half of the one behind it, what one or two steps through
  items that are bought together lead to.
- content: the cosine with the mean of the history's vectors, where there are any.
- graph_texts: as graph, with steps to items of similar vectors too.
- own_items: how often the user had it, with `evaluate.repeats` alone, as elsewhere what a user had is left out.

Everything else is zero, and ties count half, so an item that a baseline knows nothing of is no better than chance.
"""

import pathlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse

from grasp_jax.common import archives
from grasp_jax.data.interactions import Interactions, Split, evenly_spread
from grasp_jax.evaluation import item_tables
from grasp_jax.ranking import windows
from grasp_jax.ranking.metrics import Ranks
from grasp_jax.retrieval.exact import unit

NAMES = {'popularity': 'popularity', 'item_knn': 'item-KNN', 'item_knn_last3': 'item-KNN over the last 3 items',
         'transitions': 'first-order transitions', 'graph': 'two steps through purchases',
         'content': "mean of the history's vectors", 'graph_texts': 'two steps through purchases and texts',
         'own_items': "the user's own items by count"}
_BLOCK = 1 << 24  # numbers of a block of scores: 64 MB in float32
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
    """Ranks by popularity, both kinds of item-KNN, transitions, the graph and, with repeats, the user's own counts.

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
    near, moves = item_tables.similarities(interactions), item_tables.transitions(interactions)

    def through(table: sparse.csr_matrix, newest: int) -> Scores:
        return lambda histories: (_rows(histories, newest, table.shape[0]) @ table).toarray()

    scorers: dict[str, Scores] = {
        'popularity': lambda histories: np.tile(popular, (len(histories), 1)),
        'item_knn': through(near, 0), 'item_knn_last3': through(near, 3), 'transitions': through(moves, 1),
        'graph': _along(item_tables.graph(interactions))}
    if repeats:
        scorers['own_items'] = lambda histories: _rows(histories, 0, len(popular), counted=True).toarray()
    return {name: _ranks(scores, len(popular), sample, repeats) for name, scores in scorers.items()}


def by_vectors(interactions: Interactions, sample: Sample, vectors: np.ndarray,
               repeats: bool = False) -> dict[str, Ranks]:
    """Ranks of the baselines that read vectors [m, E], by name; the rest as in `by_content` and `by_graph`."""
    return {'content': by_content(sample, vectors, repeats),
            'graph_texts': by_graph(interactions, sample, vectors, repeats)}


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


def by_graph(interactions: Interactions, sample: Sample, vectors: np.ndarray, repeats: bool = False) -> Ranks:
    """Ranks by one or two steps through items that are bought together or have similar vectors.

    Args:
      interactions: all sequences.
      sample, vectors, repeats: as in `by_content`.

    Example:
      >>> bought = Interactions(np.array([0, 4]), np.array([1, 2, 3, 4]), num_items=5)
      >>> vectors = np.array([[1, 0], [0, 1], [1, 0], [1, 0.1], [0, 1]], np.float32)  # item 4 is like items 1 and 3
      >>> by_graph(bought, ranked(bought, negatives=np.array([[5]])), vectors).full.tolist()
      [1.0]
    """
    return _ranks(_along(item_tables.graph(interactions, vectors)), interactions.num_items + 1, sample, repeats)


def _along(table: sparse.csr_matrix) -> Scores:
    """Scores by the edges [m + 1, m + 1] that leave the newest items of a history."""
    return lambda histories: (_recent(histories, table.shape[0]) @ table).toarray()


def _recent(histories: Histories, width: int) -> sparse.csr_matrix:
    """float32 [B, width]: 1 at the newest item of a history, 1/2 at the one before, 1/4 at the third."""
    newest = [history[::-1][:3] for history in histories]
    indptr = np.concatenate([[0], np.cumsum([len(own) for own in newest])])
    places = [np.arange(len(own), dtype=np.float32) for own in newest]
    values = 0.5 ** np.concatenate([*places, np.zeros(0, np.float32)])
    return sparse.csr_matrix((values, np.concatenate([*newest, np.zeros(0, np.int32)]), indptr), (len(newest), width))


def _different(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first row of each different vector, and which of these each row is equal to: a matrix product may give equal
    columns scores that differ in the last bit."""
    weights = np.random.default_rng(0).integers(1, 2 ** 63, vectors.shape[1], np.uint64) * np.uint64(2) + np.uint64(1)
    marks = [(np.asarray(vectors[start:start + _ITEMS], np.float32) + np.float32(0)).view(np.uint32) @ weights
             for start in range(0, len(vectors), _ITEMS)]  # 64 bits of each row
    _, first, place = np.unique(np.concatenate(marks), return_index=True, return_inverse=True)
    return first, place


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

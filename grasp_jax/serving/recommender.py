"""The Python interface: `grasp_jax.Recommender`, from a work folder or a bundle to lists, similar items, explanations.

Names and columns follow RecTools, whose interface people know (`recommend`, `recommend_to_items`; `user_id`, `item_id`,
`score`, `rank`). Ids are those of the person's own files, as text.
"""

import logging
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from grasp_jax.errors import UserError
from grasp_jax.knowledge.prompts import clean
from grasp_jax.serving import assets, new_items
from grasp_jax.serving.engine import Engine, Request
from grasp_jax.serving.explain import Explanation, explain

LOG = logging.getLogger(__name__)
MODEL, POPULARITY = 'model', 'popularity'
USER, ITEM, SCORE, RANK, SOURCE, TARGET = 'user_id', 'item_id', 'score', 'rank', 'source', 'target_item_id'


class Recommender:
    """A trained model that answers.

    Example:
      >>> model = Recommender.load('runs/demo')
      >>> model.recommend(users=model.user_ids[:2], k=3)
      >>> model.recommend(histories=[model.item_ids[:4]], k=3)

    Attributes:
      path: the folder that was opened.
      seed, epoch: whose parameters these are.
      user_ids: ids of the users that it knows.
      version: changes with the parameters, the items and the histories.
    """

    def __init__(self, known: assets.Assets):
        """Takes opened assets; `load` opens a folder."""
        self._assets, self._engine = known, Engine(known)
        self.path, self.seed, self.epoch = known.source, known.seed, known.epoch
        self.user_ids: Sequence[str] = known.user_ids
        self.version = assets.version(known)
        self._item_ids = list(known.item_ids)
        self._users = {identity: row for row, identity in enumerate(self.user_ids)}
        self._items = {identity: row + 1 for row, identity in enumerate(self._item_ids)}
        self._more: list[dict[str, Any]] = []
        counts = np.bincount(known.interactions.items, minlength=known.spec.num_items + 1)
        self._popular = 1 + np.argsort(-counts[1:], kind='stable')
        self._counts = counts

    @classmethod
    def load(cls, path: str | pathlib.Path, seed: int | None = None) -> 'Recommender':
        """Opens the work folder of a finished run, or a bundle of `grasp_jax.export`.

        Args:
          path: the folder.
          seed: whose best checkpoint; None: the first seed that is finished, which the log says.

        Raises:
          UserError: there is no finished run there, or a file is missing, damaged or of another run.
        """
        known = assets.open_folder(pathlib.Path(path), seed)
        LOG.info('%s: %s + %s, seed %d of %s, epoch %d', path, known.spec.backbone, known.spec.method, known.seed,
                 ', '.join(map(str, known.seeds)), known.epoch)
        return cls(known)

    @property
    def item_ids(self) -> Sequence[str]:
        """Ids of the items that it knows, new ones last."""
        return tuple(self._item_ids)

    @property
    def titles(self) -> Mapping[str, str]:
        """The title of each item by id; empty where it has none."""
        return _Titles(self)

    @property
    def approximate(self) -> bool:
        """Whether lists come from candidates unless `exact=True` is said; `measure_recall` tells how good that is."""
        return self._engine.approximate

    def recommend(self, users: Sequence[Any] | None = None, histories: Sequence[Sequence[Any]] | None = None,
                  k: int = 10, filter_viewed: bool = True, items_to_recommend: Sequence[Any] | None = None,
                  items_to_exclude: Sequence[Any] | None = None, exact: bool = False) -> pd.DataFrame:
        """The k best items for each user, or for each history.

        A user of the data set has the whole history, the test item included. An empty history gets the items that
        most people chose, with their numbers of interactions as scores.

        Args:
          users: ids of users of the data set.
          histories: in place of users, ids of items for each person, oldest first.
          k: items of a list; fewer where there are no more.
          filter_viewed: whether items of the history are left out.
          items_to_recommend: ids that may be recommended; None: all.
          items_to_exclude: ids that may not.
          exact: whether every item is scored, also where candidates would be faster (`approximate`).

        Returns:
          Columns `user_id` (the place in `histories` where these were given), `item_id`, `score`, `rank` (from 1), and
          `source`: `model`, or `popularity` for an empty history. Rows by user in the order asked, then by rank.

        Raises:
          UserError: users or items that are not known, k below 1, nothing asked for, or a person whose history is not
            enough because the gates read users' texts.
        """
        asked, names = self._asked(users, histories)
        _require_k(k)
        allowed, gone = self._limits(items_to_recommend, items_to_exclude)
        frames: dict[int, tuple[np.ndarray, np.ndarray, str]] = {}
        requests, places = [], []
        for place, (user, history) in enumerate(asked):
            viewed = np.unique(history) if filter_viewed else history[:0]
            if not len(history):
                frames[place] = (*self._most_popular(k, allowed, gone), POPULARITY)
                continue
            requests.append(Request(history, np.union1d(viewed, gone).astype(np.int32), user, allowed))
            places.append(place)
        depth = min(k, self._engine.catalogue.count)
        if requests:
            ids, scores = self._engine.top(requests, depth, exact)
            frames |= {place: (ids[row], scores[row], MODEL) for row, place in enumerate(places)}
        return self._frame(USER, [(names[place], *frames[place]) for place in range(len(asked))], with_source=True)

    def recommend_to_items(self, items: Sequence[Any], k: int = 10, items_to_recommend: Sequence[Any] | None = None,
                           items_to_exclude: Sequence[Any] | None = None) -> pd.DataFrame:
        """The k items most like each item: by the cosine of what the model scores them with.

        Args:
          items: ids.
          k: items of a list; the item itself is never in it.
          items_to_recommend, items_to_exclude: as in `recommend`.

        Returns:
          Columns `target_item_id`, `item_id`, `score`, `rank`.

        Raises:
          UserError: items that are not known, none at all, or k below 1.
        """
        _require_some(items, 'items')
        _require_k(k)
        targets = self._numbers(items, 'items')
        allowed, gone = self._limits(items_to_recommend, items_to_exclude)
        ids, scores = self._engine.similar(targets, k, allowed, gone)
        names = [self._item_ids[target - 1] for target in targets]
        return self._frame(TARGET, [(name, ids[row], scores[row], MODEL) for row, name in enumerate(names)])

    def add_items(self, table: Any, vectors: np.ndarray | None = None) -> list[str]:
        """Takes in items that nobody has bought yet, by their texts alone; they can be recommended at once.

        Each gets the filled template of its attributes, a vector by the run's own encoder, the mean of its nearest
        known items, and where the method knows items by id as well, the mean of their embeddings. Nothing is trained.

        Args:
          table: a DataFrame, or dicts, with the id (the run's item column, `item_id` or `item`) and the attributes that
            the run's items have; a column `text` is taken as the whole text.
          vectors: float [x, E], where the run's vectors were precomputed: by the same model, as they came from it.

        Returns:
          the ids of the new items.

        Raises:
          UserError: the method reads no texts, an id is empty, repeated or known already, a text says nothing, or
            vectors are needed and not given.
        """
        records = new_items.records(table, self._assets.config)
        taken = [identity for identity, _ in records if identity in self._items]
        if taken:
            raise UserError(f'new item {taken[0]!r}: is known already; leave it out, or give it an id of its own')
        self._engine.catalogue.add(new_items.extension(self._assets, records, vectors))
        for identity, attributes in records:
            self._item_ids.append(identity)
            self._items[identity] = len(self._item_ids)
            self._more.append(attributes)
        return [identity for identity, _ in records]

    def explain(self, user: Any = None, item: Any = None, history: Sequence[Any] | None = None) -> Explanation:
        """Why an item stands where it does for a person.

        Args:
          user: id of a user of the data set, or
          history: ids of items, oldest first.
          item: id of the item.

        Returns:
          score and rank among all unseen items, the gates of Eq. 4 where the model has them, the items of the history
          nearest to it, and its own neighbours.

        Raises:
          UserError: an id is not known, or the history is empty.
        """
        if item is None:
            raise UserError('explain: name an item')
        asked, _ = self._asked(None if user is None else [user], None if history is None else [history])
        row, known = asked[0]
        if not len(known):
            raise UserError('explain: the history is empty; its list is by popularity alone')
        target = int(self._numbers([item], 'item')[0])
        return explain(self._engine, self._assets, Request(known, np.unique(known).astype(np.int32), row), target,
                       self.describe)

    def measure_recall(self, k: int = 10, users: int = 200) -> float:
        """Share of the exact best k that lists hold as they are made without `exact=True`, over some users."""
        return self._engine.measure_recall(k, users) if self.approximate else 1.0

    def rows(self, users: Sequence[Any], k: int, filter_viewed: bool = True, exact: bool = False,
             done: Callable[[int], Any] = lambda count: None) -> tuple[np.ndarray, np.ndarray]:
        """As `recommend` for many users of the data set, in numbers.

        Args:
          users, k, filter_viewed, exact: as there.
          done: told how many users have just been answered.

        Returns:
          int32 [users, k], item r + 1 is `item_ids[r]`, 0 where there are no more; and float32 scores.

        Raises:
          UserError: as `recommend`.
        """
        _require_k(k)
        asked, _ = self._asked(users, None)
        empty = np.zeros(0, np.int32)
        requests = [Request(history, np.unique(history) if filter_viewed else empty, user) for user, history in asked]
        return self._engine.top(requests, min(k, self._engine.catalogue.count), exact, done)

    def history(self, user: Any) -> list[str]:
        """Ids of the items of a user of the data set, oldest first.

        Raises:
          UserError: the user is not known.
        """
        asked, _ = self._asked([user], None)
        return [self._item_ids[number - 1] for number in asked[0][1]]

    def describe(self, number: int) -> tuple[str, str]:
        """Id and title of item number 1, 2, ..."""
        attributes = (self._assets.item_attributes[number - 1] if number <= self._assets.spec.num_items
                      else self._more[number - 1 - self._assets.spec.num_items])
        return self._item_ids[number - 1], clean(attributes.get('title'))

    def _asked(self, users: Sequence[Any] | None,
               histories: Sequence[Sequence[Any]] | None) -> tuple[list[tuple[int, np.ndarray]], list[Any]]:
        """A row of the users' tables and a history for each list, and what it is called."""
        if (users is None) == (histories is None):
            raise UserError('give users or histories, one of the two')
        if users is not None:
            _require_some(users, 'users')
            names = [_text(user) for user in users]
            unknown = [name for name in names if name not in self._users]
            if unknown:
                raise UserError(f'user {unknown[0]!r}: is not known ({len(unknown)} of {len(names)} are not); give the '
                                'history instead')
            rows = [self._users[name] for name in names]
            return [(row, np.asarray(self._assets.interactions.whole(row), np.int32)) for row in rows], names
        assert histories is not None
        _require_some(histories, 'histories')
        spec = self._assets.spec
        if spec.personal and spec.user_context != 'prefix':
            raise UserError(f'the gates of this model read a text of the user (user_context={spec.user_context}), '
                            'which a history has not; name a user, or train with --config.model.user_context=prefix')
        return [(0, self._numbers(history, f'histories[{place}]')) for place, history in enumerate(histories)], list(
            range(len(histories)))

    def _numbers(self, items: Sequence[Any], where: str) -> np.ndarray:
        """int32, the numbers of items."""
        if isinstance(items, str):
            raise UserError(f'{where}: is the text {items!r}; give a list of ids')
        names = [_text(item) for item in items]
        unknown = [name for name in names if name not in self._items]
        if unknown:
            raise UserError(f'{where}: item {unknown[0][:80]!r} is not known ({len(unknown)} of {len(names)} are not); '
                            'leave it out, or add it by its text')
        return np.array([self._items[name] for name in names], np.int32)

    def _limits(self, only: Sequence[Any] | None,
                without: Sequence[Any] | None) -> tuple[np.ndarray | None, np.ndarray]:
        gone = np.zeros(0, np.int32) if without is None else np.unique(self._numbers(without, 'items_to_exclude'))
        if only is None:
            return None, gone
        _require_some(only, 'items_to_recommend')
        allowed = np.zeros(self._engine.catalogue.places, bool)
        allowed[self._numbers(only, 'items_to_recommend') - 1] = True
        return allowed, gone

    def _most_popular(self, k: int, allowed: np.ndarray | None, gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        ids = self._popular if allowed is None else self._popular[allowed[self._popular - 1]]
        ids = ids[~np.isin(ids, gone)][:k]
        return ids, self._counts[ids].astype(np.float32)

    def _frame(self, name: str, lists: Sequence[tuple[Any, np.ndarray, np.ndarray, str]],
               with_source: bool = False) -> pd.DataFrame:
        known = np.array(['', *self._item_ids], object)
        there = [ids > 0 for _, ids, _, _ in lists]
        many = [int(mask.sum()) for mask in there]
        columns = {
            name: np.repeat(np.array([first for first, *_ in lists], object), many),
            ITEM: known[np.concatenate([ids[mask] for (_, ids, _, _), mask in zip(lists, there, strict=True)])],
            SCORE: np.concatenate([scores[mask] for (_, _, scores, _), mask in zip(lists, there, strict=True)]),
            RANK: np.concatenate([np.arange(1, count + 1) for count in many])}
        if with_source:
            columns[SOURCE] = np.repeat(np.array([source for *_, source in lists], object), many)
        return pd.DataFrame(columns)


class _Titles(Mapping):
    """Titles by id, read when they are asked for."""

    def __init__(self, model: Recommender):
        self._model = model

    def __getitem__(self, item: Any) -> str:
        return self._model.describe(self._model._items[_text(item)])[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._model._item_ids)

    def __len__(self) -> int:
        return len(self._model._item_ids)


def _text(identity: Any) -> str:
    """An id as data sets keep it: 17 and 17.0 are '17'."""
    if isinstance(identity, (float, np.floating)) and float(identity).is_integer():
        return str(int(identity))
    return str(identity).strip()


def _require_k(k: int) -> None:
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UserError(f'k={k!r}: is no number of items; give a whole number from 1 on')


def _require_some(values: Any, name: str) -> None:
    if isinstance(values, str) or not hasattr(values, '__len__'):
        raise UserError(f'{name}: give a list')
    if not len(values):
        raise UserError(f'{name}: is empty; name at least one')

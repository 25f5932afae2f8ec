"""The Python interface: `grasp_jax.Recommender`, from a work folder or a bundle to lists, similar items, explanations.

Names and columns follow RecTools, whose interface people know (`recommend`, `recommend_to_items`; `user_id`, `item_id`,
`score`, `rank`). Ids are those of the person's own files, as text.
"""

import functools
import logging
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from grasp_jax.common.errors import UserError
from grasp_jax.serving import assets, new_item_checks, new_items
from grasp_jax.serving.catalogue import ROOM, Extension
from grasp_jax.serving.engine import Engine, Sizes
from grasp_jax.serving.explain import Explanation, explain
from grasp_jax.serving.names import Names, Titles
from grasp_jax.serving.questions import Questions, require_k, require_some
from grasp_jax.serving.scoring import Arrays

LOG = logging.getLogger(__name__)
MODEL, POPULARITY = 'model', 'popularity'
USER, ITEM, SCORE, RANK, SOURCE, TARGET = 'user_id', 'item_id', 'score', 'rank', 'source', 'target_item_id'


class NewItems(NamedTuple):
    """Items that are ready to be taken in.

    Attributes:
      records: ids and attributes.
      vectors: what the model reads of them.
      arrays: the catalogue with them; None where it must be made anew.
      warnings: what was passed over, a sentence each.
    """

    records: Sequence[new_items.Record]
    vectors: Extension
    arrays: Arrays | None
    warnings: Sequence[str]


class Recommender:
    """A trained model that answers.

    Attributes:
      path: the folder that was opened.
      seed, epoch: whose parameters these are.
      user_ids: ids of the users that it knows.
      version: changes with the parameters, the items and the histories.
      names: whose numbers are which.
      questions: turns what is asked into numbers.

    Example:
      >>> model = Recommender.load('runs/demo')
      >>> lists = model.recommend(users=model.user_ids[:2], k=3)
      >>> lists.user_id.tolist()
      ['u0000', 'u0000', 'u0000', 'u0001', 'u0001', 'u0001']
    """

    def __init__(self, known: assets.Assets, sizes: Sizes | None = None, room: int = ROOM):
        """Takes opened assets; `load` opens a folder.

        Args:
          known: the assets.
          sizes: that programs are compiled for; None: those of `Sizes`.
          room: new items that can be taken in without compiling anew.
        """
        self._assets, self._engine, self.names = known, Engine(known, sizes, room), Names(known)
        self.path, self.seed, self.epoch = known.source, known.seed, known.epoch
        self.questions = Questions(known, self.names)
        self.user_ids: Sequence[str] = self.names.users
        self.version = assets.version(known)

    @classmethod
    def load(cls, path: str | pathlib.Path, seed: int | None = None) -> 'Recommender':
        """Opens the work folder of a finished run, or a bundle of `grasp_jax.export`.

        Args:
          path: the folder.
          seed: whose best checkpoint; None: the first seed that is finished, which the log says.

        Raises:
          UserError: there is no finished run there, or a file is missing, damaged or of another run.

        Example:
          >>> model = Recommender.load('runs/demo', seed=42)
          >>> model.seed, len(model.user_ids), len(model.item_ids)
          (42, 1500, 400)
        """
        known = assets.open_folder(pathlib.Path(path), seed)
        LOG.info('%s: %s + %s, seed %d of %s, epoch %d', path, known.spec.backbone, known.spec.method, known.seed,
                 ', '.join(map(str, known.seeds)), known.epoch)
        return cls(known)

    @property
    def item_ids(self) -> Sequence[str]:
        """Ids of the items that it knows, new ones last.

        Example:
          >>> Recommender.load('runs/demo').item_ids[:3]
          ('p0000', 'p0001', 'p0002')
        """
        return tuple(self.names.items)

    @property
    def engine(self) -> Engine:
        """What scores."""
        return self._engine

    @property
    def titles(self) -> Mapping[str, str]:
        """The title of each item by id; empty where it has none.

        Example:
          >>> Recommender.load('runs/demo').titles['p0001']
          'Quillmark handmade desk organiser with drawers'
        """
        return Titles(self.names)

    @property
    def filter_viewed(self) -> bool:
        """Whether lists leave out what is in the history where nothing is said: True unless the run was ranked with
        `evaluate.repeats`."""
        return self.questions.filter_viewed

    @property
    def approximate(self) -> bool:
        """Whether lists come from candidates unless `exact=True` is said; `measure_recall` tells how good that is."""
        return self._engine.approximate

    def recommend(self, users: Sequence[Any] | None = None, histories: Sequence[Sequence[Any]] | None = None,
                  k: int = 10, filter_viewed: bool | None = None, items_to_recommend: Sequence[Any] | None = None,
                  items_to_exclude: Sequence[Any] | None = None, exact: bool = False) -> pd.DataFrame:
        """The k best items for each user, or for each history.

        A user of the data set has the whole history, the test item included. An empty history gets the items that
        most people chose, with their numbers of interactions as scores.

        Args:
          users: ids of users of the data set.
          histories: in place of users, ids of items for each person, oldest first.
          k: items of a list; fewer where there are no more.
          filter_viewed: whether items of the history are left out; None: as the attribute says.
          items_to_recommend: ids that may be recommended; None: all.
          items_to_exclude: ids that may not.
          exact: whether every item is scored, also where candidates would be faster (`approximate`).

        Returns:
          Columns `user_id` (the place in `histories` where these were given), `item_id`, `score`, `rank` (from 1), and
          `source`: `model`, or `popularity` for an empty history. Rows by user in the order asked, then by rank.

        Raises:
          UserError: users or items that are not known, k below 1, nothing asked for, or a person whose history is not
            enough because the gates read users' texts.

        Example:
          >>> model = Recommender.load('runs/demo')
          >>> lists = model.recommend(histories=[['p0352', 'p0001'], []], k=2)  # the second person is new
          >>> lists[['user_id', 'rank', 'source']].values.tolist()
          [[0, 1, 'model'], [0, 2, 'model'], [1, 1, 'popularity'], [1, 2, 'popularity']]
        """
        asked, names = self.questions.people(users, histories)
        require_k(k)
        allowed, gone = self.questions.limits(items_to_recommend, items_to_exclude)
        frames: dict[int, tuple[np.ndarray, np.ndarray, str]] = {}
        requests, places = [], []
        for place, (user, history) in enumerate(asked):
            request = self.questions.request(user, history, filter_viewed, allowed, gone)
            if not len(history):
                frames[place] = (*self.questions.popular(request, k), POPULARITY)
                continue
            requests.append(request)
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

        Example:
          >>> model = Recommender.load('runs/demo')
          >>> near = model.recommend_to_items(['p0001'], k=3)
          >>> near.columns.tolist(), near['rank'].tolist(), 'p0001' in near.item_id.tolist()
          (['target_item_id', 'item_id', 'score', 'rank'], [1, 2, 3], False)
        """
        require_some(items, 'items')
        require_k(k)
        targets = self.names.numbers(items, 'items')
        allowed, gone = self.questions.limits(items_to_recommend, items_to_exclude)
        ids, scores = self._engine.similar(targets, k, allowed, gone)
        names = [self.names.items[target - 1] for target in targets]
        return self._frame(TARGET, [(name, ids[row], scores[row], MODEL) for row, name in enumerate(names)])

    def add_items(self, table: Any, vectors: np.ndarray | None = None) -> list[str]:
        """Takes in items without a purchase yet, by their texts alone; they can be recommended at once.

        Each gets the filled template of its attributes, a vector by the run's own encoder, the mean of its nearest
        known items, and where the method knows items by id as well, an embedding made of those of the neighbours.
        Nothing is trained.

        Args:
          table: a DataFrame, or dicts, with the id (the run's item column, `item_id` or `item`) and the attributes that
            the run's items have; a column `text` is taken as the whole text. Attributes that no item of the run has
            are not read; the log warns of them.
          vectors: float [x, E], where the run's vectors were precomputed: by the same model, as they came from it.

        Returns:
          the ids of the new items.

        Raises:
          UserError: the method reads no texts, an id is empty, repeated or known already, also in another spelling, an
            item has no attribute that the run's items have, a text says nothing, or vectors are needed and not given.

        Example:
          >>> model = Recommender.load('runs/demo')
          >>> model.add_items([{'item': 'p9999', 'title': 'Barkley retro pet brush'}])
          ['p9999']
          >>> model.titles['p9999'], len(model.recommend_to_items(['p9999'], k=5))
          ('Barkley retro pet brush', 5)
        """
        ready = self.prepare_items(table, vectors)
        for sentence in ready.warnings:
            LOG.warning('%s', sentence)
        self.take_items(ready)
        return [identity for identity, _ in ready.records]

    def prepare_items(self, table: Any, vectors: np.ndarray | None = None) -> NewItems:
        """The slow part of `add_items`, which changes nothing: other threads may ask for lists meanwhile.

        Args:
          table, vectors: as in `add_items`.

        Raises:
          UserError: as in `add_items`.
        """
        records = new_items.records(table, self._assets.config)
        self.names.require_new([identity for identity, _ in records])
        rows, warnings = records, list[str]()
        if self._assets.vectors is not None:
            rows, warnings = new_item_checks.readable(self._assets, self._attributes, records, vectors is not None)
        more, catalogue = new_items.extension(self._assets, rows, vectors), self._engine.catalogue
        return NewItems(records, more, catalogue.grown(more) if len(records) <= catalogue.room else None, warnings)

    @functools.cached_property
    def _attributes(self) -> new_item_checks.Attributes:
        return new_item_checks.attributes_of(self._assets)

    def take_items(self, ready: NewItems) -> None:
        """The quick part of `add_items`; nothing else was taken in since `prepare_items`."""
        if ready.arrays is None:
            self._engine.catalogue.add(ready.vectors)
        else:
            self._engine.catalogue.take(ready.vectors, ready.arrays)
        self.names.add(ready.records)

    def explain(self, user: Any = None, item: Any = None, history: Sequence[Any] | None = None) -> Explanation:
        """Why an item stands where it does for a person.

        Args:
          user: id of a user of the data set, or
          history: ids of items, oldest first.
          item: id of the item.

        Returns:
          score, rank among all items that lists are made of, the gates of Eq. 4 where the model has them, the items of
          the history nearest to it, and its own neighbours.

        Raises:
          UserError: an id is not known, or the history is empty.

        Example:
          >>> why = Recommender.load('runs/demo').explain(user='u0000', item='p0058')
          >>> why.title, why.nearest_in_history[0].item_id
          ('Quillmark premium fountain pen with converter', 'p0001')
          >>> list(why.gates)
          ['self', 'similar', 'global']
        """
        if item is None:
            raise UserError('explain: name an item')
        asked, _ = self.questions.people(None if user is None else [user], None if history is None else [history])
        row, known = asked[0]
        if not len(known):
            raise UserError('explain: the history is empty; its list is by popularity alone')
        target = int(self.names.numbers([item], 'item')[0])
        return explain(self._engine, self._assets, self.questions.request(row, known), target, self.names.describe)

    def measure_recall(self, k: int = 10, users: int = 200) -> float:
        """Share of the exact best k that lists hold as they are made without `exact=True`, over some users.

        Example:
          >>> Recommender.load('runs/demo').measure_recall()  # with 400 items every one is scored
          1.0
        """
        return self._engine.measure_recall(k, users) if self.approximate else 1.0

    def rows(self, users: Sequence[Any], k: int, filter_viewed: bool | None = None, exact: bool = False,
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
        require_k(k)
        asked, _ = self.questions.people(users, None)
        requests = [self.questions.request(user, history, filter_viewed) for user, history in asked]
        engine = self._engine.for_many()
        return engine.top(requests, min(k, engine.catalogue.count), exact, done)

    def history(self, user: Any) -> list[str]:
        """Ids of the items of a user of the data set, oldest first.

        Raises:
          UserError: the user is not known.

        Example:
          >>> Recommender.load('runs/demo').history('u0000')[:3]
          ['p0352', 'p0001', 'p0367']
        """
        asked, _ = self.questions.people([user], None)
        return [self.names.items[number - 1] for number in asked[0][1]]

    def _frame(self, name: str, lists: Sequence[tuple[Any, np.ndarray, np.ndarray, str]],
               with_source: bool = False) -> pd.DataFrame:
        known = np.array(['', *self.names.items], object)
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

"""A model as the service holds it: programs compiled, titles and answers at hand as bytes."""

import json
import logging
import pathlib
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.serving import assets
from grasp_jax.serving.engine import Request, Sizes
from grasp_jax.serving.explain import Explanation, explain
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.recommender import NewItems, Recommender

LOG = logging.getLogger(__name__)
_BATCHES = (1, 4, 16, 64, 256)
_DEPTHS = (16, 128, 1024, 8192)
_FOUND = 50  # titles that a search gives at most


class Served:
    """A model that is asked by many.

    Attributes:
      model: the recommender.
      version, seed: whose answers these are.
      added: rows of the items that were added since it was opened.
    """

    def __init__(self, known: assets.Assets, limits: Limits):
        """Moves a model to the device and compiles nothing yet.

        Args:
          known: what a folder holds.
          limits: of the service.

        Raises:
          UserError: the model does not fit the device, or a line of its items cannot be read.
        """
        self.model = Recommender(known, sizes_of(limits), limits.max_new_items)
        self.version, self.seed, self._known = self.model.version, self.model.seed, known
        self.added: list[Mapping[str, Any]] = []
        self._limits, self._room = limits, limits.max_new_items
        self._titles: list[str] = []
        self._answers: list[bytes] = []
        self._model_part = json.dumps({'version': self.version, 'seed': self.seed}).encode()
        self._take_titles()

    @property
    def items(self) -> int:
        """Items that can be recommended."""
        return len(self._answers)

    @property
    def room(self) -> int:
        """Items that can still be added."""
        return self._room - len(self.added)

    @property
    def folders(self) -> tuple[pathlib.Path, pathlib.Path]:
        """Where it came from."""
        return self._known.source, self._known.stages

    def answer(self, ids: np.ndarray, scores: np.ndarray, source: str) -> bytes:
        """A list as JSON.

        Args:
          ids: int [k], numbers of items.
          scores: float32 [k].
          source: `model` or `popularity`.
        """
        return b'{"items":[%b],"source":"%b","model":%b}' % (self._list(ids, scores), source.encode(),
                                                             self._model_part)

    def answer_similar(self, target: int, k: int) -> bytes:
        """The items most like item number `target`, as JSON; asks the model."""
        depths = self.model.engine.sizes.depths
        depth = depths[0] if k <= depths[0] else depths[-1]
        ids, scores = self.model.engine.similar(np.array([target], np.int32), depth, None, np.zeros(0, np.int32))
        there = ids[0, :k] > 0
        return b'{"items":[%b],"model":%b}' % (self._list(ids[0, :k][there], scores[0, :k][there]), self._model_part)

    def explain(self, request: Request, item: int) -> Explanation:
        """Why item number `item` stands where it does for a request with a history; asks the model."""
        own = self.model.questions.request(request.user, request.history)
        return explain(self.model.engine, self._known, own, item, self.model.names.describe)

    def search(self, words: str) -> list[dict[str, str]]:
        """Ids and titles of the first items whose titles (or ids, where they have none) contain all words."""
        wanted, found = words.casefold().split(), []
        for place, title in enumerate(self._titles):
            if all(word in title for word in wanted):
                identity, own = self.model.names.describe(place + 1)
                found.append({'item_id': identity, 'title': own})
                if len(found) == _FOUND:
                    break
        return found

    def take(self, rows: Sequence[Mapping[str, Any]], ready: NewItems) -> None:
        """Takes in new items; called where the model is asked, between two batches."""
        self.model.take_items(ready)
        self.added.extend(rows)
        self._take_titles()

    def compile(self) -> None:
        """Compiles every program that a request can need, by asking for it."""
        started, engine = time.monotonic(), self.model.engine
        sizes, longest = engine.sizes, self._known.spec.max_length
        widths = [width for width in sizes.lengths if width < longest] + [longest]
        for size in sizes.batches:
            for width in widths:
                engine.top([self._example(width)] * size, sizes.depths[0])
            for left_out in sizes.left_out[1:]:
                engine.top([self._example(1, left_out)] * size, sizes.depths[0])
        for request, depth, exact in self._rare():
            engine.top([request], depth, exact)
        for depth in sizes.depths:
            self.answer_similar(1, depth)
        for length in (*widths, *(size + 1 for size in sizes.left_out)):
            self.explain(self._example(length), 1)
        LOG.info('model %s, seed %d: %d items, %d users, compiled in %.1f s', self.version, self.seed, self.items,
                 len(self.model.user_ids), time.monotonic() - started)

    def _rare(self) -> Iterator[tuple[Request, int, bool]]:
        """Requests that are scored one by one."""
        sizes = self.model.engine.sizes
        masked = self._example(1)._replace(allowed=np.array([1], np.int32))
        for depth in sizes.depths:
            yield self._example(1, sizes.left_out[-1] + 1), depth, False
            yield masked, depth, False
            for exact in (False, True) if self.model.approximate else (False,):
                for left_out in sizes.left_out:
                    yield self._example(1, left_out), depth, exact

    def _example(self, length: int, left_out: int = 1) -> Request:
        different = (1 + np.arange(max(length, left_out)) % self.items).astype(np.int32)
        return Request(different[:length], different[:left_out])

    def _list(self, ids: np.ndarray, scores: np.ndarray) -> bytes:
        answers = self._answers
        return b','.join([b'%b%.9g,"rank":%d}' % (answers[number - 1], score, rank) for rank, (number, score)
                          in enumerate(zip(ids.tolist(), scores.tolist(), strict=True), 1)])

    def _take_titles(self) -> None:
        """Reads the titles of the items that came since the last time."""
        for number in range(len(self._answers) + 1, len(self.model.names.items) + 1):
            identity, title = self.model.names.describe(number)
            self._titles.append((title or identity).casefold())
            self._answers.append(b'{"item_id":%b,"title":%b,"score":' % (json.dumps(identity).encode(),
                                                                        json.dumps(title).encode()))


def sizes_of(limits: Limits) -> Sizes:
    """Few enough sizes that all their programs are compiled before the service is ready.

    Args:
      limits: of the service.
    """
    batches = tuple(size for size in _BATCHES if size <= limits.max_batch)
    shallow = _DEPTHS[0]
    deep = next(size for size in _DEPTHS if size >= limits.max_k)
    return Sizes(batches, (16, 64), (shallow, deep) if deep > shallow else (shallow,), (16, 64))


def opened(path: pathlib.Path, seed: int | None, limits: Limits, added: Sequence[Mapping[str, Any]] = ()) -> Served:
    """A model from its folder, ready to be asked.

    Args:
      path: of a finished run or a bundle.
      seed: None: the first that is finished.
      limits: of the service.
      added: items that are added to it, as far as it does not know them and can.

    Raises:
      UserError: the folder cannot be served.
    """
    return compiled(Served(assets.open_folder(path, seed), limits), added)


def compiled(found: Served, added: Sequence[Mapping[str, Any]] = ()) -> Served:
    """The same model with its programs compiled, asked before anybody else does.

    Args:
      found: an opened model.
      added: as in `opened`.

    Raises:
      UserError: it cannot answer.
    """
    found.compile()
    lost = 0
    for row in added:
        try:
            found.take([row], found.model.prepare_items([row]))
        except UserError:  # known by now, or the method reads no texts
            lost += 1
    if added:
        LOG.info('%d of %d items that were added before are added again', len(added) - lost, len(added))
    return found

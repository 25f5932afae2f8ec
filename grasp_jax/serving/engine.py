"""Requests in numbers to lists in numbers: buckets of sizes, so that few programs are compiled, and the search."""

import collections.abc
import copy
from typing import Any, NamedTuple

import jax
import numpy as np

from grasp_jax.data.interactions import evenly_spread
from grasp_jax.serving import scoring
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.catalogue import ROOM, Catalogue
from grasp_jax.serving.index import ITEMS_FROM, Index

CANDIDATES = 500  # that the proxy finds for personal items
_NEW_BESIDE = 256  # new items that are candidates beside what an index finds
_SCORES = 2 ** 26  # numbers of a batch's scores at most: 256 MB


class Sizes(NamedTuple):
    """Sizes that programs are compiled for; what lies between is padded.

    Attributes:
      batches: requests of a batch.
      lengths: of histories, and beyond them the longest that the model reads.
      depths: of lists; longer ones in powers of two.
      left_out: items that are left out of a list; of more a mask over all places is made.
    """

    batches: tuple[int, ...] = (1, 8, 64, 256)
    lengths: tuple[int, ...] = (16, 64)
    depths: tuple[int, ...] = (16, 128, 1024)
    left_out: tuple[int, ...] = (16, 64, 256, 1024)


class Request(NamedTuple):
    """One list that is asked for.

    Attributes:
      history: int32 [l], item ids, oldest first, at least one.
      left_out: int32, item ids that are not recommended.
      user: row of the users' tables where the gates read them.
      allowed: int32, item ids that may be recommended; None: all.
    """

    history: np.ndarray
    left_out: np.ndarray
    user: int = 0
    allowed: np.ndarray | None = None


class Engine:
    """Scores requests.

    Attributes:
      catalogue: of the items.
      sizes: that programs are compiled for.
    """

    def __init__(self, assets: Assets, sizes: Sizes | None = None, room: int = ROOM):
        """Moves the model to the device.

        Args:
          assets: of the model.
          sizes: that programs are compiled for; None: those of `Sizes`.
          room: new items that fit without compiling anew.

        Raises:
          UserError: it does not fit.
        """
        self._assets, self.catalogue = assets, Catalogue(assets, room)
        self.sizes = sizes or Sizes()
        self._index: Index | None = None

    def for_many(self) -> 'Engine':
        """This engine for very many requests at once: as few programs as possible are compiled."""
        other = copy.copy(self)
        other.sizes = self.sizes._replace(batches=(self._most,), left_out=self.sizes.left_out[1:])
        return other

    @property
    def approximate(self) -> bool:
        """Whether lists are found by way of candidates unless they are asked for exactly."""
        return (self._by_proxy or self._large) and self.catalogue.model.spec.gate != 'softmax'

    @property
    def _by_proxy(self) -> bool:
        return self.catalogue.model.spec.items_depend_on_user and self.catalogue.count > 2 * CANDIDATES

    @property
    def _large(self) -> bool:
        return self.catalogue.count >= ITEMS_FROM and Index.installed()

    def top(self, requests: collections.abc.Sequence[Request], k: int, exact: bool = False,
            done: collections.abc.Callable[[int], Any] = lambda count: None) -> tuple[np.ndarray, np.ndarray]:
        """The best items of each request, best first.

        Args:
          requests: r of them, any number.
          k: how many.
          exact: whether every item is scored; else candidates where `approximate`.
          done: told how many requests have just been answered.

        Returns:
          item ids int32 [r, k], 0 where there are no more, and float32 scores [r, k].
        """
        ids, found = np.zeros((len(requests), k), np.int32), np.full((len(requests), k), -np.inf, np.float32)
        width = [self._width(len(request.history)) for request in requests]
        order = np.argsort(width, kind='stable')
        running: list[tuple[np.ndarray, Any]] = []
        start = 0
        while start < len(order):
            alike = order[start:start + self._most]
            alike = alike[[width[place] == width[alike[0]] for place in alike]]
            running.append((alike, self._dispatch([requests[place] for place in alike], width[alike[0]], k, exact)))
            start += len(alike)
            if len(running) > 1:
                self._collect(running.pop(0), ids, found, done)
        for rest in running:
            self._collect(rest, ids, found, done)
        return ids, found

    def states(self, requests: collections.abc.Sequence[Request]) -> tuple[jax.Array, Any]:
        """States and contexts of some requests, all of one bucket."""
        return self._states(requests, max(self._width(len(request.history)) for request in requests))

    def scores(self, requests: collections.abc.Sequence[Request]) -> np.ndarray:
        """Exact scores float32 [r, items], -inf where nothing may be recommended."""
        found = []
        for start in range(0, len(requests), self._most):
            some = requests[start:start + self._most]
            states, context = self.states(some)
            asked = self._asked(some, len(states))
            found.append(np.asarray(scoring.scores(self.catalogue.model, self.catalogue.arrays, states, context,
                                                   asked))[:len(some), :self.catalogue.count])
        return np.concatenate(found)

    def ranks(self, requests: collections.abc.Sequence[Request], targets: np.ndarray) -> np.ndarray:
        """float32 [r], the rank of each target id among all items that its request does not leave out, ties counting
        half; the target always stays."""
        found = np.zeros(len(requests), np.float32)
        width = [self._width(len(request.history)) for request in requests]
        order = np.argsort(width, kind='stable')
        for start in range(0, len(order), self._most):
            places = order[start:start + self._most]
            some = [requests[place] for place in places]
            states, context = self.states(some)
            wanted = np.ones(len(states), np.int32)
            wanted[:len(some)] = targets[places]
            left_out = self._left_out(some, len(states))
            found[places] = np.asarray(scoring.ranks(self.catalogue.model, self.catalogue.arrays, states, context,
                                                     wanted, left_out))[:len(some)]
        return found

    def similar(self, items: np.ndarray, k: int, allowed: np.ndarray | None,
                gone: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The items most like each item by the cosine of `scoring.Arrays.items`.

        Args:
          items: int32 [r], ids.
          k: how many.
          allowed: int32, ids that may be found; None: all.
          gone: ids that may not.

        Returns:
          ids int32 [r, k], 0 where there are no more, and float32 cosines [r, k].
        """
        arrays, depth = self.catalogue.arrays, min(_bucket(k, self.sizes.depths), self.catalogue.places)
        ids, found = np.zeros((len(items), k), np.int32), np.full((len(items), k), -np.inf, np.float32)
        for start in range(0, len(items), self._most):
            some = items[start:start + self._most]
            asked = np.zeros(_bucket(len(some), self.sizes.batches), np.int32)
            asked[:len(some)] = some
            requests = [Request(some[:0], np.append(gone, item).astype(np.int32), 0, allowed) for item in some]
            running = scoring.similar(depth, arrays, asked, self._asked(requests, len(asked)))
            self._collect((np.arange(start, start + len(some)), running), ids, found, lambda count: None)
        return ids, found

    def measure_recall(self, k: int, users: int = 200) -> float:
        """Share of the exact best k that lists hold as they are made otherwise, over some users of the data set."""
        known = self._assets.interactions
        there = np.flatnonzero(known.lengths > 0)
        chosen = there[evenly_spread(len(there), users)]
        repeats = self._assets.config.evaluate.repeats  # then lists hold what is in the history
        requests = [Request(np.asarray(known.full_sequence(int(user)), np.int32),
                            np.unique(known.full_sequence(int(user)))[:0 if repeats else None], int(user))
                    for user in chosen]
        exact, found = self.top(requests, k, exact=True)[0], self.top(requests, k)[0]
        hits = sum(len(np.intersect1d(mine[mine > 0], searched[searched > 0])) for mine, searched in zip(exact, found,
                                                                                                   strict=True))
        return hits / max(int((exact > 0).sum()), 1)

    def _dispatch(self, requests: collections.abc.Sequence[Request], width: int, k: int,
                  exact: bool) -> tuple[Any, Any]:
        """Starts a batch; returns scores and ids, perhaps still being computed."""
        model, arrays, count = self.catalogue.model, self.catalogue.arrays, self.catalogue.count
        states, context = self._states(requests, width)
        depth = min(_bucket(k, self.sizes.depths), self.catalogue.places)
        wanted = max(CANDIDATES, 2 * depth) if self._by_proxy else depth
        free = all(request.allowed is None for request in requests)
        if not exact and self.approximate and free and wanted < count:
            if not self._large:
                return scoring.best_of_candidates(model, depth, wanted, arrays, states, context,
                                                  self._asked(requests, len(states)))
            candidates = self._from_index(np.asarray(states), requests, wanted)
            if candidates is not None:
                return scoring.best_among(model, depth, arrays, states, context, candidates)
        return scoring.best(model, depth, arrays, states, context, self._asked(requests, len(states)))

    def _from_index(self, states: np.ndarray, requests: collections.abc.Sequence[Request],
                    wanted: int) -> np.ndarray | None:
        """int32 [B, C] ids without those that are left out; None where the index finds too few. New items are no part
        of the index: all of them are candidates, until they are many."""
        count = self.catalogue.count
        if self._index is None or count - self._index.count > _NEW_BESIDE:
            self._index = Index(np.asarray(self.catalogue.arrays.items)[:count])
        left_out = [request.left_out for request in requests]
        found = self._index.search(states, left_out, wanted)
        if found is None or self._index.count == count:
            return found
        new = np.arange(self._index.count + 1, count + 1, dtype=np.int32)
        beside = np.zeros((len(found), _NEW_BESIDE), np.int32)
        beside[:, :len(new)] = new
        for row, gone in enumerate(left_out):
            beside[row, np.isin(beside[row], gone)] = 0
        return np.concatenate([found, beside], axis=1)

    def _states(self, requests: collections.abc.Sequence[Request], width: int) -> tuple[jax.Array, Any]:
        size = _bucket(len(requests), self.sizes.batches)
        history, users = np.zeros((size, width), np.int32), np.zeros(size, np.int32)
        for row, request in enumerate(requests):
            own = request.history[-width:]
            history[row, :len(own)], users[row] = own, request.user
        return scoring.states(self.catalogue.model, self.catalogue.arrays, history, users)

    def _asked(self, requests: collections.abc.Sequence[Request], rows: int) -> scoring.Asked:
        longest = max(len(request.left_out) for request in requests)
        masked = longest > self.sizes.left_out[-1] or any(request.allowed is not None for request in requests)
        left_out = (np.zeros((rows, self.sizes.left_out[0]), np.int32) if masked
                    else self._left_out(requests, rows))
        if not masked:
            return scoring.Asked(left_out)
        allowed = np.ones((rows, self.catalogue.places), bool)
        for row, request in enumerate(requests):
            if request.allowed is not None:
                allowed[row] = False
                allowed[row, request.allowed - 1] = True
            allowed[row, request.left_out - 1] = False
        return scoring.Asked(left_out, allowed)

    def _left_out(self, requests: collections.abc.Sequence[Request], rows: int) -> np.ndarray:
        """int32 [B, X], what each request leaves out, 0 behind."""
        size = _bucket(max(len(request.left_out) for request in requests), self.sizes.left_out)
        found = np.zeros((rows, size), np.int32)
        for row, request in enumerate(requests):
            found[row, :len(request.left_out)] = request.left_out
        return found

    def _width(self, length: int) -> int:
        longest = self._assets.spec.max_length
        return min([size for size in self.sizes.lengths if length <= size < longest] or [longest])

    @property
    def _most(self) -> int:
        """Requests of a batch at most."""
        return max(size for size in self.sizes.batches if size == 1 or size * self.catalogue.places <= _SCORES)

    @staticmethod
    def _collect(running: tuple[np.ndarray, Any], ids: np.ndarray, scores: np.ndarray,
                 done: collections.abc.Callable[[int], Any]) -> None:
        places, (found, chosen) = running
        k = min(ids.shape[1], chosen.shape[1])
        ids[places, :k] = np.asarray(chosen)[:len(places), :k]
        scores[places, :k] = np.asarray(found)[:len(places), :k]
        done(len(places))


def _bucket(number: int, sizes: collections.abc.Sequence[int]) -> int:
    """The smallest size that holds a number; beyond the largest the next power of two."""
    return next((size for size in sizes if number <= size), 1 << (number - 1).bit_length())

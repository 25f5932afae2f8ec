"""Requests that come together are scored together: a bounded queue and one thread, which alone asks the model.

The thread takes what is waiting and never waits for more: while it scores, the next requests gather.
"""

import asyncio
import collections
import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from grasp_jax.serving.engine import Request
from grasp_jax.serving.http import problems
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.http.metrics import Metrics
from grasp_jax.serving.recommender import Recommender

LOG = logging.getLogger(__name__)
_FULL_ENOUGH = 2 / 3  # of a size of batches; with fewer requests a smaller one is taken
_ALONE: Any = object()


class Asked(NamedTuple):
    """A list that is asked for.

    Attributes:
      model: that answers.
      request: in its numbers.
      depth: items of the list.
      exact: whether every item is scored.
    """

    model: Recommender
    request: Request
    depth: int
    exact: bool


class Job:
    """Something for the thread: a list, or a call.

    Attributes:
      work: what is to be done.
      kind: jobs of one kind can be scored together.
      future: gets the result.
      since: when it came.
    """

    __slots__ = ('future', 'kind', 'since', 'work')

    def __init__(self, work: Asked | Callable[[], Any], kind: Any = _ALONE):
        """Takes the work; its result comes to the event loop that runs."""
        self.work, self.kind = work, kind
        self.future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.since = time.monotonic()


class Scorer:
    """The queue and the thread."""

    def __init__(self, limits: Limits, metrics: Metrics):
        """Starts the thread."""
        self._limits, self._metrics = limits, metrics
        self._waiting: collections.deque[Job] = collections.deque()
        self._wakes, self._ended = threading.Condition(), False
        metrics.watch_queue(lambda: len(self._waiting))
        self._thread = threading.Thread(target=self._run, name='scorer', daemon=True)
        self._thread.start()

    async def top(self, model: Recommender, request: Request, k: int,
                  exact: bool) -> tuple[np.ndarray, np.ndarray]:
        """The k best items for a request with a history.

        Args:
          model: whose numbers the request is in.
          request: what is asked.
          k: items of the list.
          exact: whether every item is scored.

        Returns:
          ids int32 and scores float32, k of each or fewer.

        Raises:
          Problem: too many are waiting.
        """
        sizes = model.engine.sizes
        exact = exact and model.approximate
        asked = Asked(model, request, sizes.depths[0] if k <= sizes.depths[0] else sizes.depths[-1], exact)
        usual = (asked.depth == sizes.depths[0] and not exact and request.allowed is None
                 and len(request.left_out) <= sizes.left_out[-1])
        ids, scores = await self._put(Job(asked, model if usual else _ALONE))
        there = ids[:k] > 0
        return ids[:k][there], scores[:k][there]

    async def call(self, work: Callable[[], Any]) -> Any:
        """What `work` returns, called between batches.

        Raises:
          Problem: too many are waiting.
        """
        return await self._put(Job(work))

    def close(self) -> None:
        """Ends the thread when the queue is empty."""
        with self._wakes:
            self._ended = True
            self._wakes.notify()
        self._thread.join()

    def _put(self, job: Job) -> asyncio.Future:
        with self._wakes:
            if len(self._waiting) >= self._limits.max_queue:
                raise problems.busy()
            self._waiting.append(job)
            self._wakes.notify()
        return job.future

    def _run(self) -> None:
        while True:
            with self._wakes:
                while not self._waiting:
                    if self._ended:
                        return
                    self._wakes.wait()
                jobs = self._take()
            late = time.monotonic() - self._limits.max_wait
            _deliver([job for job in jobs if job.since < late], [problems.busy()] * len(jobs))
            jobs = [job for job in jobs if job.since >= late]
            if jobs:
                _deliver(jobs, self._results(jobs))
            del jobs  # else the model of the last request would stay when another takes its place

    def _take(self) -> list[Job]:
        """The oldest job, and others of its kind, as many as fill a size of batches."""
        first = self._waiting.popleft()
        if first.kind is _ALONE or not self._waiting:
            return [first]
        sizes = first.kind.engine.sizes.batches
        same = [job for job in self._waiting if job.kind is first.kind][:sizes[-1] - 1]
        fits = next((size for size in sizes if size >= len(same) + 1), sizes[-1])
        if len(same) + 1 < _FULL_ENOUGH * fits:
            fits = max(size for size in sizes if size <= len(same) + 1)
        taken = {id(job) for job in same[:fits - 1]}
        rest = [job for job in self._waiting if id(job) not in taken]
        self._waiting.clear()
        self._waiting.extend(rest)
        return [first, *same[:fits - 1]]

    def _results(self, jobs: Sequence[Job]) -> Sequence[Any]:
        try:
            first = jobs[0].work
            if not isinstance(first, Asked):
                return [first()]
            requests = [job.work.request for job in jobs if isinstance(job.work, Asked)]
            ids, scores = first.model.engine.top(requests, first.depth, first.exact)
            self._metrics.scored(len(jobs))
            return list(zip(ids, scores, strict=True))
        except Exception as error:  # the thread goes on; who asked is told
            return [error] * len(jobs)


def _deliver(jobs: Sequence[Job], results: Sequence[Any]) -> None:
    """Hands results to the event loop, all of them at once."""
    if not jobs:
        return

    def deliver() -> None:
        for job, result in zip(jobs, results, strict=False):
            if job.future.done():
                continue
            if isinstance(result, Exception):
                job.future.set_exception(result)
            else:
                job.future.set_result(result)

    try:
        jobs[0].future.get_loop().call_soon_threadsafe(deliver)
    except RuntimeError:  # the loop has ended
        LOG.warning('%d answers came after the end', len(jobs))

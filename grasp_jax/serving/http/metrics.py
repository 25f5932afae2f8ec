"""What Prometheus is told: requests, times, the queue, batches, the model."""

from collections.abc import Callable

import prometheus_client
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """All counters of one service."""

    def __init__(self) -> None:
        """Makes them, all zero."""
        prometheus_client.disable_created_metrics()
        self.registry = CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self.registry)
        self._requests = Counter('grasp_jax_requests', 'Requests by route and status.', ['route', 'status'],
                                 registry=self.registry)
        self._seconds = Histogram('grasp_jax_request_seconds', 'Seconds from the head of a request to its answer.',
                                  ['route'], buckets=_SECONDS, registry=self.registry)
        self._batches = Histogram('grasp_jax_batch_size', 'Requests that were scored together.', buckets=_BATCHES,
                                  registry=self.registry)
        self._queue = Gauge('grasp_jax_queue_length', 'Requests that wait to be scored.', registry=self.registry)
        self._model = Gauge('grasp_jax_model_info', 'The model that answers.', ['version', 'seed'],
                            registry=self.registry)
        self._items = Gauge('grasp_jax_items', 'Items that can be recommended.', registry=self.registry)
        self._reloads = Counter('grasp_jax_reloads', 'Reloads by outcome: swapped or refused.', ['outcome'],
                                registry=self.registry)
        self._by_route: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        for outcome in ('swapped', 'refused'):
            self._reloads.labels(outcome)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered."""
        counter, times = self._found(route, status)
        counter.inc()
        times.observe(seconds)

    def _found(self, route: str, status: int) -> tuple[Counter, Histogram]:
        found = self._by_route.get((route, status))
        if found is None:
            found = self._by_route[route, status] = (self._requests.labels(route, str(status)),
                                                     self._seconds.labels(route))
        return found

    def scored(self, requests: int) -> None:
        """So many requests were scored together."""
        self._batches.observe(requests)

    def watch_queue(self, length: Callable[[], float]) -> None:
        """Asks for the length of the queue when it is wanted."""
        self._queue.set_function(length)

    def serves(self, version: str, seed: int, items: int) -> None:
        """Another model answers now, or one of more items."""
        self._model.clear()
        self._model.labels(version, str(seed)).set(1)
        self._items.set(items)

    def reloaded(self, swapped: bool) -> None:
        """A reload ended."""
        self._reloads.labels('swapped' if swapped else 'refused').inc()

    def text(self) -> bytes:
        """All of them as Prometheus reads them."""
        return prometheus_client.generate_latest(self.registry)

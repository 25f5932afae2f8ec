"""What the service takes at most, and the sizes of programs that follow from it."""

import dataclasses

from grasp_jax.serving.engine import Sizes

_BATCHES = (1, 4, 16, 64, 256)
_DEPTHS = (16, 128, 1024, 8192)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Every number that a client or a crowd of them meets.

    Attributes:
      max_queue: requests that wait to be scored; more are sent away.
      max_wait: seconds that a request waits to be scored; then it is sent away.
      max_k: items of a list.
      max_history: items of a history.
      max_batch: requests that are scored together.
      max_body: bytes of a request.
      max_text: characters of an id or of what is searched for.
      max_new_items: items that can be added until the next start or reload.
      max_connections: clients at once.
      seconds: until the head of a request is there, and until its body is.
    """

    max_queue: int = 256
    max_wait: float = 2.0
    max_k: int = 100
    max_history: int = 1000
    max_batch: int = 16
    max_body: int = 1 << 20
    max_text: int = 1000
    max_new_items: int = 256
    max_connections: int = 1000
    seconds: float = 10.0

    def sizes(self) -> Sizes:
        """Few enough sizes that all their programs are compiled before the service is ready."""
        batches = tuple(size for size in _BATCHES if size <= self.max_batch)
        shallow = _DEPTHS[0]
        deep = next((size for size in _DEPTHS if size >= self.max_k), self.max_k)
        return Sizes(batches, (16, 64), (shallow, deep) if deep > shallow else (shallow,), (16, 64))

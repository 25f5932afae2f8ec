"""What the service takes at most."""

import dataclasses


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

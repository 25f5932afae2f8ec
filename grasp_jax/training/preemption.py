"""SIGTERM, which schedulers send before they take a machine away: training saves where it is and ends."""

import signal
import threading
from typing import Any

from grasp_jax.distributed import processes


class PreemptionGuard:
    """Whether to stop now. Use as a context manager; outside of it SIGTERM ends the process as it does any other.

    Among several processes it is enough that one of them gets the signal; all must ask equally often. JAX's own
    service for this cannot be used: Orbax asks it too, with other step numbers, and the moment that the processes
    agree on is then one that training may never reach.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._came = False
        self._before: Any = None
        # Python lets only the main thread set handlers; elsewhere SIGTERM stays what it was.
        self._catches = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> 'PreemptionGuard':
        if self._catches:
            self._before = signal.signal(signal.SIGTERM, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if self._catches:
            signal.signal(signal.SIGTERM, self._before)

    def __call__(self) -> bool:
        """Asks; call it between two chunks of steps."""
        return not processes.all_say(not self._came)

    def _take(self, *_: object) -> None:
        self._came = True

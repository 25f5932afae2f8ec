"""SIGTERM, which schedulers send before they take a machine away: training saves where it is and ends."""

import signal
import threading
from typing import Any

import jax
from jax.experimental import multihost_utils


class Notice:
    """Whether to stop now. Use as a context manager; outside of it SIGTERM ends the process as it does any other.

    Among several processes JAX's runtime catches the signal, whichever of them gets it, and picks a moment that all of
    them reach: every process must ask equally often.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._came, self._asked = False, 0
        self._before: Any = None
        # Python lets only the main thread set handlers; elsewhere SIGTERM stays what it was.
        self._alone = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> 'Notice':
        if self._alone:
            self._before = signal.signal(signal.SIGTERM, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        if self._alone:
            signal.signal(signal.SIGTERM, self._before)

    def __call__(self) -> bool:
        """Asks; call it between two chunks of steps."""
        self._asked += 1
        if jax.process_count() > 1 and not self._came:
            self._came = bool(multihost_utils.reached_preemption_sync_point(self._asked))
        return self._came

    def _take(self, *_: object) -> None:
        self._came = True

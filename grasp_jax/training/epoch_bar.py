"""The progress of training: each epoch once, with its figures and an honest time left."""

import math
import time
from typing import Any

import jax

from grasp_jax.common.progress import Bar
from grasp_jax.distributed import processes

_COMPILES = '/jax/core/compile/'  # how the names begin of what JAX tells of its compiler
_WHOLE = 1e-6  # shares of calls add up to an epoch but for their rounding
_open: list['EpochBar'] = []


class EpochBar(Bar):
    """Counts epochs. Use as a context manager.

    The time left is an upper bound, as patience may end a run sooner. Calls and validations inside of which a program
    was compiled say nothing about those to come, so it is taken from the others.
    """

    def __init__(self, seed: int, epochs: int, done: float, protocol: str, **settings: Any):
        """Begins to count.

        Args:
          seed: of the run.
          epochs: how many there are at most.
          done: how many were done before, with the share of one that was interrupted.
          protocol: under which they are validated, sampled or full.
          **settings: others of `tqdm`.
        """
        self._name, self._protocol, self._figures = f'seed {seed}', protocol, ''
        self._validated, self._called, self._compiling, self._compiled = int(done), False, False, False
        self._begin = time.perf_counter()
        self._calls, self._validations = _Pace(), _Pace()
        super().__init__(**{'total': epochs, 'initial': done, 'disable': not processes.is_writer(), 'miniters': 0,
                            **settings})
        _open.append(self)

    def trained(self, share: float) -> None:
        """Takes note of a call that has returned and makes up a share of an epoch."""
        self._called = True
        self._calls.add(share, self._lap())
        self.update(share)

    def validated(self, line: dict[str, Any], best: float, epoch: int) -> None:
        """Takes note of an epoch that has ended.

        Args:
          line: what training writes down of it.
          best: the best validation NDCG@10 so far, a fraction.
          epoch: number of the epoch that has it, from 1.
        """
        self._validations.add(1, self._lap())
        self._validated = line['epoch']
        self._figures = (f', valid NDCG@10 ({self._protocol}) {100 * line["valid_ndcg10"]:.2f}, best {100 * best:.2f} '
                         f'in epoch {epoch}, loss {line["loss"]:.4f}, {line["sequences_per_s"]:,.0f} sequences/s')
        self.now()

    def compiles(self) -> None:
        """Takes note of a program that is being compiled."""
        self._compiled = True
        if not self._compiling and (self.on_terminal or not self._called):
            self._compiling = True
            self.now()

    def close(self) -> None:
        """As in `Bar`."""
        if self in _open:
            _open.remove(self)
        super().close()

    def __str__(self) -> str:
        """The line as it is shown."""
        inside = self.n - self._validated
        done = f'{self._validated}' if not _WHOLE < inside < 1 - _WHOLE else f'{math.floor(10 * self.n) / 10:.1f}'
        doing = ', compiling' if self._compiling else ', validating' if inside >= 1 - _WHOLE else ''
        known = self.format_dict
        left = self._calls.seconds + self._validations.seconds
        times = (f'at most {self.format_interval(left * (self.total - self.n))} left' if self._calls.known else
                 self.format_interval(known['elapsed']))
        # Elsewhere than on a terminal each epoch has one line with its figures.
        figures = self._figures if self.on_terminal or inside <= _WHOLE else ''
        line = f'{self._name}: {done} of {self.total} epochs{doing} [{times}]{figures}'
        return line[:known['ncols'] - 1] if known['ncols'] else line

    def _lap(self) -> float | None:
        """Seconds since the last time that it was asked; None where something was compiled meanwhile."""
        begin, self._begin = self._begin, time.perf_counter()
        compiled = self._compiled
        self._compiled = self._compiling = False
        return None if compiled else self._begin - begin


class _Pace:
    """Mean seconds an epoch of one kind of work, 0 where they are not known.

    Attributes:
      seconds: the mean.
      known: whether there was any.
    """

    def __init__(self) -> None:
        self.seconds, self.known, self._share = 0.0, False, 0.0

    def add(self, share: float, seconds: float | None) -> None:
        """Takes note of work on a share of an epoch; nothing where its seconds are None."""
        if seconds is not None:
            self.known, self._share = True, self._share + share
            self.seconds += (seconds - share * self.seconds) / self._share


def _listen(event: str, duration_secs: float, **_: str | int) -> None:
    del duration_secs
    if event.startswith(_COMPILES):
        for bar in _open:
            bar.compiles()


jax.monitoring.register_event_duration_secs_listener(_listen)

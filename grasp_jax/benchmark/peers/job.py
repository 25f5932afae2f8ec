"""What a program is given, and what it gives back. It runs under other Pythons: NumPy and the standard library alone.

A program is a module of this package with a function `program`, which `run` calls. It trains on all but the last two
items of each user, picks the epoch with the last but one, and writes a list for each user, made from all but the last.
"""

import dataclasses
import importlib.metadata
import json
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

K = 10  # items of a list
SETTINGS = SAME, DEFAULTS = 'same', 'defaults'
BACKBONES = ('sasrec', 'bert4rec', 'gru4rec')
NAMES = OURS, OURS_WITH_TEXTS, *OTHERS = 'grasp_jax', 'grasp_jax_texts', 'rectools', 'recbole', 'cornac'
# The settings that every program is given under `same`; everything else is left as its authors have it.
WIDTH, BLOCKS, HEADS, LENGTH, DROPOUT, RATE, USERS, PATIENCE = 64, 2, 1, 50, 0.2, 1e-3, 128, 10


@dataclasses.dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
      split: .npz with `indptr` [n + 1] and `items` [interactions], 1..m, the oldest item of a user first.
      folder: for files of its own, empty; `lists.npy` and `result.json` are left there.
      backbone: sasrec, bert4rec or gru4rec.
      settings: SAME or DEFAULTS.
      epochs: at most.
      config: config file of this project's own program; the others have no use for it, nor for the next two.
      stages: folder of its prepared data and vectors.
      texts: whether it reads texts, as its recipe has it.
    """

    split: str
    folder: str
    backbone: str
    settings: str
    epochs: int
    config: str = ''
    stages: str = ''
    texts: bool = False

    @property
    def same(self) -> bool:
        """Whether every program gets the same settings."""
        return self.settings == SAME


class Split:
    """Who bought what, leave-one-out.

    Attributes:
      indptr, items: as in `Job.split`.
      num_users, num_items: n and m.
    """

    def __init__(self, path: str):
        with np.load(path) as found:
            self.indptr, self.items = found['indptr'], found['items']
        self.num_users, self.num_items = len(self.indptr) - 1, int(self.items.max())

    def rows(self, held_out: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Users, items and places in time of everything but the `held_out` newest items of each user."""
        lengths = np.diff(self.indptr)
        users = np.repeat(np.arange(self.num_users), lengths)
        places = np.arange(len(users)) - self.indptr[users]
        kept = places < lengths[users] - held_out
        return users[kept], self.items[kept], places[kept]

    def history(self, user: int) -> np.ndarray:
        """What a list for the test is made from: all but the newest item."""
        found: np.ndarray = self.items[self.indptr[user]:self.indptr[user + 1] - 1]
        return found

    def targets_a_batch(self) -> int:
        """About how many targets USERS users have in training, for programs that count targets."""
        return round(USERS * (len(self.rows(2)[0]) / self.num_users - 1))


class Stopwatch:
    """Seconds of each epoch's training, without its validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._since = 0.0

    def begin(self) -> None:
        """An epoch begins."""
        self._since = time.perf_counter()

    def end(self) -> None:
        """Its training has ended."""
        self.seconds.append(time.perf_counter() - self._since)


def unseen(scores: np.ndarray, split: Split, users: np.ndarray) -> np.ndarray:
    """The K best items of each user that the history lacks: scores of items 1..m [B, m] -> ids [B, K]."""
    for row, user in enumerate(users):
        scores[row, split.history(int(user)) - 1] = -np.inf
    best = np.argpartition(-scores, K - 1, 1)[:, :K]
    order = np.argsort(-np.take_along_axis(scores, best, 1), 1, kind='stable')
    found: np.ndarray = np.take_along_axis(best, order, 1) + 1
    return found


def run(program: Callable[[Job, Split, Stopwatch], Callable[[], np.ndarray]], libraries: tuple[str, ...]) -> None:
    """Does the job that the command line names.

    Args:
      program: trains, and returns what makes the lists of all users, ids [n, K].
      libraries: whose versions are written down.
    """
    job = Job(**json.loads(pathlib.Path(sys.argv[1]).read_text(encoding='utf-8')))
    split, watch, folder = Split(job.split), Stopwatch(), pathlib.Path(job.folder)
    began = time.perf_counter()
    make_lists = program(job, split, watch)
    trained = time.perf_counter()
    lists = make_lists()
    found: dict[str, Any] = {'list_s': time.perf_counter() - trained, 'train_s': trained - began,
                             'epoch_s': watch.seconds,
                             'versions': {name: importlib.metadata.version(name) for name in libraries}}
    np.save(folder / 'lists.npy', lists.astype(np.int32))
    (folder / 'result.json').write_text(json.dumps(found), encoding='utf-8')

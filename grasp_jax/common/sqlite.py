"""What the stores of answers and of vectors do alike with sqlite."""

import contextlib
import pathlib
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError

Thing = TypeVar('Thing')
TOGETHER = 500  # keys of one query


def connect(path: pathlib.Path, schema: str) -> sqlite3.Connection:
    """Opens or makes a database that several processes may use; statements commit by themselves.

    Raises:
      sqlite3.Error: the file is something else.
    """
    database = sqlite3.connect(path, isolation_level=None, timeout=60)
    with artefacts.lock(path.parent, f'.{path.name}.opening'):  # sqlite does not wait where several switch to this mode
        database.execute('pragma journal_mode=wal')
    # What is committed is on the disk, not in its cache.
    database.execute('pragma synchronous=full')
    database.executescript(schema)
    return database


@contextlib.contextmanager
def reading(path: pathlib.Path, remedy: str) -> Iterator[None]:
    """Says in one line that a file cannot be read.

    Raises:
      UserError: what is inside met something that is damaged; `remedy` says what to do.
    """
    try:
        yield
    except UserError:  # of what was to be looked up, not of the file
        raise
    except (sqlite3.Error, ValueError) as error:
        raise UserError(f'{path}: cannot be read ({error}); {remedy}') from error


@contextlib.contextmanager
def writing(database: sqlite3.Connection, path: pathlib.Path) -> Iterator[None]:
    """All or nothing of what is written inside, while no other process writes.

    Raises:
      UserError: the file cannot be written.
    """
    try:
        with database:  # commits at the end, rolls back where something is raised
            database.execute('begin immediate')
            yield
    except (sqlite3.Error, OSError) as error:
        raise UserError(f'{path}: cannot be written ({error}); make room or see who holds it, then the same command '
                        'goes on') from error


def select_among(database: sqlite3.Connection, query: str, keys: Iterable[Any]) -> list[Any]:
    """All rows of a query in whose place `{}` the keys are put, some at a time."""
    rows: list[Any] = []
    for some in in_chunks(keys, TOGETHER):
        rows += database.execute(query.format(', '.join('?' * len(some))), some).fetchall()
    return rows


def in_chunks(things: Iterable[Thing], size: int) -> Iterator[Sequence[Thing]]:
    """Lists of at most `size` things."""
    feed = iter(things)
    while some := list(islice(feed, size)):
        yield some

"""Every vector that a model made of a text, kept once and found again by the text: a killed run embeds nothing twice.

One folder per model, so that vectors of two models never mix: `manifest.json` says which, `vectors.f32` holds the rows
one after the other (little-endian float32), `index.sqlite` says which text's vector is in which row, and what they took
in tokens. Rows are on the disk before the index knows of them.
"""

import contextlib
import hashlib
import json
import os
import pathlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.common.sqlite import TOGETHER, connect, in_chunks, reading, select_among, writing

_SCHEMA = """
create table if not exists rows (key blob primary key, row integer not null);
create table if not exists spent (id integer primary key, tokens integer not null);
"""


class VectorStore:
    """The vectors of one model; a context manager. Several processes may use one folder at once.

    Attributes:
      width: E; 0 while no vector was seen here.
    """

    def __init__(self, root: pathlib.Path, model: dict[str, Any]):
        """Opens or makes the folder of a model below `root`.

        Args:
          root: of all models.
          model: JSON values that tell it from all others (name, revision, ...).

        Raises:
          UserError: the folder is damaged.
        """
        self.folder = root / artefacts.fingerprint('vectors', model, [])[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        self._manifest, self._rows = self.folder / artefacts.MANIFEST, self.folder / 'vectors.f32'
        self._model, self.width = artefacts.as_json(model), 0
        self._learn_width()
        try:
            self._index = connect(self.folder / 'index.sqlite', _SCHEMA)
        except sqlite3.Error as error:
            raise UserError(f'{self.folder}: is no store of vectors ({error}); delete it') from error

    def __enter__(self) -> 'VectorStore':
        return self

    def __exit__(self, *_: object) -> None:
        self._index.close()

    def _learn_width(self) -> None:
        """Another process may have kept the first vector since this one looked."""
        if self.width or not self._manifest.exists():
            return
        try:
            found = artefacts.read_json(self._manifest)
            model, self.width = found['model'], int(found['width'])
        except (UserError, TypeError, KeyError, ValueError) as error:
            raise self._damaged() from error
        if model != self._model:
            raise UserError(f'{self._manifest}: speaks of another model; delete the folder')

    def _damaged(self) -> UserError:
        """Of a manifest, by which alone the rows can be read."""
        what = json.dumps({'model': self._model, 'width': 0})
        return UserError(f'{self._manifest}: is missing or damaged; write {what} into it with the width of its vectors '
                         f'in place of 0, or delete {self.folder}, and they are made anew')

    def rows(self, texts: Sequence[str]) -> np.ndarray:
        """int64 [len(texts)]: the row of each text's vector, -1 where there is none.

        Raises:
          UserError: the index is damaged.
        """
        keys = [_key(text) for text in texts]
        with self._reading():
            known = dict(select_among(self._index, 'select key, row from rows where key in ({})', keys))
        return np.array([known.get(key, -1) for key in keys], np.int64)

    def add(self, texts: Sequence[str], vectors: np.ndarray, tokens: int = 0) -> None:
        """Keeps the vectors [len(texts), E] of texts that have none yet, and the tokens that they took.

        Raises:
          UserError: the width is another than before, a number is not finite, or the files cannot be written.
        """
        vectors = np.ascontiguousarray(vectors, '<f4')
        if vectors.ndim != 2 or len(vectors) != len(texts) or not np.isfinite(vectors).all():
            raise UserError(f'{self._model}: its vectors are no {len(texts)} rows of finite numbers')
        with writing(self._index, self.folder):
            self._require_width(vectors.shape[1])
            first = self._count()
            with self._rows.open('r+b' if self._rows.exists() else 'w+b') as file:
                file.seek(first * self.width * 4)
                file.write(vectors.tobytes())
                file.flush()
                os.fsync(file.fileno())
            self._index.executemany('insert or ignore into rows values (?, ?)',
                                    [(_key(text), first + number) for number, text in enumerate(texts)])
            self._index.execute('insert into spent (tokens) values (?)', (tokens,))

    def _require_width(self, width: int) -> None:
        """The first vector says how wide all are."""
        self._learn_width()
        if not self.width and self._count():
            raise self._damaged()
        if not self.width:
            artefacts.write_json(self._manifest, {'model': self._model, 'width': width})
            self.width = width
        if width != self.width:
            raise UserError(f'{self._model}: its vectors are {width} wide, those before {self.width}; the model has '
                            f'changed, so name its llm.revision, or delete {self.folder}')

    def charge(self, tokens: int) -> None:
        """Keeps tokens that were spent without a vector to show for them.

        Raises:
          UserError: the index cannot be written.
        """
        with writing(self._index, self.folder):
            self._index.execute('insert into spent (tokens) values (?)', (tokens,))

    def spent(self) -> int:
        """Tokens that all vectors took, in every run.

        Raises:
          UserError: the index is damaged.
        """
        with self._reading():
            return int(self._index.execute('select coalesce(sum(tokens), 0) from spent').fetchone()[0])

    def table(self) -> np.ndarray:
        """All rows [?, E], memory-mapped.

        Raises:
          UserError: the file is shorter than the index says, or the index is damaged.
        """
        with self._reading():
            count = self._count()
        self._learn_width()
        if not count:
            return np.zeros((0, self.width), np.float32)
        if not self.width:
            raise self._damaged()
        if not self._rows.exists() or self._rows.stat().st_size < count * self.width * 4:
            raise UserError(f'{self._rows}: is shorter than {count} rows; delete {self.folder}')
        return np.memmap(self._rows, '<f4', 'r', shape=(count, self.width))

    def _count(self) -> int:
        return int(self._index.execute('select coalesce(max(row) + 1, 0) from rows').fetchone()[0])

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return reading(self.folder / 'index.sqlite', f'delete {self.folder}, its vectors are then made anew')

    def missing(self, texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
        """Blocks of at most `size` different texts without a vector."""
        return in_chunks(self._missing(texts), size)

    def _missing(self, texts: Sequence[str]) -> Iterator[str]:
        asked: set[bytes] = set()
        for some in in_chunks(texts, TOGETHER):
            for text, row in zip(some, self.rows(some), strict=True):
                if row < 0 and _key(text) not in asked:
                    asked.add(_key(text))
                    yield text


def fill(store: VectorStore, texts: Sequence[str], size: int,
         embed: Callable[[Iterator[Sequence[str]], int], None]) -> tuple[np.ndarray, int]:
    """Has the missing vectors made; another process that would make some of the same store waits.

    Args:
      store: where they go.
      texts: all texts.
      size: texts embedded together.
      embed: gets the blocks that are missing and their number, and adds their vectors to the store.

    Returns:
      int64 [len(texts)], the rows of their vectors, and how many were made.
    """
    made = 0
    if any(True for _ in store.missing(texts, size)):
        with artefacts.lock(store.folder):
            blocks, before = sum(1 for _ in store.missing(texts, size)), len(store.table())
            if blocks:
                embed(store.missing(texts, size), blocks)
            made = len(store.table()) - before
    rows = store.rows(texts)
    assert (rows >= 0).all(), 'every text has a vector now'
    return rows, made


def _key(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()

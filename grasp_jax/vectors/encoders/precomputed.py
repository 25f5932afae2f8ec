"""Vectors that somebody else made: a .npy table and the list of its rows' ids, matched by id."""

import logging
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np
import pyarrow

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.data import sources, spellings
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.vectors.encoders.base import Encoder, Texts, Vectors, register
from grasp_jax.vectors.vector_files import open_table

LOG = logging.getLogger(__name__)
_ITEM_KEYS, _USER_KEYS = ('item_vectors', 'item_ids'), ('user_vectors', 'user_ids')


@register
class Precomputed(Encoder):
    """Reads tables; the texts here have no part in them."""

    kind, words, reads_texts = 'precomputed', 'made elsewhere', False
    remedy = 'look at the file that the vectors are from'

    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        """Opens the tables and matches their rows by id."""
        assert dataset is not None, 'rows are matched by its ids'
        paths = files(self.config)
        items, item_rows = open_matched(paths['item_vectors'], paths['item_ids'], dataset.item_ids)
        facts = {'item_vectors': paths['item_vectors'].name}
        if 'user_vectors' not in paths:
            means = UserMeans(dataset.interactions, items, item_rows)
            return Vectors(items, item_rows, means, np.arange(len(means)),
                           {**facts, 'user_vectors': 'means of the items'})
        users, user_rows = open_matched(paths['user_vectors'], paths['user_ids'], dataset.user_ids, items.shape[1])
        return Vectors(items, item_rows, users, user_rows, {**facts, 'user_vectors': paths['user_vectors'].name})

    def encode_more(self, folder: pathlib.Path, item_texts: Texts, user_texts: Texts) -> Vectors:
        """Refuses, as nothing here can make a vector.

        Raises:
          UserError: always.
        """
        raise UserError('the vectors of this run were made elsewhere (encode.kind=precomputed); make those of new '
                        'items with the same model and give them as `vectors`')

    def vectors_by_id(self, item_ids: Sequence[str]) -> np.ndarray | None:
        """Rows of the table of items."""
        paths = files(self.config)
        table, rows = open_matched(paths['item_vectors'], paths['item_ids'], item_ids)
        return np.asarray(table[rows], np.float32)

    def check(self) -> None:
        """Looks whether the files are named."""
        named(self.settings)

    def checksums(self) -> list[str]:
        """Of all files."""
        return [f'{key} {path.name} {artefacts.file_checksum(path)}' for key, path in files(self.config).items()]

    def origin(self) -> str:
        """Names the file."""
        return f'made elsewhere, read from {self.settings.item_vectors or "files"}'


def named(settings: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The keys of the section `encode` that name files; those of users may be left out together.

    Raises:
      UserError: one is not given.
    """
    needed = _ITEM_KEYS + (_USER_KEYS if any(settings[key] for key in _USER_KEYS) else ())
    unset = [key for key in needed if not settings[key]]
    if unset:
        raise UserError(f'encode.kind=precomputed needs encode.{unset[0]}=FILE')
    return needed


def files(config: ml_collections.ConfigDict) -> dict[str, pathlib.Path]:
    """The files that the config names, by key of `config.encode`, in the data folder unless a path is absolute.

    Those of users may be left out.

    Raises:
      UserError: a name is not given, or the file is not there.
    """
    folder = sources.locate(config)
    paths = {key: folder / config.encode[key] for key in named(config.encode)}
    for key, path in paths.items():
        if not path.is_file():
            found = 'is a folder; name one file with' if path.is_dir() else 'is not there; put it there or set'
            raise UserError(f'{path}: {found} encode.{key}')
    return paths


def open_matched(vectors: pathlib.Path, ids: pathlib.Path, wanted: Sequence[str],
                 width: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Opens a table and finds each wanted id's row in it.

    Args:
      vectors: .npy table [rows, E].
      ids: text file with the id of each row, one a line.
      wanted: the data set's ids, in its order.
      width: E that the table must have; None takes any.

    Returns:
      The table, memory-mapped in its own row order, and int64 [len(wanted)] with the row of each wanted id.

    Raises:
      UserError: ids are missing or repeated, their number is not the number of rows, or the table is unfit.
    """
    listed = _read_ids(ids)
    table = open_table(vectors, len(listed), width)
    row_of = {identity: row for row, identity in enumerate(listed)}
    missing = [identity for identity in wanted if identity not in row_of]
    if missing:
        absent = f'{ids}: {len(missing)} ids of the data set are missing, '
        met = spellings.between(*(pyarrow.array(some, pyarrow.large_string()) for some in (missing, listed)))
        if met:
            raise UserError(f'{absent}as {met.one!r}, where this file has {met.other!r} (ids that differ only in '
                            f'{spellings.WAYS}: {met.number}); write ids as the interactions do')
        raise UserError(f'{absent}the first is {missing[0]!r}; encode them too and add their rows to {vectors.name}')
    if len(listed) > len(wanted):  # as of items that the filter left out
        known = set(wanted)
        row = next(row for row, identity in enumerate(listed) if identity not in known)
        LOG.warning('%s: %s of %s ids are not in the data set and are left aside, the first is %r in line %s', ids,
                    len(listed) - len(wanted), len(listed), listed[row], row + 1)
    return table, np.array([row_of[identity] for identity in wanted], np.int64)


def _read_ids(path: pathlib.Path) -> list[str]:
    try:
        listed = path.read_text(encoding='utf-8-sig').removesuffix('\n').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: cannot be read ({error}); give a text file with one id a line') from error
    listed = [line.rstrip('\r') for line in listed]
    first: dict[str, int] = {}
    for number, identity in enumerate(listed, start=1):
        if not identity:
            raise UserError(f'{path}, line {number}: is empty; give the id of each row, one a line')
        if first.setdefault(identity, number) != number:
            raise UserError(f'{path}, line {number}: id {identity!r} was on line {first[identity]} already; '
                            'keep one row per id')
    return listed


class UserMeans:
    """Users' vectors where no file has them: the mean of the vectors of a user's training items, zero without any.

    Looks like an array [n, E]; `means[users]` makes these rows.

    Attributes:
      shape: (n, E).
    """

    def __init__(self, interactions: Interactions, items: np.ndarray, item_rows: np.ndarray):
        """Makes nothing yet.

        Args:
          interactions: the sequences.
          items: table [rows, E].
          item_rows: int [m], the row of each item.
        """
        self._interactions, self._items, self._rows = interactions, items, item_rows
        self.shape = (interactions.num_users, items.shape[1])

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, users: np.ndarray) -> np.ndarray:
        """float32 [len(users), E]."""
        found = np.zeros((len(users), self.shape[1]), np.float32)
        for place, user in enumerate(users):
            own = self._interactions.sequence(int(user), 'train')
            if len(own):
                found[place] = self._items[self._rows[own - 1]].mean(axis=0, dtype=np.float32)
        return found

"""Tables of vectors on disk: opened memory-mapped, checked at the door."""

import dataclasses
import pathlib
import tokenize
import zipfile

import numpy as np

from grasp_jax.common.errors import UserError

ITEMS, USERS = 'items.npy', 'users.npy'
ITEMS_SIMILAR, USERS_SIMILAR = 'items_similar.npy', 'users_similar.npy'
# Of the stage `retrieve`, where it smooths.
ITEMS_MENDED, ITEMS_SMOOTHED = 'items_mended.npy', 'items_smoothed.npy'
_DTYPES = ('float16', 'float32', 'float64')
_BLOCK = 1 << 24  # numbers looked at together: 64 MB in float32


@dataclasses.dataclass(frozen=True)
class LLMVectors:
    """The four frozen tables, E wide; row 0 of the item tables is zero (padding).

    Attributes:
      users: [n, E] vectors of the users' texts, U.
      items: [m + 1, E] vectors of the items' texts, I.
      users_similar: [n, E] mean of each user's nearest users, U_bar (Eq. 2).
      items_similar: [m + 1, E] mean of each item's nearest items, I_bar (Eq. 2).
    """

    users: np.ndarray
    items: np.ndarray
    users_similar: np.ndarray
    items_similar: np.ndarray

    @property
    def width(self) -> int:
        """E."""
        return self.items.shape[1]


def load_tables(encode_folder: pathlib.Path, retrieve_folder: pathlib.Path, num_users: int,
                num_items: int) -> LLMVectors:
    """Opens the tables that the stages `encode` and `retrieve` left.

    Args:
      encode_folder: folder of `items.npy` and `users.npy`.
      retrieve_folder: folder of `items_similar.npy` and `users_similar.npy`, and of `items_mended.npy` where that is.
      num_users: n.
      num_items: m.

    Raises:
      UserError: a table is missing or unfit, or the tables differ in width.
    """
    items, users = load_vectors(encode_folder, num_users, num_items)
    if (retrieve_folder / ITEMS_MENDED).exists():
        items = item_table(retrieve_folder / ITEMS_MENDED, num_items, users.shape[1])
    items_similar = item_table(retrieve_folder / ITEMS_SIMILAR, num_items, items.shape[1])
    users_similar = open_table(retrieve_folder / USERS_SIMILAR, num_users, items.shape[1])
    return LLMVectors(users=users, items=items, users_similar=users_similar, items_similar=items_similar)


def load_vectors(folder: pathlib.Path, num_users: int, num_items: int) -> tuple[np.ndarray, np.ndarray]:
    """Opens `items.npy` [m + 1, E] and `users.npy` [n, E] of the stage `encode`.

    Raises:
      UserError: a table is missing or unfit, or they differ in width.
    """
    items = item_table(folder / ITEMS, num_items)
    return items, open_table(folder / USERS, num_users, items.shape[1])


def own_items(stages: pathlib.Path) -> pathlib.Path:
    """The table of items that models read: with wrong texts mended, or as the encoder made it.

    Args:
      stages: folder of the stages `encode` and `retrieve`.

    Example:
      >>> own_items(pathlib.Path('runs/beauty')).as_posix()
      'runs/beauty/encode/items.npy'
    """
    return _of_retrieve(stages, ITEMS_MENDED)


def searched_items(stages: pathlib.Path) -> pathlib.Path:
    """The table of items in which neighbours are searched for: smoothed, or as the encoder made it.

    Args:
      stages: folder of the stages `encode` and `retrieve`.

    Example:
      >>> searched_items(pathlib.Path('runs/beauty')).as_posix()
      'runs/beauty/encode/items.npy'
    """
    return _of_retrieve(stages, ITEMS_SMOOTHED)


def _of_retrieve(stages: pathlib.Path, name: str) -> pathlib.Path:
    made = stages / 'retrieve' / name
    return made if made.exists() else stages / 'encode' / ITEMS


# What NumPy raises over headers and archives that are damaged.
_UNREADABLE = (OSError, ValueError, EOFError, OverflowError, TypeError, SyntaxError, zipfile.BadZipFile,
               tokenize.TokenError)


def open_table(path: pathlib.Path, rows: int, width: int | None = None) -> np.ndarray:
    """Opens a table of vectors without reading it into memory.

    Args:
      path: a .npy file.
      rows: how many rows it must have.
      width: how wide it must be; None takes any width.

    Returns:
      Read-only memory map, float16, float32 or float64 [rows, width].

    Raises:
      UserError: the file is missing, damaged or holds objects; the shape, dtype or a number is wrong.
    """
    try:
        table = np.load(path, mmap_mode='r', allow_pickle=False)
    except _UNREADABLE as error:
        raise UserError(f'{path}: cannot be read as a plain .npy array ({_first_line(error)}); '
                        'write it again with numpy.save(..., allow_pickle=False)') from error
    if not isinstance(table, np.ndarray) or table.ndim != 2 or table.dtype.name not in _DTYPES:
        found = f'{table.dtype.name} {list(table.shape)}' if isinstance(table, np.ndarray) else 'an archive'
        raise UserError(f'{path}: holds {found}; give one array of float16, float32 or float64 [rows, width]')
    if len(table) != rows:
        raise UserError(f'{path}: has {len(table)} rows, {rows} are needed; give one row per id')
    if table.shape[1] == 0 or (width is not None and table.shape[1] != width):
        raise UserError(f'{path}: its vectors are {table.shape[1]} wide, {width or "at least 1"} is needed; users and '
                        'items must come from the same encoder')
    _check_finite(path, table)
    return table


def blocks(rows: int, width: int) -> list[slice]:
    """Slices that cover `rows` rows of `width` numbers, each small enough to hold in memory."""
    step = max(_BLOCK // max(width, 1), 1)
    return [slice(start, min(start + step, rows)) for start in range(0, rows, step)]


def item_table(path: pathlib.Path, num_items: int, width: int | None = None) -> np.ndarray:
    """Opens a table [num_items + 1, E] of items, as `open_table`.

    Raises:
      UserError: as there, or the row of the padding item is not zero.
    """
    table = open_table(path, num_items + 1, width)
    if np.any(table[0]):
        raise UserError(f'{path}: row 0 belongs to the padding item and must be zero; delete its folder and run again')
    return table


def _check_finite(path: pathlib.Path, table: np.ndarray) -> None:
    for block in blocks(*table.shape):
        bad = np.flatnonzero(~np.isfinite(table[block]).all(axis=1))
        if len(bad):
            raise UserError(f'{path}, row {block.start + bad[0]}: has a number that is NaN or infinite; '
                            'encode this row again')


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""The lists of a run: the best items of each evaluated user under full ranking, from the pass that ranks the test.

They are of the protocol of the test: the input is all but the test item, and what is in it is not listed.
"""

import pathlib
from typing import NamedTuple

import numpy as np

from grasp_jax.common import archives
from grasp_jax.common.errors import UserError

LISTS_FILE = 'test_lists.npz'


class Lists(NamedTuple):
    """The best items of some users.

    Attributes:
      users: int32 [v].
      items: int32 [v, K], item ids, the best first, 0 where there are no more.
    """

    users: np.ndarray
    items: np.ndarray


def save_lists(run_dir: pathlib.Path, lists: Lists) -> None:
    """Writes `test_lists.npz` into the folder of a run, complete or not at all."""
    archives.write(run_dir / LISTS_FILE, {name: values.astype(np.int32) for name, values in lists._asdict().items()})


def load_lists(run_dir: pathlib.Path) -> Lists | None:
    """Reads the lists of a run; None where it has none, as one of an earlier version.

    Raises:
      UserError: `test_lists.npz` is damaged.
    """
    path = run_dir / LISTS_FILE
    if not path.exists():
        return None
    arrays = archives.read(path, Lists._fields)
    found = Lists(arrays['users'], arrays['items'])
    if found.items.ndim != 2 or found.items.shape[:1] != found.users.shape or (found.items < 0).any():
        raise UserError(f'{path}: holds no lists of its users; delete it and run again')
    return found


def depth_of(run_dir: pathlib.Path) -> int:
    """How many items the lists of a run have; 0 where there are none. Errors as in `load_lists`."""
    found = load_lists(run_dir)
    return 0 if found is None else found.items.shape[1]

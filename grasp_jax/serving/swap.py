"""A folder that is written beside another and takes its place in one step."""

import contextlib
import ctypes
import fcntl
import glob
import os
import pathlib
import shutil
import uuid
from collections.abc import Iterator

_PARTIAL, _BEFORE = '.partial', '.before'
_HERE, _EXCHANGE = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of Linux


@contextlib.contextmanager
def replacing(target: pathlib.Path) -> Iterator[pathlib.Path]:
    """A new folder to fill, which stands at `target` at the end: a reader sees what was there before or all of the new.

    A process that is killed leaves `target` as it was, and a hidden folder beside it that the next call takes away.

    Args:
      target: not there, an empty folder, or a folder that is to go.

    Raises:
      OSError: the disk is full, or the folder is not writable; `target` is as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _clear(target)
    folder = target.with_name(f'.{target.name}.{uuid.uuid4().hex[:12]}{_PARTIAL}')
    folder.mkdir()
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)  # says that its owner lives
        yield folder
        _settle(folder)
        if target.exists():
            _exchange(folder, target)
        else:
            os.rename(folder, target)
        _sync(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # half a folder, or what was there before
        os.close(held)


def _clear(target: pathlib.Path) -> None:
    """Takes away what killed processes left."""
    before = target.with_name(f'.{target.name}{_BEFORE}')
    if before.exists() and not target.exists():
        os.rename(before, target)  # the kill came between two renames
    for left in target.parent.glob(f'.{glob.escape(target.name)}.*{_PARTIAL}'):
        with contextlib.suppress(OSError):
            held = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            finally:
                os.close(held)


def _settle(folder: pathlib.Path) -> None:
    """Waits until all of a folder is on the disk."""
    for path in folder.rglob('*'):
        _sync(path)
    _sync(folder)


def _sync(path: pathlib.Path) -> None:
    file = os.open(path, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def _exchange(new: pathlib.Path, old: pathlib.Path) -> None:
    """Two folders change places; where the system cannot do it at once, the place is empty for a moment."""
    rename = getattr(ctypes.CDLL(None), 'renameat2', None)
    if rename is not None and rename(_HERE, os.fsencode(new), _HERE, os.fsencode(old), _EXCHANGE) == 0:
        return
    before = old.with_name(f'.{old.name}{_BEFORE}')
    shutil.rmtree(before, ignore_errors=True)
    os.rename(old, before)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(before, old)
        raise
    shutil.rmtree(before, ignore_errors=True)

"""Compiled programs are kept on disk, so that a command that is run again need not compile them again.

JAX keeps them where `JAX_COMPILATION_CACHE_DIR` says; without that variable, commands of this project name a folder of
the user's own. `JAX_ENABLE_COMPILATION_CACHE=false` turns it off.
"""

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import pathlib
import platform
import stat
import sys

LOG = logging.getLogger(__name__)
_FOLDER, _SWITCH = 'JAX_COMPILATION_CACHE_DIR', 'JAX_ENABLE_COMPILATION_CACHE'
_SHORTEST = 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'
_OFF = ('0', 'false', 'no', 'off', 'f', 'n')
_FROM_SECONDS = '0.1'  # that a program takes to compile; shorter ones are not kept
_ROOM = 2 ** 30  # bytes; above that the oldest programs go


def keep_compiled_programs() -> None:
    """Tells JAX, and processes that this one starts, where to keep programs; nothing may have been compiled yet."""
    if os.environ.get(_FOLDER) or os.environ.get(_SWITCH, '').lower() in _OFF:
        return
    try:
        folder = _own_folder()
    except (OSError, RuntimeError) as error:  # no home, or one that cannot be written
        LOG.info('compiled programs are not kept (%s); name a folder in %s', error, _FOLDER)
        return
    _make_room(folder)
    os.environ[_FOLDER] = str(folder)
    seconds = os.environ.setdefault(_SHORTEST, _FROM_SECONDS)
    if 'jax' in sys.modules:  # it has read its variables already
        sys.modules['jax'].config.update(_FOLDER.lower(), str(folder))
        sys.modules['jax'].config.update(_SHORTEST.lower(), float(seconds))


def _own_folder() -> pathlib.Path:
    """The folder of this user, kind of processor and version, made where it is missing.

    Raises:
      OSError: it cannot be made, or others may write into it: what lies there is run.
    """
    base = os.environ.get('XDG_CACHE_HOME') or pathlib.Path.home() / '.cache'
    folder = pathlib.Path(base) / 'grasp_jax' / 'compiled' / _kind_of_machine()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) or found.st_uid not in (os.getuid(), 0):
        raise PermissionError(f'{folder}: others may write into it')
    if not os.access(folder, os.W_OK):
        raise PermissionError(f'{folder}: cannot be written')
    return folder


def _kind_of_machine() -> str:
    """Programs of another jaxlib, or for a processor with other instructions, may end the process."""
    found = [importlib.metadata.version('jaxlib'), platform.machine(), platform.processor()]
    with contextlib.suppress(OSError):
        lines = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
        found += sorted({line for line in lines if line.startswith(('flags', 'Features', 'model name'))})
    return hashlib.sha256('\n'.join(found).encode()).hexdigest()[:16]


def _make_room(folder: pathlib.Path) -> None:
    """Removes the oldest programs where there are too many; another process may do the same at this moment."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            known = path.stat()
            files.append((known.st_mtime, known.st_size, path))
    total = sum(size for _, size, _ in files)
    for _, size, path in sorted(files):
        if total <= _ROOM:
            break
        path.unlink(missing_ok=True)
        total -= size

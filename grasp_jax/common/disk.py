"""Room on the disk, asked for before a stage writes much."""

import logging
import pathlib
import shutil

from grasp_jax.common.errors import UserError

LOG = logging.getLogger(__name__)
_WORTH_SAYING = 1e9  # bytes
_SPARE = 1.05


def require(folder: pathlib.Path, size: float, what: str, remedy: str) -> None:
    """Says what will be written where it is much, and refuses it where it does not fit.

    Args:
      folder: an existing folder on the disk.
      size: bytes.
      what: is written, for the message.
      remedy: what to do where there is no room.

    Raises:
      UserError: less than that, and a twentieth to spare, is free.
    """
    free = shutil.disk_usage(folder).free
    if size > _WORTH_SAYING:
        LOG.info('%s: writes %.1f GB, %.1f GB are free', what, size / 1e9, free / 1e9)
    if free < _SPARE * size:
        raise UserError(f'{folder}: {free / 1e9:.1f} GB are free, {what} needs {_SPARE * size / 1e9:.1f} GB; {remedy}')

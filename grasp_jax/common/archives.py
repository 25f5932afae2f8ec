"""Archives of arrays (.npz) that a run keeps: written complete or not at all, read with errors of one line."""

import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError


def write(path: pathlib.Path, arrays: Mapping[str, np.ndarray], compress: bool = True) -> None:
    """Writes an archive in one step, as `artefacts.replacing` does; uncompressed it is larger and written sooner."""
    with artefacts.replacing(path) as partial, partial.open('wb') as file:
        (np.savez_compressed if compress else np.savez)(file, allow_pickle=False, **arrays)


def read(path: pathlib.Path, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """Reads all arrays of an archive.

    Args:
      path: the archive.
      names: of arrays that it must have.

    Raises:
      UserError: it is missing, damaged or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in dict.fromkeys((*names, *file.files))}
    except FileNotFoundError as error:
        raise UserError(f'{path}: is not there; run again') from error
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise UserError(f'{path}: cannot be read ({error}); delete it and run again') from error

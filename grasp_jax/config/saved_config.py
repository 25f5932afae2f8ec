"""The config of a work folder, kept beside its runs, so that whoever opens the folder needs nothing else."""

import os
import pathlib
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import default, old_keys

FILE = 'config.json'


def save(config: ml_collections.ConfigDict, workdir: pathlib.Path, stages: pathlib.Path) -> None:
    """Writes the config, and where the stages before training lie.

    Args:
      config: the full config.
      workdir: gets `config.json`.
      stages: folder of the stages; kept relative to `workdir` where it lies beside or below it.
    """
    relative = os.path.relpath(stages.absolute(), workdir.absolute())
    shown = relative if relative.count('..') < 3 else str(stages.absolute())
    found = {'config': config.to_dict(), 'stages': shown}
    path = workdir / FILE
    if not path.exists() or artefacts.read_json(path) != artefacts.as_json(found):
        artefacts.write_json(path, found)


def load(workdir: pathlib.Path) -> tuple[ml_collections.ConfigDict, pathlib.Path]:
    """The config of a work folder and the folder of its stages.

    Raises:
      UserError: it is no work folder, or one of an earlier version, or the file is damaged.
    """
    path = workdir / FILE
    if not workdir.is_dir():
        raise UserError(f'{workdir}: there is no such folder; name the --workdir of a finished run')
    if not path.is_file():
        raise UserError(f'{path}: is not there; name the --workdir of a finished run (one of an earlier version gets '
                        'the file when its command is run again, which trains nothing anew)')
    found = artefacts.read_json(path)
    try:
        config = default()
        with config.unlocked():
            _fill(config, old_keys.named_now('', found['config']), '')
        return config, workdir / str(found['stages'])
    except UserError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f'{path}: is no config of this version ({error}); run the command of its report '
                        'again') from error


def _fill(config: ml_collections.ConfigDict, values: dict[str, Any], where: str) -> None:
    """Sets what the file names; a setting that it lacks, of a later version, keeps its default."""
    for key, value in values.items():
        if key not in config:
            raise KeyError(f'there is no setting {where}{key}')
        if isinstance(config[key], ml_collections.ConfigDict):
            _fill(config[key], value, f'{where}{key}.')
        else:
            config[key] = _as_tuple(value)


def _as_tuple(value: Any) -> Any:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value

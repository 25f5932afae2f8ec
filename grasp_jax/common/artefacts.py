"""Artefacts: folders that a stage leaves behind, each with a manifest, complete or not there at all.

A manifest holds the fingerprint of what went in (the stage's config and its inputs' fingerprints), checksums of the
files that came out and library versions. A stage is built under a temporary name and renamed when complete. One that is
found complete is looked through before it is used: a copy that broke off is refused, and so is a stage whose
forerunners were made again and came out otherwise. A finished training run stays what it is: its vectors may have been
made on another machine and differ in their last bits. A report says where its seeds were trained on other contents.
"""

import collections.abc
import contextlib
import dataclasses
import fcntl
import hashlib
import importlib.metadata
import json
import logging
import math
import numbers
import os
import pathlib
import shutil
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from grasp_jax.common import source
from grasp_jax.common.errors import UserError

LOG = logging.getLogger(__name__)
MANIFEST = 'manifest.json'
_PARTIAL, _UNFINISHED, _MARK = '.partial', '.unfinished', 'fingerprint'
_LOOKED_THROUGH = 64e6  # bytes of the largest file whose checksum is computed again: 0.1 s
# Folder of a stage's files that no later stage reads. Threads write ArrayRecord files, whose bytes differ each time.
EXPORT = 'tfds'
_LIBRARIES = ('grasp_jax', 'jax', 'flax', 'numpy', 'scikit-learn', 'scann', 'tensorflow-datasets')


@dataclasses.dataclass(frozen=True)
class Artefact:
    """A complete artefact folder.

    Attributes:
      path: the folder.
      fingerprint: hex SHA-256 of the stage's name, config and inputs.
      contents: hex SHA-256 of its files that later stages read, and of those that it was made from.
      facts: what the stage reported about itself (JSON values), shown in the report.
      reused: whether it was found complete instead of built now.
    """

    path: pathlib.Path
    fingerprint: str
    contents: str
    facts: dict[str, Any]
    reused: bool


Make = collections.abc.Callable[[pathlib.Path], dict[str, Any]]


def fingerprint(stage: str, config: Any, inputs: collections.abc.Sequence[str]) -> str:
    """Hex SHA-256 over the stage's name, its config (JSON) and the fingerprints of its inputs, in order."""
    text = json.dumps([stage, config, list(inputs)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def file_checksum(path: pathlib.Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def build(path: pathlib.Path, config: Any, inputs: collections.abc.Sequence[str], make: Make,
          made_of: str = '') -> Artefact:
    """Returns the artefact at `path`, made by `make(folder)` unless a complete one of the same fingerprint is there.

    Args:
      path: where the artefact lives; its name is the stage's name.
      config: everything in the config that the result depends on (JSON values).
      inputs: fingerprints of the artefacts and checksums of the files that it is made from.
      make: fills an empty folder and returns facts about the result.
      made_of: `contents` of the artefacts that it is made from.

    Raises:
      UserError: the folder holds an artefact of another config or of other contents, or a damaged one.
    """
    digest = fingerprint(path.name, config, inputs)
    manifest = _read_manifest(path)
    if manifest is not None:
        _require_same(path, manifest, digest, config, made_of)
        require_intact(path, f'delete {path}, and the same command makes it again')
        shutil.rmtree(unfinished(path), ignore_errors=True)  # a kill may have come between the last two steps
        return Artefact(path, digest, _contents(made_of, manifest), manifest['facts'], reused=True)
    partial = path.with_name(path.name + _PARTIAL)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    rest = _unfinished_of(fingerprint('unfinished', digest, [made_of]), path)
    try:
        facts = finite(make(partial))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        if {found.name for found in rest.iterdir()} == {_MARK}:
            shutil.rmtree(rest)
        raise
    files = {str(file.relative_to(partial)): file for file in sorted(partial.rglob('*')) if file.is_file()}
    manifest = {
        'stage': path.name, 'fingerprint': digest, 'config': config, 'inputs': list(inputs), 'made_of': made_of,
        'facts': facts, 'files': {name: file_checksum(file) for name, file in files.items()},
        'bytes': {name: file.stat().st_size for name, file in files.items()}, 'versions': versions(),
        'commit': source.commit()}
    write_json(partial / MANIFEST, manifest)
    os.replace(partial, path)
    shutil.rmtree(rest, ignore_errors=True)
    return Artefact(path, digest, _contents(made_of, manifest), facts, reused=False)


def _contents(made_of: str, manifest: dict[str, Any]) -> str:
    read = {name: checksum for name, checksum in manifest['files'].items() if not name.startswith(f'{EXPORT}/')}
    return fingerprint('contents', read, [made_of])


def unfinished(folder: pathlib.Path) -> pathlib.Path:
    """A folder for what a stage that `build` makes in `folder` wants to find again after a kill; it goes when the stage
    is complete, or when another config or other data are asked for, or the stages before came out otherwise."""
    return folder.with_name(folder.name.removesuffix(_PARTIAL) + _UNFINISHED)


def _unfinished_of(digest: str, path: pathlib.Path) -> pathlib.Path:
    """The folder `unfinished`, empty unless an earlier try left it under the same mark."""
    rest = unfinished(path)
    if not (rest / _MARK).exists() or (rest / _MARK).read_text(encoding='utf-8') != digest:
        shutil.rmtree(rest, ignore_errors=True)
        rest.mkdir()
        (rest / _MARK).write_text(digest, encoding='utf-8')
    return rest


@contextlib.contextmanager
def lock(folder: pathlib.Path, name: str = '.lock') -> Iterator[None]:
    """Keeps other processes on this machine from building in the same folder; the system lets go when one dies. What
    has another name does not wait."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / name).open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            LOG.info('%s: another process works there, waiting for it', folder)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def claim(folder: pathlib.Path, config: dict[str, Any], inputs: collections.abc.Sequence[str], usual: Any = None,
          free: Mapping[str, collections.abc.Sequence[str]] | None = None, made_of: str = '') -> None:
    """Marks a folder that is filled bit by bit (a training run) as belonging to a config, or checks that it does.

    Args:
      folder: the folder.
      config, inputs: as in `build`.
      usual: values of settings that change nothing; a folder from before there was such a setting keeps its owner.
      free: by section the settings that may change.
      made_of: as in `build`; empty asks for nothing.

    Raises:
      UserError: the folder belongs to another config, or was filled from other contents.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / MANIFEST).exists():
        manifest = read_json(folder / MANIFEST)
        known = {**_without_new(config, manifest['config'], usual)}
        for section, names in (free or {}).items():
            before = manifest['config'].get(section, {})
            known[section] = {**known[section], **{name: before[name] for name in names if name in before}}
        _require_same(folder, manifest, fingerprint(folder.name, known, inputs), known, made_of)
    else:
        write_json(folder / MANIFEST, {
            'stage': folder.name, 'fingerprint': fingerprint(folder.name, config, inputs), 'config': config,
            'inputs': list(inputs), 'made_of': made_of, 'versions': versions(), 'commit': source.commit()})


def _without_new(config: Any, before: Any, usual: Any) -> Any:
    """A config without the settings that `before` lacks and that have their usual value."""
    if not all(isinstance(each, dict) for each in (config, before, usual)):
        return config
    return {key: _without_new(value, before.get(key), usual.get(key)) for key, value in config.items()
            if key in before or key not in usual or value != usual[key]}


def as_json(value: Any) -> Any:
    """A value as it comes back from a JSON file."""
    return json.loads(json_text(value))


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes JSON in one step, as `replacing` does."""
    write_text(path, json_text(value, indent=2, sort_keys=True) + '\n')


def json_text(value: Any, **style: Any) -> str:
    """JSON of a value, as all files of the project are written: JSON has no NaN and no infinity, both become null.

    Args:
      value: what else JSON does not know becomes text, and numbers and arrays of NumPy what they hold.
      style: of `json.dumps`.
    """
    try:
        return json.dumps(value, default=_plain, allow_nan=False, **style)
    except ValueError:  # rare, and a look at each number takes longer than the writing
        return json.dumps(finite(value), default=_plain, allow_nan=False, **style)


def finite(value: Any) -> Any:
    """A value with None in the place of each number in it that is NaN or infinite."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(finite, value)) if type(value) in (list, tuple) else list(map(finite, value))
    if hasattr(value, 'tolist'):
        return finite(value.tolist())
    if isinstance(value, numbers.Real) and not isinstance(value, numbers.Integral) and not math.isfinite(value):
        return None
    return value


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, 'tolist') else str(value)


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text in one step, as `replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding='utf-8')


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A path to write to, whose file takes the place of `path` at the end: a reader sees the old file or the new one,
    never half of it, also where several processes write the same."""
    partial = path.with_name(f'{path.name}.{os.getpid()}{_PARTIAL}')
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: pathlib.Path) -> Any:
    """Reads a JSON file.

    Raises:
      UserError: the file is not there or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'{path}: cannot be read ({error}); delete it and run again') from error


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that shape a result."""
    found = {'python': sys.version.split()[0]}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read_manifest(path: pathlib.Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    if not (path / MANIFEST).exists():
        raise UserError(f'{path}: exists but is not an artefact (no {MANIFEST}); choose another --workdir')
    return read_json(path / MANIFEST)


def _require_same(path: pathlib.Path, manifest: dict[str, Any], digest: str, config: Any, made_of: str) -> None:
    if manifest['fingerprint'] != digest:
        raise UserError(f'{path}: was made with another config or other data '
                        f'({_difference(manifest["config"], config)}); choose another --workdir (or --stages) or '
                        'delete this folder')
    # Older manifests do not say what they were made of.
    if made_of and manifest.get('made_of') and manifest['made_of'] != made_of:
        raise UserError(f'{path}: was made from stages that have come out otherwise since they were made again; '
                        'bring those of before back, choose another --workdir or delete this folder')


def require_intact(path: pathlib.Path, remedy: str) -> None:
    """Refuses an artefact with a file that is not as it was written: gone, of another size or, if small, of another
    checksum.

    Raises:
      UserError: names the file, and the remedy.
    """
    manifest = read_json(path / MANIFEST)
    sizes = manifest.get('bytes', {})  # not in older manifests
    for name, checksum in manifest['files'].items():
        file = path / name
        if not file.is_file():
            raise UserError(f'{file}: is missing from a stage that was complete; {remedy}')
        size = file.stat().st_size
        if size != sizes.get(name, size) or (size <= _LOOKED_THROUGH and file_checksum(file) != checksum):
            raise UserError(f'{file}: is not as it was written ({size:,} bytes); {remedy}')


def _difference(old: Any, new: Any, prefix: str = '') -> str:
    """Names the first keys in which two configs differ, as `key: old -> new`."""
    new = as_json(new)
    if isinstance(old, dict) and isinstance(new, dict):
        parts = [_difference(old.get(k), new.get(k), f'{prefix}{k}.') for k in sorted(old.keys() | new.keys())]
        return ', '.join([part for part in parts if part][:3]) or ('' if prefix else 'its inputs changed')
    return '' if old == new else f'{prefix.rstrip(".")}: {old} -> {new}'

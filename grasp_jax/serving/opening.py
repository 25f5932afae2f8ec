"""Opening a bundle: every file is looked through before anything is made of it."""

import concurrent.futures
import dataclasses
import datetime
import json
import logging
import os
import pathlib
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import saved_config
from grasp_jax.serving import stablehlo
from grasp_jax.serving.assets import BUNDLE, Assets, parameter_shapes, read_stages, require_finite
from grasp_jax.texts import domains
from grasp_jax.training import view_weights

LOG = logging.getLogger(__name__)
FORMAT = 1
WEIGHTS, SCORER = 'weights.safetensors', 'scorer.stablehlo'
_STAGES = ('prepare', 'encode', 'retrieve')
_TRIES = 3  # while other bundles take its place
_KINDS: dict[str, type | tuple[type, ...]] = {
    'version': str, 'contents': str, 'dataset': str, 'method': str, 'backbone': str, 'seed': int, 'epoch': int,
    'files': dict, 'scorer': dict}


def open_bundle(path: pathlib.Path, seed: int | None = None) -> Assets:
    """Opens a bundle; its program is not read.

    Args:
      path: the folder.
      seed: must be the one that it holds; None: that one.

    Raises:
      UserError: a file is missing, damaged or does not fit the others, or it holds another seed.
    """
    for tried in range(1, _TRIES + 1):
        before = _identity(path)
        try:
            known = _open(path, seed)
        except UserError:
            if _identity(path) == before or tried == _TRIES:
                raise
            continue
        if _identity(path) == before:  # else another one took its place, and this is some of each
            return known
    raise UserError(f'{path}: is replaced again and again; open it when that is over')


def _identity(path: pathlib.Path) -> tuple[int, int] | None:
    """Tells a folder from another one of the same name."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _open(path: pathlib.Path, seed: int | None) -> Assets:
    manifest = read_manifest(path)
    if seed is not None and seed != manifest['seed']:
        raise UserError(f'{path}: holds seed {manifest["seed"]} and not {seed}; leave the seed out, or export that one')
    require_files(path, manifest)
    config, _ = saved_config.load(path)
    if config.text.domain not in domains.NAMES:
        config.text.domain = str(path / config.text.domain)
    known = read_stages(path, path, config, (manifest['seed'], (manifest['seed'],)))
    _require_sound(known)
    shapes = view_weights.weighed(known.spec, parameter_shapes(config, known).params)
    shapes = stablehlo.flat(stablehlo.ranking(known.spec, shapes))
    if expired(manifest):
        LOG.warning('%s: %s is promised to run until %s only; the bundle serves all the same, export it anew for '
                    'others', path, SCORER, manifest['scorer']['expires'])
    return dataclasses.replace(known, params=_weights(path / WEIGHTS, shapes), epoch=manifest['epoch'])


def read_manifest(path: pathlib.Path) -> dict[str, Any]:
    """What a bundle says of itself.

    Raises:
      UserError: it cannot be read, or is of another version of the format.
    """
    where = path / BUNDLE
    remedy = 'bring the bundle back as it was'
    try:
        found = json.loads(where.read_text(encoding='utf-8'))
    except (OSError, ValueError) as error:
        raise UserError(f'{where}: cannot be read ({error}); {remedy}') from error
    if not isinstance(found, dict) or found.get('format') != FORMAT:
        version = found.get('format') if isinstance(found, dict) else None
        raise UserError(f'{where}: is of format {version}, this version reads {FORMAT}; export the run with this '
                        'version, or use the one that made the bundle')
    wrong = [key for key, kind in _KINDS.items() if not isinstance(found.get(key), kind)]
    files = found['files'] if 'files' not in wrong else {}
    for name, facts in files.items():
        if not isinstance(facts, dict) or not isinstance(facts.get('bytes'), int) or pathlib.PurePosixPath(
                name).is_absolute() or '..' in name.split('/') or not isinstance(facts.get('sha256'), str):
            wrong.append(f'files.{name}')
    try:
        datetime.date.fromisoformat(found['scorer']['expires'])
    except (KeyError, TypeError, ValueError):
        wrong.append('scorer.expires')
    if wrong:
        raise UserError(f'{where}: its entry {wrong[0]} is not what it should be; {remedy}')
    return found


def expired(manifest: dict[str, Any]) -> bool:
    """Whether JAX promises no longer to read the program of a bundle."""
    expires = datetime.date.fromisoformat(manifest['scorer']['expires'])
    return datetime.datetime.now(datetime.UTC).date() > expires


def require_files(path: pathlib.Path, manifest: dict[str, Any]) -> None:
    """Refuses a bundle whose files are not those of its manifest, to the last byte.

    Raises:
      UserError: names the file.
    """
    files = manifest['files']
    for name in (saved_config.FILE, WEIGHTS, SCORER):
        if name not in files:
            raise UserError(f'{path / BUNDLE}: does not list {name}; bring the bundle back as it was')
    for name, facts in files.items():
        if not (path / name).is_file():
            raise UserError(f'{path / name}: is missing; bring the bundle back as it was')
        size = (path / name).stat().st_size
        if size != facts['bytes']:
            raise UserError(f'{path / name}: has {size:,} bytes, not {facts["bytes"]:,}; bring the bundle back as it '
                            'was')
    with concurrent.futures.ThreadPoolExecutor() as threads:  # checksums run beside each other
        checksums = threads.map(artefacts.file_checksum, [path / name for name in files])
        for (name, facts), checksum in zip(files.items(), checksums, strict=True):
            if checksum != facts['sha256']:
                raise UserError(f'{path / name}: is not as it was written; bring the bundle back as it was')
    for stage in _STAGES:
        for file in sorted((path / stage).glob('*')):
            if f'{stage}/{file.name}' not in files and not file.name.startswith('.'):
                raise UserError(f'{file}: is not of this bundle; take it away')


def _require_sound(known: Assets) -> None:
    """Refuses sequences and neighbours with numbers that no item has."""
    found, count = known.interactions, known.spec.num_items
    sound = (found.indptr[0] == 0 and found.indptr[-1] == len(found.items) and (found.lengths >= 0).all()
             and (not len(found.items) or (found.items.min() >= 1 and found.items.max() <= count)))
    if known.vectors is not None:
        neighbours = known.vectors.neighbours
        sound = sound and (not neighbours.size or (neighbours.min() >= 0 and neighbours.max() <= count))
    if not sound:
        raise UserError(f'{known.source}: has sequences or neighbours that do not fit its {count:,} items; export it '
                        'anew')


def _weights(path: pathlib.Path, shapes: dict[str, Any]) -> dict[str, Any]:
    """The parameters of a file, as a tree.

    Raises:
      UserError: they are not those of the model, or not finite.
    """
    try:
        found = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f'{path}: is no safetensors file ({error}); export the bundle anew') from error
    if found.keys() != shapes.keys():
        name = sorted(found.keys() ^ shapes.keys())[0]
        raise UserError(f'{path}: parameter {name} is {"not of this model" if name in found else "missing"}; export '
                        'the bundle anew')
    for name, shape in shapes.items():
        if found[name].shape != shape.shape or found[name].dtype != np.dtype(shape.dtype):
            raise UserError(f'{path}: parameter {name} is {found[name].dtype} {list(found[name].shape)}, the model has '
                            f'{shape.dtype} {list(shape.shape)}; export the bundle anew')
    tree: dict[str, Any] = require_finite(stablehlo.nested(found), path)
    return tree

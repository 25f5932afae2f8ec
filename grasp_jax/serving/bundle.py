"""A trained model as a folder of plain files: written in one step, checked file by file when it is opened.

It holds what `grasp_jax.Recommender` reads of a work folder, under the same names, the weights as safetensors and the
scores as a program of StableHLO (`serving.stablehlo`). Nothing in it is unpickled. Profiles of users stay behind.
"""

import calendar
import dataclasses
import datetime
import hashlib
import json
import os
import pathlib
from typing import Any

import ml_collections
import safetensors.numpy

from grasp_jax.common import artefacts, disk
from grasp_jax.common.errors import UserError
from grasp_jax.config import saved_config
from grasp_jax.data import dataset as dataset_files
from grasp_jax.retrieval.neighbours import ITEM_NEIGHBOURS
from grasp_jax.serving import stablehlo, swap
from grasp_jax.serving.assets import BUNDLE, Assets, version
from grasp_jax.serving.opening import FORMAT, SCORER, WEIGHTS, expired, open_bundle, read_manifest, require_files
from grasp_jax.texts import domains
from grasp_jax.vectors import vector_files
from grasp_jax.vectors.encoders import encoder_of
from grasp_jax.vectors.vector_writer import mean_of

__all__ = ['open_bundle', 'write_bundle']

_MONTHS = 6  # that a later JAX reads a program
_OWN_PATHS = (('data', 'source'), ('llm', 'store'), ('train', 'start_from'))  # folders of one machine
_DOMAIN = 'prepare/domain.toml'
Contents = dict[str, pathlib.Path | bytes]


def write_bundle(known: Assets, target: pathlib.Path, replace: bool = False) -> tuple[dict[str, Any], bool]:
    """Writes a bundle, unless one of the same contents is there.

    Args:
      known: an opened work folder, or a bundle whose program is to be made anew.
      target: the folder of the bundle; what stands there stays whole until the new one is.
      replace: whether a bundle of other contents is replaced.

    Returns:
      the manifest, and whether anything was written.

    Raises:
      UserError: the scores of the model cannot be exported, something else stands at `target`, or there is no room.
      OSError: the disk is full, or the folder is not writable.
    """
    target = target.resolve()
    stablehlo.require_scores(known)
    contents = _contents(known)
    checksums = {name: _checksum(content) for name, content in contents.items()}
    inside = artefacts.fingerprint('bundle', FORMAT, [f'{name} {checksums[name]}' for name in sorted(checksums)])[:12]
    there = _standing(target, inside, replace)
    if there is not None:
        return there, False
    near = next(folder for folder in target.parents if folder.is_dir())
    disk.require(near, sum(map(_size, contents.values())) + 2 ** 20, 'the bundle',
                 'make room, or name an --out on another disk')
    program = stablehlo.exported(known)
    contents[SCORER] = bytes(program.serialize())
    checksums[SCORER] = _checksum(contents[SCORER])
    files = {name: {'bytes': _size(content), 'sha256': checksums[name]} for name, content in sorted(contents.items())}
    manifest = _manifest(known, inside, files, program)
    with swap.replacing(target) as folder:
        for name, content in contents.items():
            _write(folder / name, content, checksums[name])
        artefacts.write_json(folder / BUNDLE, manifest)
    return manifest, True


def require_place(target: pathlib.Path) -> None:
    """Refuses a place where something else than a bundle stands.

    Raises:
      UserError: says so.
    """
    if target.exists() and not (target.is_dir() and not any(target.iterdir())) and not (target / BUNDLE).is_file():
        raise UserError(f'{target}: is there and no bundle; name another --out')


def _contents(known: Assets) -> Contents:
    """The files of a bundle, its manifest and program aside: bytes, or a file to be copied."""
    weights = stablehlo.flat(stablehlo.ranking(known.spec, known.params))
    users = ''.join(json.dumps({'id': identity, 'attributes': {}}, ensure_ascii=False) + '\n'
                    for identity in known.user_ids)
    found: Contents = {WEIGHTS: safetensors.numpy.save(weights), f'prepare/{dataset_files.USERS}': users.encode()}
    copied = [f'prepare/{name}' for name in ('dataset.json', 'indptr.npy', 'items.npy', dataset_files.ITEMS)]
    copied += [f'prepare/{dataset_files.SPLIT_ENDS}'] * (known.interactions.ends is not None)
    config = ml_collections.ConfigDict(known.config.to_dict())
    for section, key in _OWN_PATHS:
        config[section][key] = ''
    if known.vectors is not None:
        copied += [f'encode/{artefacts.MANIFEST}', f'retrieve/{vector_files.ITEMS_SIMILAR}',
                   f'retrieve/{ITEM_NEIGHBOURS}']
        tables = vector_files.own_items(known.stages), vector_files.searched_items(known.stages)
        copied += sorted({table.relative_to(known.stages).as_posix() for table in tables})
        copied += [f'encode/{vector_files.USERS}', f'retrieve/{vector_files.USERS_SIMILAR}'] * \
            known.spec.ranks_with_user_vectors
        mean = mean_of(pathlib.Path(vector_files.ITEMS)).name
        copied += [f'encode/{name}' for name in (mean, *sorted(encoder_of(known.config).fitted_files))
                   if (known.stages / 'encode' / name).is_file()]
        if config.text.domain not in domains.NAMES:  # new items are worded by a file of the person's own
            found[_DOMAIN] = domains.path_of(config.text.domain)
            config.text.domain = _DOMAIN
    found[saved_config.FILE] = _json({'config': config.to_dict(), 'stages': '.'})
    return found | {name: known.stages / name for name in copied}


def _manifest(known: Assets, inside: str, files: dict[str, Any], program: Any) -> dict[str, Any]:
    """What `bundle.json` says."""
    made = datetime.datetime.now(datetime.UTC).date()
    name = artefacts.read_json(known.stages / 'prepare' / 'dataset.json')['name']
    served = version(dataclasses.replace(known, params=stablehlo.ranking(known.spec, known.params)))
    return {
        'format': FORMAT, 'version': served, 'contents': inside, 'made': made.isoformat(),
        'dataset': name, 'method': known.spec.method, 'backbone': known.spec.backbone,
        'gate': known.spec.gate if known.spec.gated else None, 'seed': known.seed, 'epoch': known.epoch,
        'counts': {'items': known.spec.num_items, 'users': known.interactions.num_users,
                   'interactions': len(known.interactions.items)},
        'test': _measured(known), 'files': files, 'libraries': artefacts.versions(),
        'scorer': {
            'file': SCORER, 'arguments': [argument._asdict() for argument in stablehlo.arguments(known, WEIGHTS)],
            'result': {'shape': [stablehlo.BATCH, known.spec.num_items], 'dtype': 'float32'},
            'platforms': program.platforms, 'calling_convention_version': program.calling_convention_version,
            'expires': _later(made, _MONTHS).isoformat()}}


def _measured(known: Assets) -> dict[str, Any] | None:
    """The test metrics of this seed by protocol; None where there is no report on it."""
    try:
        if (known.source / BUNDLE).is_file():
            found: Any = read_manifest(known.source)['test']
        else:
            report = json.loads((known.source / 'report.json').read_text(encoding='utf-8'))
            test = next(run['test'] for run in report['runs'] if run['seed'] == known.seed)
            found = {protocol: test[protocol] for protocol in ('sampled', 'full')}
        return dict(found)
    except UserError:
        raise
    except (OSError, ValueError, KeyError, TypeError, StopIteration):
        return None


def _standing(target: pathlib.Path, inside: str, replace: bool) -> dict[str, Any] | None:
    """The manifest of a bundle that stays as it is; None where one is to be written.

    Raises:
      UserError: what stands there is no bundle, or a bundle that is not to be replaced.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return None
    require_place(target)
    try:
        manifest = read_manifest(target)
        require_files(target, manifest)
    except UserError as error:
        if replace:
            return None
        raise UserError(f'{error}, or put a new one in its place with --replace') from error
    if manifest['contents'] == inside and not expired(manifest):
        return manifest
    if not replace:
        why = (f'holds a program that is promised to run until {manifest["scorer"]["expires"]} only'
               if manifest['contents'] == inside else f'holds contents {manifest["contents"]}, these are {inside}')
        raise UserError(f'{target}: {why}; replace it with --replace, or name another --out')
    return None


def _write(path: pathlib.Path, content: pathlib.Path | bytes, checksum: str) -> None:
    """Writes one file.

    Raises:
      UserError: what is copied is no longer what it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    digest = hashlib.sha256()
    with content.open('rb') as source, path.open('wb') as copy:
        while block := source.read(1 << 22):
            digest.update(block)
            copy.write(block)
    if digest.hexdigest() != checksum:
        raise UserError(f'{content}: changed while it was copied; export again when nothing writes there')


def _checksum(content: pathlib.Path | bytes) -> str:
    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else artefacts.file_checksum(content)


def _size(content: pathlib.Path | bytes) -> int:
    return len(content) if isinstance(content, bytes) else os.path.getsize(content)


def _json(value: Any) -> bytes:
    return (artefacts.json_text(value, indent=2, sort_keys=True) + '\n').encode()


def _later(day: datetime.date, months: int) -> datetime.date:
    """The same day so many months later, or the month's last."""
    year, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + year, month + 1
    return day.replace(year=year, month=month, day=min(day.day, calendar.monthrange(year, month)[1]))

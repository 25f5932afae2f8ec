"""Where data lies: the config's folder, $GRASP_JAX_DATA, a cached download, or an error that names all three."""

import os
import pathlib

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.data import amazon, download, recbole, table_files

VARIABLE = 'GRASP_JAX_DATA'
KINDS = ('amazon', 'inter', 'table', 'shop')


def locate(config: ml_collections.ConfigDict) -> pathlib.Path:
    """Finds the folder with the source files, downloading them where they are public.

    Args:
      config: the full config.

    Returns:
      `config.data.source`, else $GRASP_JAX_DATA/<name>, else the download cache ~/.cache/grasp_jax/<name>.

    Raises:
      UserError: the data is nowhere; the line names the three ways to give it.
    """
    data = config.data
    if data.source:
        folder = pathlib.Path(data.source).expanduser()
        if folder.is_dir():
            return folder
        raise UserError(_nowhere(data, f'data.source is {data.source}, which is no folder'))
    base = os.environ.get(VARIABLE, '')
    if base and data.name and (pathlib.Path(base).expanduser() / data.name).is_dir():
        return pathlib.Path(base).expanduser() / data.name
    if not _is_public(data):
        raise UserError(_nowhere(data, 'data.source is empty and no public address is known for it'))
    try:
        return _download(data)
    except UserError as error:
        raise UserError(_nowhere(data, str(error))) from error


def source_files(config: ml_collections.ConfigDict) -> dict[str, pathlib.Path]:
    """The files that the data set is read from: 'interactions' and, where there are any, 'items' and 'users'. Of one's
    own tables each may be a folder with the parts of the table.

    Args:
      config: the full config; its kind is not 'shop'.

    Raises:
      UserError: a file is missing.
    """
    data = config.data
    if data.kind not in KINDS:
        raise UserError(f'data.kind is {data.kind!r}; choose one of {", ".join(KINDS)}')
    folder = locate(config)
    if data.kind == 'amazon':
        interactions, items = amazon.review_names(data), amazon.metadata_names(data)
    else:
        default = 'inter.txt' if data.kind == 'inter' else 'interactions.csv'
        interactions, items = [data.interactions_file or _atomic(folder, default)], [data.items_file]
    found = {'interactions': _first(folder, interactions, 'interactions', data, _other_layout(folder, data))}
    if recbole.is_atomic(found['interactions']):
        beside = {'items': recbole.beside(found['interactions'], recbole.ITEMS),
                  'users': recbole.beside(found['interactions'], recbole.USERS)}
        found |= {role: path for role, path in beside.items() if path is not None and not data[f'{role}_file']}
        items = [data.items_file]
    # A file that the config names must be there; the metadata of a dump may be missing.
    for role, names in (('items', items), ('users', [data.users_file])):
        if data[f'{role}_file'] or any((folder / name).is_file() for name in names if name):
            found[role] = _first(folder, names, role, data)
    return found


def source_checksums(config: ml_collections.ConfigDict) -> list[str]:
    """Identifies the source files: 'name size sha256' of each; none for the synthetic shop.

    Raises:
      UserError: a file is missing or cannot be read.
    """
    if config.data.kind == 'shop':
        return []
    found = []
    for path in source_files(config).values():
        for file in table_files.parts(path) if path.is_dir() else [path]:
            name = file.relative_to(path.parent)
            found.append(f'{name} {file.stat().st_size} {artefacts.file_checksum(file)}')
    return found


def _atomic(folder: pathlib.Path, default: str) -> str:
    """RecBole's file in a folder without a table of the usual name, where it is the only one.

    Raises:
      UserError: there are several.
    """
    found = sorted(path.name for path in folder.iterdir()
                   if path.name.lower().removesuffix('.gz').endswith(recbole.INTERACTIONS))
    if (folder / default).exists() or not found:
        return default
    if len(found) > 1:
        raise UserError(f'{folder}: has {len(found)} files of interactions ({", ".join(found[:4])}); name one with '
                        'data.interactions_file (parts of a split are joined first, as this program makes its '
                        'own)')
    return found[0]


def _other_layout(folder: pathlib.Path, data: ml_collections.ConfigDict) -> str:
    """Says where a folder without the files of a dump has those of another layout."""
    for year, layout in amazon.LAYOUTS.items() if data.kind == 'amazon' and not data.interactions_file else ():
        names = [name.format(data.category).removesuffix('.gz') for name in (layout.core, layout.reviews) if name]
        there = next((name for name in names for name in (name, f'{name}.gz') if (folder / name).is_file()), None)
        if year != data.layout and data.category and there:
            return f'it has {there}, of the layout {year}: if that is meant, use data.layout={year}; else '
    return ''


def _first(folder: pathlib.Path, names: list[str], role: str, data: ml_collections.ConfigDict,
           hint: str = '') -> pathlib.Path:
    """The first of some files that is there; of one's own tables it may be a folder with the parts of one."""
    for name in names:
        if (folder / name).is_file():
            return folder / name
        if name and (folder / name).is_dir():
            if data.kind == 'table':
                return folder / name
            raise UserError(f'{folder / name}: is a folder; name one file with data.{role}_file (parts of a '
                            'table are read as one with data.kind=table alone)')
    raise UserError(f'{folder}: has no {" or ".join(names)}; {hint}put it there or set data.{role}_file')


def _is_public(data: ml_collections.ConfigDict) -> bool:
    """Whether there is an address to download it from."""
    return bool(data.kind == 'amazon' and data.category and data.name)


def _download(data: ml_collections.ConfigDict) -> pathlib.Path:
    """Fetches the reviews and the metadata of a category into the cache."""
    layout = amazon.layout_of(data)
    part = 'core' if layout.core and amazon.wants_core(data) else 'reviews'
    folder = pathlib.Path.home() / '.cache' / 'grasp_jax' / data.name
    names = {
        part: data.interactions_file or getattr(layout, part).format(data.category),
        'metadata': data.items_file or layout.metadata.format(data.category),
    }
    for kind, name in names.items():
        download.fetch(download.ADDRESSES[data.layout, kind] + name, folder / name)
    return folder


def _nowhere(data: ml_collections.ConfigDict, reason: str) -> str:
    base = os.environ.get(VARIABLE, '')
    if base and data.name and not data.source:
        reason = f'${VARIABLE} is {base}, which has no folder {data.name}; {reason}'
    return (f'data set {data.name!r} was not found ({reason}): give data.source=DIR, or put it at '
            f'${VARIABLE}/{data.name or "<name>"}'
            + (', or let it be downloaded to ~/.cache/grasp_jax (needs the network)' if _is_public(data) else ''))

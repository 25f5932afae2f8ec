"""The daily job: new interactions, users and items, and only what they change is written, embedded and searched anew.

    python -m grasp_jax.main --config=... --mode=refresh --previous=runs/monday --workdir=runs/tuesday

The folder of before is only read. A text that stayed keeps its vector bit for bit; the others are encoded as those
before were (the same fitted LSA, the same mean taken away), so that tables can be mixed. Both drift from what a fresh
start would give: start afresh from time to time.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import artefacts, disk
from grasp_jax.common.errors import UserError
from grasp_jax.data import dataset as dataset_files
from grasp_jax.data.dataset import Dataset
from grasp_jax.retrieval import exact, update
from grasp_jax.retrieval.neighbours import (
    ITEM_NEIGHBOURS,
    USER_NEIGHBOURS,
    groups_of,
    items_to_search,
    room_of_tables,
    write_neighbours,
)
from grasp_jax.texts import domains
from grasp_jax.texts.describe import load_texts
from grasp_jax.vectors import vector_files
from grasp_jax.vectors.encoders import encoder_of
from grasp_jax.vectors.vector_writer import Table, centred, mean_of

REFRESH_FILE = 'refreshed.json'
_STAGES = ('prepare', 'describe', 'encode', 'retrieve')
_ROOM = 'make room or choose a --workdir on another disk'


@dataclasses.dataclass(frozen=True)
class PreviousStages:
    """What the folder of before holds.

    Attributes:
      folder: of its stages.
      marks: fingerprints of its stages.
    """

    folder: pathlib.Path
    marks: dict[str, str]

    @functools.cached_property
    def dataset(self) -> Dataset:
        """As prepared then; read when it is asked for, which a finished folder never does."""
        return dataset_files.load(self.folder / 'prepare')

    @functools.cached_property
    def texts(self) -> tuple[Sequence[str], Sequence[str]]:
        """Item texts and user texts."""
        return load_texts(self.folder / 'describe')

    def ids(self, name: str) -> Sequence[str]:
        """Of 'items' or 'users'."""
        return self.dataset.item_ids if name == 'items' else self.dataset.user_ids


def start(folder: pathlib.Path, previous: pathlib.Path, answers: pathlib.Path,
          config: ml_collections.ConfigDict) -> None:
    """Says of a new folder of stages that it follows another one.

    Args:
      folder: the new one.
      previous: the other one.
      answers: where the answers are that the other one was made with, so that the new one asks for none of them again.
      config: the full config.

    Raises:
      UserError: the other one is not complete or cannot be refreshed, or the new one holds something else.
    """
    marks = _marks(previous)
    what = {'previous': str(previous.absolute()), 'marks': marks}
    if (folder / REFRESH_FILE).exists():
        known = artefacts.read_json(folder / REFRESH_FILE)
        if {key: known.get(key) for key in what} != what:
            raise UserError(f'{folder}: follows another folder than {previous}, or {previous} has changed; name '
                            'another --workdir')
        return
    if folder.absolute() == previous.absolute() or any((folder / stage).exists() for stage in _STAGES[1:]):
        raise UserError(f'{folder}: holds stages already; name a new --workdir for the refreshed ones')
    _require_fit(previous, config)
    folder.mkdir(parents=True, exist_ok=True)
    artefacts.write_json(folder / REFRESH_FILE, {**what, 'answers': str(answers.absolute())})


def before(folder: pathlib.Path) -> PreviousStages | None:
    """What a folder of stages follows; None where it stands alone. A finished folder needs it no more."""
    if not (folder / REFRESH_FILE).exists():
        return None
    what = artefacts.read_json(folder / REFRESH_FILE)
    return PreviousStages(pathlib.Path(what['previous']), what['marks'])


def answers_of(folder: pathlib.Path) -> pathlib.Path | None:
    """Where the answers of a refreshed folder are; None where it stands alone."""
    path = artefacts.read_json(folder / REFRESH_FILE).get('answers') if (folder / REFRESH_FILE).exists() else None
    return pathlib.Path(path) if path else None


def _marks(previous: pathlib.Path) -> dict[str, str]:
    """The fingerprints of stages that are found complete and whole."""
    for stage in _STAGES:
        artefacts.require_intact(_manifest(previous, stage).parent, f'--previous={previous} needs it: copy it again')
    return {stage: artefacts.read_json(_manifest(previous, stage))['fingerprint'] for stage in _STAGES}


def _manifest(previous: pathlib.Path, stage: str) -> pathlib.Path:
    path = previous / stage / artefacts.MANIFEST
    if not path.exists():
        raise UserError(f'--previous={previous}: has no finished stage {stage}; name the folder of a run with texts')
    return path


def check(known: PreviousStages, config: ml_collections.ConfigDict) -> None:
    """Refuses what cannot be refreshed, before anybody is asked.

    Raises:
      UserError: the folder of before is gone or has changed, the encoder is another one than there, or it makes no
        vectors of texts.
    """
    if not known.folder.is_dir():
        raise UserError(f'{known.folder}: is gone, and a refresh began from it; bring it back or name another '
                        '--workdir')
    if _marks(known.folder) != known.marks:
        raise UserError(f'{known.folder}: has changed since a refresh from it began; name another --workdir')
    _require_fit(known.folder, config)


def _require_fit(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """The part of `check` about the encoder."""
    encoder = encoder_of(config)
    earlier = artefacts.read_json(folder / 'encode' / artefacts.MANIFEST)
    if earlier['config'] != artefacts.as_json(encoder.fingerprint()):
        raise UserError(f'{folder}: its vectors were made with another section encode; refresh with the same one, or '
                        'start afresh')
    encoder.require_same(earlier['facts'], folder / 'encode')
    if not encoder.reads_texts or config.encode.corrupt.share:
        raise UserError('--mode=refresh: needs an encoder that makes vectors of texts, and none of them made wrong; '
                        'start afresh with precomputed vectors')


def encode(known: PreviousStages, dataset: Dataset, texts: tuple[Sequence[str], Sequence[str]],
           config: ml_collections.ConfigDict, folder: pathlib.Path, answers: pathlib.Path) -> dict[str, Any]:
    """Writes the tables as `vectors.encode.encode` does; rows of texts that stayed are those of before.

    Args:
      known: what was before, which `check` found to fit.
      dataset: as prepared now.
      texts: item and user texts of now.
      config: the full config.
      folder: where the files go.
      answers: folder of what models answered.

    Raises:
      UserError: the encoder finds something wrong.
    """
    settings, encoder = config.encode, encoder_of(config, answers)
    places = [_places(known.ids(name), ids, old, new) for name, ids, old, new in zip(
        ('items', 'users'), (dataset.item_ids, dataset.user_ids), known.texts, texts, strict=True)]
    fresh = [[text for text, place in zip(some, at, strict=True) if place < 0]
             for some, at in zip(texts, places, strict=True)]
    vectors = encoder.encode_more(known.folder / 'encode', *fresh)
    if vectors.save is not None:
        vectors.save(folder)
    earlier = np.load(known.folder / 'encode' / 'items.npy', mmap_mode='r', allow_pickle=False)
    disk.require(folder, sum(map(len, texts)) * earlier.shape[1] * earlier.itemsize, 'encode', _ROOM)
    counts = {}
    for name, at, source, rows, offset in (('items', places[0], vectors.items, vectors.item_rows, 1),
                                           ('users', places[1], vectors.users, vectors.user_rows, 0)):
        _write(known.folder / 'encode' / f'{name}.npy', folder / f'{name}.npy', at, source, rows, offset)
        counts[f'{name}_encoded'] = int((at < 0).sum())
    width = int(np.load(folder / 'items.npy', mmap_mode='r', allow_pickle=False).shape[1])
    return {'kind': settings.kind, 'origin': encoder.origin(), 'width': width,
            'centred': settings.center, 'dtype': settings.dtype,
            'template_version': domains.load(config.text.domain).version, **vectors.facts, **counts}


def churn(known: PreviousStages, dataset: Dataset, texts: tuple[Sequence[str], Sequence[str]],
          stages: dict[str, dict[str, Any]]) -> list[tuple[str, int | float]]:
    """What a refresh changed: sentences and numbers.

    Args:
      known, dataset, texts: as in `encode`.
      stages: facts of the stages of now.
    """
    found: list[tuple[str, int | float]] = []
    for name, ids, old, new in zip(('items', 'users'), (dataset.item_ids, dataset.user_ids), known.texts, texts,
                                   strict=True):
        neighbours = stages['retrieve'][name]
        stayed = int((_earlier(known.ids(name), ids) >= 0).sum())
        same = int((_places(known.ids(name), ids, old, new) >= 0).sum())
        found += [(f'{name} in all', len(ids)), (f'{name} that are new', len(ids) - stayed),
                  (f'{name} that are gone', len(known.ids(name)) - stayed),
                  (f'{name} with another text', stayed - same),
                  (f'{name} encoded', stages['encode'][f'{name}_encoded']),
                  (f'{name} whose neighbours were searched for', neighbours['searched']),
                  (f'{name} whose neighbours are others, also by what is new', neighbours['moved'])]
    spent = (stages['describe'].get('usd_of_this_run') or 0.0) + (stages['encode'].get('usd') or 0.0)
    return [*found, ('prompts sent', stages['describe'].get('sent', 0)),
            ('dollars spent, as far as prices are known', round(spent, 4))]


def _earlier(old_ids: Sequence[str], ids: Sequence[str]) -> np.ndarray:
    """int64 [len(ids)]: the row of before of each entity, -1 for new ones."""
    rows = {identity: row for row, identity in enumerate(old_ids)}
    return np.array([rows.get(identity, -1) for identity in ids], np.int64)


def _places(old_ids: Sequence[str], ids: Sequence[str], old_texts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
    """int64 [len(ids)]: the row of before of each entity whose text stayed, -1 for the others."""
    rows = _earlier(old_ids, ids)
    same = [row >= 0 and old_texts[row] == text for row, text in zip(rows, texts, strict=True)]
    return np.where(same, rows, -1)


def _write(old: pathlib.Path, new: pathlib.Path, places: np.ndarray,
           source: Table, rows: np.ndarray, offset: int) -> None:
    """A table of the rows of before, and of new vectors where `places` is -1."""
    earlier = np.load(old, mmap_mode='r', allow_pickle=False)
    if len(rows) and source.shape[1] != earlier.shape[1]:
        raise UserError(f'{old}: its vectors are {earlier.shape[1]} wide, new ones {source.shape[1]}; start afresh')
    table = np.lib.format.open_memmap(new, mode='w+', dtype=earlier.dtype,
                                      shape=(offset + len(places), earlier.shape[1]))
    table[:offset] = 0
    for block in vector_files.blocks(len(places), earlier.shape[1]):
        table[offset + block.start:offset + block.stop] = earlier[np.maximum(places[block], 0) + offset]
    mean = np.load(mean_of(old), allow_pickle=False) if mean_of(old).exists() else None
    if mean is not None:
        np.save(mean_of(new), mean, allow_pickle=False)
    if len(rows):  # else the encoder may not have said how wide its vectors are
        made = np.asarray(source[rows], np.float32)
        table[offset + np.flatnonzero(places < 0)] = made if mean is None else centred(made, mean)
    table.flush()


def retrieve(known: PreviousStages, dataset: Dataset, encode_folder: pathlib.Path, config: ml_collections.ConfigDict,
             folder: pathlib.Path) -> dict[str, Any]:
    """Writes the neighbours as `neighbours.retrieve` does; only what can have moved is searched for, exactly.

    Args:
      known: what was before.
      dataset: as prepared now.
      encode_folder: of the tables of now.
      config: the full config; reads `retrieve`.
      folder: where the files go.
    """
    settings = config.retrieve
    earlier = artefacts.read_json(_manifest(known.folder, 'retrieve'))['config']
    found, facts = {}, {}
    items, users = vector_files.load_vectors(encode_folder, dataset.interactions.num_users,
                                             dataset.interactions.num_items)
    disk.require(folder, room_of_tables(items, users, settings.smoothing), 'retrieve', _ROOM)
    items, texts = items_to_search(dataset, items, settings.smoothing, folder)
    before = {'items': vector_files.searched_items(known.folder), 'users': known.folder / 'encode' / vector_files.USERS}
    for name, vectors, ids, attributes, old_attributes, lists, offset in (
            ('items', items[1:], dataset.item_ids, dataset.item_attributes, known.dataset.item_attributes,
             ITEM_NEIGHBOURS, 1),
            ('users', users, dataset.user_ids, dataset.user_attributes, known.dataset.user_attributes,
             USER_NEIGHBOURS, 0)):
        group = settings[f'{name[:-1]}_group']
        old = np.load(before[name], mmap_mode='r', allow_pickle=False)[offset:]
        old_lists = np.load(known.folder / 'retrieve' / lists, allow_pickle=False) - offset
        place = _earlier(known.ids(name), ids)
        changed = _changed(vectors, old, place)
        if group:
            changed |= np.array([row < 0 or attributes[number].get(group) != old_attributes[row].get(group)
                                 for number, row in enumerate(place)], bool)
        groups = groups_of(attributes, group, f'{name[:-1]}_group')
        if old_lists.shape[1] != settings.k or earlier.get(f'{name[:-1]}_group', '') != group:
            changed[:] = True
        done = update.update(vectors, _renumbered(old_lists, place, settings.k), changed, settings.k, groups)
        found[name] = done.found
        facts[name] = {'method': 'updated', 'rows': len(vectors), 'changed': int(changed.sum()),
                       'searched': done.searched, 'moved': done.moved,
                       'rows_without_neighbours': int((done.found == exact.NONE).all(axis=1).sum()),
                       'recall': None, 'recall_rows': 0}
    write_neighbours(folder, items, users, found['items'], found['users'])
    return {'k': settings.k, **texts, **facts}


def _changed(vectors: np.ndarray, old: np.ndarray, place: np.ndarray) -> np.ndarray:
    """bool [r]: rows that are new or whose vector is another one."""
    changed = place < 0
    for block in vector_files.blocks(len(vectors), vectors.shape[1]):
        changed[block] |= (vectors[block] != old[np.maximum(place[block], 0)]).any(axis=1)
    return changed


def _renumbered(lists: np.ndarray, place: np.ndarray, k: int) -> np.ndarray:
    """Lists of before [rows before, k] as `update.update` takes them: rows and numbers of now."""
    number = np.full(len(lists) + 1, update.GONE, np.int64)
    number[-1] = exact.NONE
    number[place[place >= 0]] = np.flatnonzero(place >= 0)
    if lists.shape[1] != k:
        return np.full((len(place), k), exact.NONE)
    found = number[lists[np.maximum(place, 0)]]
    return np.where(place[:, None] < 0, exact.NONE, found)

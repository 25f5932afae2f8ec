"""The stage `encode`: texts to the frozen tables of vectors, by one of several encoders."""

import collections.abc
import dataclasses
import logging
import pathlib
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import artefacts, disk
from grasp_jax.common.errors import UserError
from grasp_jax.data.dataset import Dataset
from grasp_jax.texts import domains
from grasp_jax.vectors import hashed, lsa, precomputed, sentence_encoder, vector_store
from grasp_jax.vectors.openai_encoder import OpenAIEncoder, extra_of
from grasp_jax.vectors.origin import origin
from grasp_jax.vectors.vector_writer import Written, centred, mean_of, write_table

LOG = logging.getLogger(__name__)
Table = np.ndarray | hashed.HashedVectors | precomputed.UserMeans  # the latter two make rows when they are asked for
_DTYPES = ('float32', 'float16')
_ALIKE = {'items': 0.05, 'users': 1 / 3}  # share of rows with the vector of another one, from which on it is said
__all__ = ['ENCODERS', 'Vectors', 'centred', 'check', 'encode', 'encode_texts', 'mean_of', 'require', 'require_same',
           'stage_settings', 'vector_checksums']


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What an encoder returns, E wide; the vector of entity r is row `rows[r]` of its table.

    Attributes:
      items: [rows, E], possibly memory-mapped or made row by row.
      item_rows: int [m].
      users: [rows, E].
      user_rows: int [n].
      facts: what the encoder says about itself.
      save: keeps in a folder what new texts need to be encoded alike; None where they need nothing.
    """

    items: Table
    item_rows: np.ndarray
    users: Table
    user_rows: np.ndarray
    facts: dict[str, Any]
    save: collections.abc.Callable[[pathlib.Path], None] | None = None


Texts = collections.abc.Sequence[str]
Encoder = collections.abc.Callable[[Dataset, Texts, Texts, ml_collections.ConfigDict, pathlib.Path], Vectors]
VECTORS = 'vectors'  # below the folder of answers


def encode(dataset: Dataset, item_texts: Texts, user_texts: Texts, config: ml_collections.ConfigDict,
           folder: pathlib.Path, answers: pathlib.Path | None = None, users_read: bool = True) -> dict[str, Any]:
    """Writes `items.npy` [m + 1, E] (row 0 zero) and `users.npy` [n, E].

    Args:
      dataset: the prepared data set.
      item_texts: m texts.
      user_texts: n texts.
      config: the full config; reads `encode` (and `data` where precomputed vectors lie in the data folder).
      folder: where the files go.
      answers: folder of what models answered; models' vectors are kept there too. Default: beside `folder`.
      users_read: whether the model reads vectors of users; those of items it reads always.

    Returns:
      Facts: encoder, width, dtype, rows without any known word.

    Raises:
      UserError: a setting, a text or a file of vectors is wrong.
    """
    settings = config.encode
    check(settings)
    for name, texts, ids in (('item', item_texts, dataset.item_ids), ('user', user_texts, dataset.user_ids)):
        if len(texts) != len(ids):
            raise UserError(f'{len(texts)} {name} texts for {len(ids)} {name}s; delete the folder describe, run again')
    LOG.info('vectors: %s', origin(config))
    vectors = encode_texts(settings.kind, dataset, item_texts, user_texts, config,
                           answers or folder.absolute().parent / 'llm')
    size = sum(map(len, (vectors.item_rows, vectors.user_rows))) * vectors.items.shape[1]
    disk.require(folder, size * np.dtype(settings.dtype).itemsize, 'encode',
                 'make room, choose a --workdir on another disk, or use --config.encode.dtype=float16')
    if vectors.save is not None:
        vectors.save(folder)
    items = write_table(folder, 'items', vectors.items, vectors.item_rows, settings)
    users = write_table(folder, 'users', vectors.users, vectors.user_rows, settings)
    _look_at(items, 'items', config, needed=True)
    _look_at(users, 'users', config, needed=users_read)
    return {'kind': settings.kind, 'origin': origin(config), 'width': int(vectors.items.shape[1]),
            'centred': bool(settings.center), 'dtype': settings.dtype,
            'template_version': domains.load(config.text.domain).version, 'corrupted_share': settings.corrupt.share,
            'zero_items': items.zero, 'zero_users': users.zero, 'equal_items': items.equal,
            'equal_users': users.equal, **vectors.facts}


def _look_at(found: Written, name: str, config: ml_collections.ConfigDict, needed: bool) -> None:
    """Says which vectors, as they were written, tell nothing or not enough.

    Raises:
      UserError: all of them are zero or equal, and the model reads them.
    """
    rows, remedy = found.rows, _REMEDIES.get(config.encode.kind, 'look at the file that the vectors are from')
    everything = 'zero' if found.zero == rows else 'equal' if 1 < rows == found.largest else ''
    if rows and everything and needed:
        raise UserError(f'{config.data.name}: the vectors of all {name} are {everything} ({rows:,}, as they were '
                        f'written), so they say nothing; {remedy}, or use --config.model.method=none')
    if found.zero:
        LOG.warning('%s of %s %s have a vector of zeros (%.0f%%), which says nothing of them; look at their texts, or '
                    'at the file that the vectors are from', found.zero, rows, name, 100 * found.zero / rows)
    if found.equal >= _ALIKE[name] * rows and found.equal:
        LOG.warning('%s of %s %s have the vector of another one as well (%.0f%%; %s have one and the same), so that it '
                    'tells them apart no more; %s', found.equal, rows, name, 100 * found.equal / rows, found.largest,
                    remedy)


_REMEDIES = {
    'lsa': 'lsa forgets words that stand in one text alone: give texts that say more, or use '
           '--config.encode.kind=sentence_transformers',
    **dict.fromkeys(('sentence_transformers', 'openai', 'hashed'), 'look at their texts')}


def check(settings: ml_collections.ConfigDict) -> None:
    """Refuses an encoder that is not known, or that lacks a file's name.

    Args:
      settings: the section `encode`.

    Raises:
      UserError: names the setting and the remedy.
    """
    for key, choices in (('kind', sorted(ENCODERS)), ('dtype', _DTYPES)):
        if settings[key] not in choices:
            raise UserError(f'--config.encode.{key}={settings[key]!r} is not known; choose one of {", ".join(choices)}')
    if settings.kind == 'precomputed':
        precomputed.named(settings)


def require(settings: ml_collections.ConfigDict) -> None:
    """Refuses an encoder whose library is not installed; vectors that are there already need none.

    Args:
      settings: the section `encode`.

    Raises:
      UserError: says what to install.
    """
    if settings.kind == 'sentence_transformers':
        sentence_encoder.check(settings.model)


def require_same(settings: ml_collections.ConfigDict, facts: dict[str, Any], folder: pathlib.Path) -> None:
    """Refuses vectors of another model than lies under the same name now.

    Args:
      settings: the section `encode`.
      facts: of the stage that made the vectors.
      folder: of that stage.

    Raises:
      UserError: says what to do.
    """
    before = facts.get('model_files')  # of a model in a folder alone
    now = sentence_encoder.checksum(settings.model) if before else ''
    if now and before and now != before:
        raise UserError(f'{folder}: its vectors are of another model than --config.encode.model={settings.model} is '
                        'now; bring that one back, or start afresh in another --workdir')


def stage_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """All that the vectors depend on, the texts aside."""
    found: dict[str, Any] = config.encode.to_dict()
    dimensions = found.pop('dimensions')
    if found['kind'] == 'openai':
        extra = extra_of(config)
        found |= {'dimensions': dimensions, 'revision': config.llm.revision, **({'extra': extra} if extra else {})}
    return found


def encode_texts(kind: str, dataset: Dataset, item_texts: Texts, user_texts: Texts,
                 config: ml_collections.ConfigDict, answers: pathlib.Path) -> Vectors:
    """Runs one encoder.

    Args:
      kind: a key of `ENCODERS`.
      dataset: the prepared data set.
      item_texts: m texts.
      user_texts: n texts.
      config: the full config.
      answers: folder in which models' vectors are kept.

    Raises:
      UserError: the encoder is not known, or it finds something wrong.
    """
    return ENCODERS[kind](dataset, item_texts, user_texts, config, answers)


def vector_checksums(config: ml_collections.ConfigDict) -> list[str]:
    """Identifies the files that vectors come from: 'key name sha256' of each; none unless they are precomputed.

    Raises:
      UserError: a file is not named or not there.
    """
    if config.encode.kind != 'precomputed':
        return []
    return [f'{key} {path.name} {artefacts.file_checksum(path)}' for key, path in precomputed.files(config).items()]


def _lsa(dataset: Dataset, item_texts: Texts, user_texts: Texts, config: ml_collections.ConfigDict,
         answers: pathlib.Path) -> Vectors:
    items, users, model, facts = lsa.encode(item_texts, user_texts, config.encode.width, config.encode.seed)
    return Vectors(items, np.arange(len(items)), users, np.arange(len(users)), facts, model.save)


def _hashed(dataset: Dataset, item_texts: Texts, user_texts: Texts, config: ml_collections.ConfigDict,
            answers: pathlib.Path) -> Vectors:
    items, users = (hashed.HashedVectors(texts, config.encode.width, config.encode.seed)
                    for texts in (item_texts, user_texts))
    return Vectors(items, np.arange(len(items)), users, np.arange(len(users)), {})


def _sentence_transformers(dataset: Dataset, item_texts: Texts, user_texts: Texts,
                           config: ml_collections.ConfigDict, answers: pathlib.Path) -> Vectors:
    section = config.encode
    encoder = sentence_encoder.SentenceEncoder(section.model, section.batch_size)
    return _kept(item_texts, user_texts, answers, encoder.identity, sentence_encoder.BLOCK, encoder,
                 lambda: encoder.facts)


def _openai(dataset: Dataset, item_texts: Texts, user_texts: Texts, config: ml_collections.ConfigDict,
            answers: pathlib.Path) -> Vectors:
    encoder = OpenAIEncoder(config)
    return _kept(item_texts, user_texts, answers, encoder.identity(config), config.encode.batch_size, encoder,
                 lambda: {'model': config.encode.model, 'tokens': encoder.tokens, 'usd': encoder.price(),
                          'texts_cut': encoder.cut})


def _kept(item_texts: Texts, user_texts: Texts, answers: pathlib.Path, identity: dict[str, Any], size: int,
          embed: collections.abc.Callable[..., None], facts: collections.abc.Callable[[], dict[str, Any]]) -> Vectors:
    """Vectors of a model that sees one text at a time: whatever it embedded before is not embedded again."""
    with vector_store.VectorStore(answers / VECTORS, identity) as store:
        rows, made = vector_store.fill(store, [*item_texts, *user_texts], size,
                                       lambda blocks, count: embed(store, blocks, count))
        table = store.table()
    return Vectors(table, rows[:len(item_texts)], table, rows[len(item_texts):], {**facts(), 'embedded': made})


def _precomputed(dataset: Dataset, item_texts: Texts, user_texts: Texts, config: ml_collections.ConfigDict,
                 answers: pathlib.Path) -> Vectors:
    paths = precomputed.files(config)
    items, item_rows = precomputed.open_matched(paths['item_vectors'], paths['item_ids'], dataset.item_ids)
    facts = {'item_vectors': paths['item_vectors'].name}
    if 'user_vectors' not in paths:
        means = precomputed.UserMeans(dataset.interactions, items, item_rows)
        return Vectors(items, item_rows, means, np.arange(len(means)), {**facts, 'user_vectors': 'means of the items'})
    users, user_rows = precomputed.open_matched(
        paths['user_vectors'], paths['user_ids'], dataset.user_ids, items.shape[1])
    return Vectors(items, item_rows, users, user_rows, {**facts, 'user_vectors': paths['user_vectors'].name})


# A new encoder is one function and one line here.
ENCODERS: dict[str, Encoder] = {
    'lsa': _lsa, 'sentence_transformers': _sentence_transformers, 'openai': _openai, 'precomputed': _precomputed,
    'hashed': _hashed}

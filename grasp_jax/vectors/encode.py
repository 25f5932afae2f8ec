"""The stage `encode`: texts to the frozen tables of vectors, by one of several encoders."""

import logging
import pathlib
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import disk
from grasp_jax.common.errors import UserError
from grasp_jax.config.rules import UNKNOWN, among, require
from grasp_jax.data.dataset import Dataset
from grasp_jax.texts import domains
from grasp_jax.vectors.encoders import Encoder, Texts, encoder_of
from grasp_jax.vectors.vector_writer import Written, write_table

LOG = logging.getLogger(__name__)
DTYPE_RULE = among('encode.dtype', ('float32', 'float16'), UNKNOWN)
_ALIKE = {'items': 0.05, 'users': 1 / 3}  # share of rows with the vector of another one, from which on it is said


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
    require([DTYPE_RULE], config)
    settings = config.encode
    encoder = encoder_of(config, answers or folder.absolute().parent / 'llm')
    for name, texts, ids in (('item', item_texts, dataset.item_ids), ('user', user_texts, dataset.user_ids)):
        if len(texts) != len(ids):
            raise UserError(f'{len(texts)} {name} texts for {len(ids)} {name}s; delete the folder describe, run again')
    LOG.info('vectors: %s', encoder.origin())
    vectors = encoder.encode(item_texts, user_texts, dataset)
    size = sum(map(len, (vectors.item_rows, vectors.user_rows))) * vectors.items.shape[1]
    disk.require(folder, size * np.dtype(settings.dtype).itemsize, 'encode',
                 'make room, choose a --workdir on another disk, or use encode.dtype=float16')
    if vectors.save is not None:
        vectors.save(folder)
    items = write_table(folder, 'items', vectors.items, vectors.item_rows, settings)
    users = write_table(folder, 'users', vectors.users, vectors.user_rows, settings)
    _look_at(items, 'items', encoder, needed=True)
    _look_at(users, 'users', encoder, needed=users_read)
    return {'kind': settings.kind, 'origin': encoder.origin(), 'width': int(vectors.items.shape[1]),
            'centred': bool(settings.center), 'dtype': settings.dtype,
            'template_version': domains.load(config.text.domain).version, 'corrupted_share': settings.corrupt.share,
            'zero_items': items.zero, 'zero_users': users.zero, 'equal_items': items.equal,
            'equal_users': users.equal, **vectors.facts}


def _look_at(found: Written, name: str, encoder: Encoder, needed: bool) -> None:
    """Says which vectors, as they were written, tell nothing or not enough.

    Raises:
      UserError: all of them are zero or equal, and the model reads them.
    """
    rows, remedy = found.rows, encoder.remedy
    everything = 'zero' if found.zero == rows else 'equal' if 1 < rows == found.largest else ''
    if rows and everything and needed:
        raise UserError(f'{encoder.config.data.name}: the vectors of all {name} are {everything} ({rows:,}, as they '
                        f'were written), so they say nothing; {remedy}, or use model.method=none')
    if found.zero:
        LOG.warning('%s of %s %s have a vector of zeros (%.0f%%), which says nothing of them; look at their texts, or '
                    'at the file that the vectors are from', found.zero, rows, name, 100 * found.zero / rows)
    if found.equal >= _ALIKE[name] * rows and found.equal:
        LOG.warning('%s of %s %s have the vector of another one as well (%.0f%%; %s have one and the same), so that it '
                    'tells them apart no more; %s', found.equal, rows, name, 100 * found.equal / rows, found.largest,
                    remedy)


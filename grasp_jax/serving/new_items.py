"""Items without a purchase yet: from a row of attributes to the vectors that the model reads."""

import pathlib
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections
import numpy as np
import pandas as pd

from grasp_jax.common.errors import UserError
from grasp_jax.data import nothing, plain_text
from grasp_jax.retrieval.neighbours import groups_of
from grasp_jax.serving import names
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.extension import Extension, nearest_known
from grasp_jax.texts import domains
from grasp_jax.texts.prompts import clean, cut, item_text, less, listed
from grasp_jax.vectors.encoders import encoder_of
from grasp_jax.vectors.vector_writer import centred, mean_of

TEXT = 'text'
_LONGEST_ID = 1000
Record = tuple[str, dict[str, Any]]


def records(table: Any, config: ml_collections.ConfigDict) -> list[Record]:
    """Ids and attributes of new items, checked.

    Args:
      table: a DataFrame or a list of mappings.
      config: of the run; says what its item column is called.

    Raises:
      UserError: there is no id column, or an id is empty, repeated or no text of one line.
    """
    rows = table.to_dict('records') if isinstance(table, pd.DataFrame) else list(table)
    if not rows:
        raise UserError('new items: there are none; give at least one row')
    if not all(isinstance(row, Mapping) for row in rows):
        raise UserError('new items: give a DataFrame, or a list of mappings from column to value')
    columns = {str(name).strip().lower(): name for row in rows for name in row}
    wanted = (str(config.data.item_column).lower(), 'item_id', 'item', 'id')
    column = next((columns[name] for name in wanted if name in columns), None)
    if column is None:
        raise UserError(f'new items: have no column {config.data.item_column!r} (or item_id); they have '
                        f'{", ".join(columns)}')
    found: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        identity = clean(row.get(column)) and clean(names.text(row[column]))
        if not identity or len(identity) > _LONGEST_ID:
            raise UserError(f'new items, row {number}: the id is {"empty" if not identity else "too long"}; give one')
        if identity in found:
            raise UserError(f'new items, row {number}: id {identity!r} is there already; keep one row of each')
        found[identity] = _attributes({name: value for name, value in row.items() if name != column}, number)
    return list(plain_text.clean(found, pathlib.Path('new items')).items())  # as those of the catalogue


def _attributes(row: Mapping[Any, Any], number: int) -> dict[str, Any]:
    """The values that are not empty, by name in lower case."""
    found: dict[str, Any] = {}
    for column, given in row.items():
        name, value = str(column).strip().lower(), nothing.without_nothing(given)
        if not clean(value):
            continue
        if name in found and clean(found[name]) != clean(value):
            raise UserError(f'new items, row {number}: has two columns {name!r} (case does not count); keep one')
        found[name] = value
    return found


def extension(assets: Assets, rows: Sequence[Record], vectors: np.ndarray | None,
              strict: bool = True) -> Extension:
    """What a catalogue takes in.

    Args:
      assets: of the run.
      rows: as `records` gives them.
      vectors: [x, E] where the run's vectors were precomputed, as they came from the encoder.
      strict: whether a text that says nothing is refused; else its vector is zero.

    Raises:
      UserError: the method reads no texts, or the vectors or a text say nothing.
    """
    known, config = assets.vectors, assets.config
    if known is None:
        raise UserError(f'method {config.model.method} knows items by id alone, so a new one must be trained on first; '
                        'use a method that reads texts, as grasp')
    raw = _encode(assets, rows) if vectors is None else _given(vectors, len(rows), known.items.shape[1])
    path = mean_of(assets.stages / 'encode' / 'items.npy')
    own = centred(raw, np.load(path, allow_pickle=False)) if path.exists() else raw
    own = np.asarray(own, np.float32)
    empty = np.flatnonzero(~(np.linalg.norm(own, axis=1) > 0))
    if strict and len(empty):
        if vectors is not None:
            raise UserError(f'new item {rows[empty[0]][0]!r}: its vector is zero or the mean of all, and says nothing; '
                            'give it one of its own, or leave it out')
        raise UserError(f'new item {rows[empty[0]][0]!r}: its text says nothing to the encoder {config.encode.kind}; '
                        'give a title or a description with words that other items have')
    own = own.astype(known.items.dtype).astype(np.float32)  # as the others are kept
    groups = of_new = None
    if config.retrieve.item_group:
        attributes = [*assets.item_attributes, *(found for _, found in rows)]
        numbers = groups_of(attributes, config.retrieve.item_group, 'item_group')
        assert numbers is not None
        groups, of_new = numbers[:-len(rows)], numbers[-len(rows):]
    return nearest_known(known, own, config.retrieve.k, groups, of_new)


def texts_of(rows: Sequence[Record], config: ml_collections.ConfigDict) -> list[str]:
    """The text of each new item: its column `text`, else the filled template.

    Raises:
      UserError: a language model wrote the run's texts, and a row has none.
    """
    domain, found = domains.load(config.text.domain), []
    left_out = listed(config.text.get('leave_out', ''))
    for identity, attributes in rows:
        text = clean(attributes.get(TEXT))
        if not text and config.text.source == 'model':
            raise UserError(f'new item {identity!r}: a language model wrote the texts of this run; give its text in a '
                            'column `text`, or run --mode=refresh with the new catalogue')
        found.append(text or cut(item_text(less(attributes, left_out), domain), config.text.max_chars))
    return found


def _encode(assets: Assets, rows: Sequence[Record]) -> np.ndarray:
    with tempfile.TemporaryDirectory(prefix='grasp_jax_') as answers:
        encoder = encoder_of(assets.config, pathlib.Path(answers))
        made = encoder.encode_more(assets.stages / 'encode', texts_of(rows, assets.config), [])
        return np.asarray(made.items[made.item_rows], np.float32)


def _given(vectors: np.ndarray, rows: int, width: int) -> np.ndarray:
    try:
        found = np.asarray(vectors, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f'vectors of new items: are no numbers ({error})') from error
    if found.shape != (rows, width) or not np.isfinite(found).all():
        raise UserError(f'vectors of new items: are {list(found.shape)}; give {rows} rows of {width} finite numbers')
    return found

"""The first stage: a source becomes sequences, texts' attributes and stored candidates."""

import dataclasses
import json
import logging
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import artefacts, disk
from grasp_jax.common.errors import UserError
from grasp_jax.data import cold_start, dataset, facts, filters, source_reader, sources, tfds_builder, time_split
from grasp_jax.data.interactions import MIN_EVALUATED, Interactions, evenly_spread, negatives_in_blocks

LOG = logging.getLogger(__name__)
_LOOKED_AT = 500  # examples whose size tells that of all
_EXAMPLE = 180  # bytes of an example beside its texts and interactions

source_checksums = sources.source_checksums


def prepare(config: ml_collections.ConfigDict, folder: pathlib.Path) -> dict[str, Any]:
    """Fills a folder with the prepared data set: ArrayRecord files under `tfds`, and what `dataset.load` reads.

    Args:
      config: the full config; the sections `data` and `evaluate` (number and seed of the negatives) are read.
      folder: an empty folder.

    Returns:
      Facts for the report: counts, the mean length, and how much was dropped and why.

    Raises:
      UserError: the data is missing, something in it is wrong, or filtering leaves nothing to evaluate.
    """
    reader = source_reader.SourceReader(config)
    found = filters.sequences(reader.log, config.data, reader.unsold_items if config.data.keep_unsold else None)
    aside: dict[str, Any] = {}
    if found.by_time:
        time_split.require_targets(found.interactions, config.data)
        aside['split'] = time_split.facts(found.interactions, found.by_time)
    elif not len(found.interactions.evaluated_users()):
        looser = '' if config.data.filter == 'none' else ' or lower data.min_item'
        raise UserError(f'{config.data.name or "the data set"}: no user has {MIN_EVALUATED} interactions, so none can '
                        f'be validated and tested; give more data{looser}')
    if cold_start.asked_for(config.evaluate):
        found, cold = cold_start.set_aside(found, config.evaluate)
        aside |= cold_start.write(folder, cold, reader.item_attributes(list(cold.item_ids)))
    if config.data.keep_unsold:
        if found.by_time:
            aside['unsold'] = found.by_time.unsold
        else:
            found, aside['unsold'] = _with_unsold(found, reader)
        LOG.info('%s items that no user bought%s are in the catalogue', f'{aside["unsold"]:,}',
                 ' in training' if found.by_time else '')
    described = _write(reader, found, config, folder)
    prepared = dataset.load(folder)
    told = {**_facts(prepared), **described, 'dropped': found.dropped, **facts.count(found, prepared.negatives['test']),
            **aside}
    facts.warn(told, config)
    return told


def _with_unsold(found: filters.Sequences, reader: source_reader.SourceReader) -> tuple[filters.Sequences, int]:
    """The sequences with a catalogue that holds the described items of no row as well, behind the others in the order
    of their ids; and how many they are."""
    unsold = reader.unsold_items(reader.log.item_ids)
    catalogue = dataclasses.replace(found.interactions, num_items=found.interactions.num_items + len(unsold))
    return dataclasses.replace(found, interactions=catalogue, item_ids=[*found.item_ids, *unsold]), len(unsold)


def _write(reader: source_reader.SourceReader, found: filters.Sequences, config: ml_collections.ConfigDict,
           folder: pathlib.Path) -> dict[str, int]:
    """Writes the ArrayRecord files, and what later stages read; returns how many users and items have attributes."""
    sequences = found.interactions
    users = tfds_builder.Source(found.user_ids, reader.user_attributes(found.user_ids), sequences.indptr,
                                sequences.items, found.times)
    items = tfds_builder.Source(found.item_ids, reader.item_attributes(found.item_ids))
    disk.require(folder, _room(sequences, (users, items), config), 'prepare',
                 'make room or choose a --workdir on another disk')
    described = {}
    for kind, name, source in (('users', dataset.USERS, users), ('items', dataset.ITEMS, items)):
        tfds_builder.write(folder / artefacts.EXPORT, kind, source)
        described[f'{kind}_with_attributes'] = dataset.write_entities(
            folder / name, zip(source.ids, source.attributes, strict=True))
    # Two seeds from one: the same candidates in validation and test would let one be tuned on the other.
    seeds = np.random.SeedSequence(config.evaluate.seed).generate_state(len(dataset.NEGATIVES))
    negatives = {split: negatives_in_blocks(sequences, config.evaluate.negatives, int(seed), split)
                 for split, seed in zip(dataset.NEGATIVES, seeds, strict=True)}
    dataset.write_arrays(folder, config.data.name, sequences, negatives)
    return described


def _room(sequences: Interactions, sources: Sequence[tfds_builder.Source],
          config: ml_collections.ConfigDict) -> float:
    """Bytes that the stage will write, a little more than it does."""
    size = 13.0 * len(sequences.items)  # in the ArrayRecord files and as an array
    for source in sources:
        some = evenly_spread(len(source.ids), _LOOKED_AT)
        texts = [len(source.ids[row].encode()) + len(json.dumps(source.attributes[row])) for row in some]
        size += len(source.ids) * (_EXAMPLE + 2 * sum(texts) / max(len(texts), 1))
    return size + sum(4.0 * config.evaluate.negatives * len(sequences.evaluated_users(split))
                      for split in dataset.NEGATIVES)


def _facts(prepared: dataset.Dataset) -> dict[str, Any]:
    sequences = prepared.interactions
    users, items, count = sequences.num_users, sequences.num_items, len(sequences.items)
    return {
        'users': users, 'items': items, 'interactions': count,
        'mean_length': count / users, 'sparsity': 1 - count / (users * items),
        'evaluated_users': len(sequences.evaluated_users()),
    }

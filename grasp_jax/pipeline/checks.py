"""Settings that cannot work are refused before anything is read or made."""

import logging
import math
from collections.abc import Iterable, Sequence

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.data import time_split
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.llm import language_model, server
from grasp_jax.models.losses import SOFTMAX_DTYPES
from grasp_jax.models.spec import model_spec
from grasp_jax.retrieval import neighbours
from grasp_jax.texts import describe
from grasp_jax.training import sinks
from grasp_jax.training.deterministic import check_micro_batches
from grasp_jax.training.training_setup import TABLE_DTYPES, TABLES, check_recipe
from grasp_jax.vectors import corruption, encode
from grasp_jax.vectors.encoders import encoder_of

LOG = logging.getLogger(__name__)
# Numbers that must be above 0, at least 0, and from 0 to 1.
_POSITIVE = (('train', 'batch_size'), ('train', 'max_epochs'), ('train', 'patience'), ('train', 'steps_per_call'),
             ('train', 'chunk_mb'), ('train', 'learning_rate'), ('evaluate', 'negatives'),
             ('evaluate', 'users_per_batch'), ('retrieve', 'k'), ('retrieve', 'candidates'), ('retrieve', 'sample'),
             ('encode', 'width'), ('encode', 'batch_size'), ('text', 'max_chars'))
_NOT_NEGATIVE = (('train', 'weight_decay'), ('train', 'last_only'), ('train', 'epoch_steps'),
                 ('train', 'min_epoch_steps'), ('evaluate', 'seed'), ('evaluate', 'users'), ('evaluate', 'head_user'),
                 ('evaluate', 'head_item'), ('encode', 'seed'), ('encode', 'dimensions'), ('retrieve', 'reduce_to'))
_SHARES = (('train', 'calibration'), ('train', 'mask_prob'), ('train', 'mask_last_prob'), ('train', 'popularity'),
           ('evaluate', 'cold_items'), ('evaluate', 'cold_users'))
_SEEDS = 2 ** 32  # JAX takes seeds that are so far apart for the same


def check_config(config: ml_collections.ConfigDict) -> None:
    """Refuses settings that cannot work, before anything is read.

    Raises:
      UserError: names the setting and the remedy.
    """
    _check_finite(config, ('model', 'train'))
    time_split.check(config)
    spec = model_spec(config, num_items=1)
    check_recipe(config, spec)
    sinks.check(config.train.sinks)
    corruption.check(config.encode.corrupt)
    for names, fits, words in ((_POSITIVE, lambda value: value > 0, 'above 0'),
                               (_NOT_NEGATIVE, lambda value: value >= 0, '0 or more'),
                               (_SHARES, lambda value: 0 <= value <= 1, 'from 0 to 1')):
        for section, key in names:
            if not fits(config[section][key]):
                raise UserError(f'{section}.{key}={config[section][key]}: must be {words}')
    if not config.data.scale > 0 or (config.data.scale != 1 and config.data.kind != 'shop'):
        raise UserError(f'data.scale={config.data.scale}: must be above 0, and 1 but for the synthetic shop')
    for section, key, choices in (('evaluate', 'select_by', ('sampled', 'full')), ('train', 'tables', TABLES),
                                  ('train', 'table_dtype', TABLE_DTYPES), ('train', 'softmax_dtype', SOFTMAX_DTYPES)):
        if config[section][key] not in choices:
            known = ', '.join(filter(None, choices))
            raise UserError(f'{section}.{key}={config[section][key]!r}: choose one of {known}')
    mesh = tuple(config.train.mesh)
    if len(mesh) != 2 or not all(type(size) is int and (size == -1 or size > 0) for size in mesh):
        raise UserError(f'train.mesh={mesh}: give devices along data and along model, as (-1, 1)')
    _check_numbers('train.seeds', config.train.seeds, 0, '(42, 43, 44)')
    _check_numbers('evaluate.ks', config.evaluate.ks, 1, '(1, 5, 10)')
    if max(config.train.seeds) >= _SEEDS:
        raise UserError(f'train.seeds={tuple(config.train.seeds)}: must be below {_SEEDS}')
    if spec.uses_vectors:
        _check_texts(config)


def _check_finite(config: ml_collections.ConfigDict, sections: tuple[str, ...]) -> None:
    for section in sections:
        for key, value in config[section].to_dict().items():
            if isinstance(value, float) and not math.isfinite(value):
                raise UserError(f'{section}.{key}={value}: must be a finite number')


def _check_texts(config: ml_collections.ConfigDict) -> None:
    """Refuses what the stages of the texts would find out one after the other, the dear ones first."""
    describe.check(config)
    encode.check(config)
    encoder, written = encoder_of(config), config.text.writer == 'model'
    if written and not encoder.reads_texts:
        raise UserError('text.writer=model writes texts, but precomputed vectors were made from others; use '
                        'another encode.kind')
    if not encoder.reads_texts and (config.text.history != 'train' or config.text.held_out):
        raise UserError('text.history and text.held_out change texts, but precomputed vectors were made '
                        'from others; use encode.kind=lsa')
    neighbours.check(config.retrieve)
    if written:
        language_model.from_config(config)
    if encoder.needs_server:
        language_model.from_config(config, config.encode.model)
    if written or encoder.needs_server:
        _check_finite(config, ('llm',))
        server.limits_from(config)


def check_devices(config: ml_collections.ConfigDict) -> None:
    """Refuses what the devices of this run cannot do, before the stages take their time.

    What fits any devices is let through unseen: JAX takes most of a GPU's memory once it is asked for devices, and a
    text encoder may need it first.

    Raises:
      UserError: names the setting and the remedy.
    """
    shape = tuple(config.train.mesh)
    if shape != (-1, 1) or config.train.parts:
        check_micro_batches(config.train.parts, model_spec(config, num_items=1), make_mesh(shape))


def warn_of_cut_offs(ks: Sequence[int], items: int) -> None:
    """Says which cut-offs of a report lie beyond the catalogue.

    Args:
      ks: `evaluate.ks`.
      items: how many there are.
    """
    beyond = [k for k in ks if k >= items]
    if beyond:
        kept = tuple(k for k in ks if 2 * k <= items) or (1,)
        LOG.warning('evaluate.ks: the catalogue has %s items, so every target is a hit at %s and lists are no '
                    'longer than that; leave such numbers out, as evaluate.ks="%s"', f'{items:,}',
                    ', '.join(map(str, beyond)), str(kept).replace(' ', ''))


def _check_numbers(name: str, values: Iterable[object], lowest: int, example: str) -> None:
    """Refuses what is not a handful of different whole numbers from `lowest` on."""
    found = tuple(values)
    whole = [value for value in found if isinstance(value, int) and value >= lowest]
    if not found or len(whole) < len(found) or len(set(found)) < len(found):
        raise UserError(f'{name}={found}: give different whole numbers from {lowest} on, as {example}')

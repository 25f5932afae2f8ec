"""Every rule of a config that is known before anything is read, in the order in which they are asked.

A rule that also holds without a pipeline stands where it is asked then: those of the model in `models/spec.py`, of the
loss in `training/recipe.py`, of texts in `texts/describe.py`, of servers in `llm/server.py`. Rules of the devices are
in `checks.check_devices`.
"""

import math

from grasp_jax.config.rules import (
    UNKNOWN,
    Config,
    Rule,
    among,
    asked,
    finite,
    never,
    not_negative,
    number,
    positive,
    share,
    whole_numbers,
)
from grasp_jax.data import time_split
from grasp_jax.llm import language_model, server
from grasp_jax.models.losses import SOFTMAX_DTYPES
from grasp_jax.models.spec import MODEL_RULES
from grasp_jax.retrieval import neighbours
from grasp_jax.texts import describe
from grasp_jax.training import sinks
from grasp_jax.training.recipe import RECIPE_RULES
from grasp_jax.training.training_setup import TABLE_DTYPES, TABLES
from grasp_jax.vectors import corruption, encode
from grasp_jax.vectors.encoders import encoder_of

_SEEDS = 2 ** 32  # JAX takes seeds that are so far apart for the same


def _by_time(config: Config) -> bool:
    return time_split.asked_for(config.data)


def _no_cold_start(key: str) -> Rule:
    return never(lambda config: _by_time(config) and config.evaluate[key], lambda config:
                 f'evaluate.{key}={config.evaluate[key]}: needs data.split=leave_one_out alone; under a split by time '
                 'what is new after the first moment is cold by itself')


SPLIT_RULES: tuple[Rule, ...] = (
    among('data.split', time_split.SPLITS),
    among('evaluate.targets', time_split.TARGETS),
    never(lambda config: config.evaluate.targets == 'all' and not _by_time(config),
          'evaluate.targets=all: under data.split=leave_one_out a user has one target; use data.split=time, or '
          'evaluate.targets=next'),
    asked(lambda config: time_split.check_moments(config.data)),
    never(lambda config: _by_time(config) and config.data.kind == 'inter',
          "data.split=time: LLM-ESR's inter.txt has no times; use data.split=leave_one_out, or a table with a column "
          'of times'),
    never(lambda config: _by_time(config) and config.data.duplicates == 'last',
          'data.duplicates=last: under data.split=time a later row would take an earlier one out of training; use '
          'first, exact or keep'),
    _no_cold_start('cold_items'),
    _no_cold_start('cold_users'),
)

CORRUPTION_RULES: tuple[Rule, ...] = (
    among('encode.corrupt.kind', corruption.KINDS),
    among('encode.corrupt.target', corruption.TARGETS),
    share('encode.corrupt.share'),
    not_negative('encode.corrupt.seed'),
)

NUMBER_RULES: tuple[Rule, ...] = (
    *map(positive, (
        'train.batch_size', 'train.max_epochs', 'train.patience', 'train.scan_steps', 'train.chunk_mb',
        'train.learning_rate', 'evaluate.negatives', 'evaluate.users_per_batch', 'retrieve.k', 'retrieve.candidates',
        'retrieve.sample', 'encode.width', 'encode.batch_size', 'text.max_chars')),
    *map(not_negative, (
        'train.weight_decay', 'train.supervise_last', 'train.steps_per_epoch', 'train.min_steps_per_epoch',
        'evaluate.seed', 'evaluate.max_users', 'evaluate.head_user', 'evaluate.head_item', 'encode.seed',
        'encode.dimensions', 'retrieve.pca_dim')),
    number('retrieve.smoothing', math.isfinite, 'a number; below 0 it is what the method wants'),
    *map(share, (
        'train.gbce_t', 'train.mask_prob', 'train.mask_last_prob', 'train.negative_popularity', 'evaluate.cold_items',
        'evaluate.cold_users')),
    number('data.scale', lambda value: value > 0, 'above 0, and 1 but for the synthetic shop'),
    never(lambda config: config.data.scale != 1 and config.data.kind != 'shop', lambda config:
          f'data.scale={config.data.scale}: must be above 0, and 1 but for the synthetic shop'),
)


def _is_mesh(shape: tuple[object, ...]) -> bool:
    return len(shape) == 2 and all(type(size) is int and (size == -1 or size > 0) for size in shape)


TRAINING_RULES: tuple[Rule, ...] = (
    among('evaluate.selection_protocol', ('sampled', 'full')),
    among('train.vector_placement', TABLES),
    among('train.vector_dtype', TABLE_DTYPES),
    among('train.softmax_dtype', SOFTMAX_DTYPES),
    never(lambda config: not _is_mesh(tuple(config.train.mesh)), lambda config:
          f'train.mesh={tuple(config.train.mesh)}: give devices along data and along model, as (-1, 1)'),
    whole_numbers('train.seeds', 0, '(42, 43, 44)'),
    whole_numbers('evaluate.ks', 1, '(1, 5, 10)'),
    never(lambda config: max(config.train.seeds) >= _SEEDS, lambda config:
          f'train.seeds={tuple(config.train.seeds)}: must be below {_SEEDS}'),
)

RULES: tuple[Rule, ...] = (
    finite('model'),
    finite('train'),
    *SPLIT_RULES,
    *MODEL_RULES,
    *RECIPE_RULES,
    asked(lambda config: sinks.check(config.train.sinks)),
    *CORRUPTION_RULES,
    *NUMBER_RULES,
    *TRAINING_RULES,
)


def _written(config: Config) -> bool:
    return bool(config.text.source == 'model')


def _asks_server(config: Config) -> bool:
    return _written(config) or encoder_of(config).needs_server


def _of_server(rule: Rule) -> Rule:
    """A rule that is asked where a server is needed alone."""
    return lambda config: rule(config) if _asks_server(config) else ''


# Of methods that read vectors alone. What would be found out by one stage after the other, the dear ones first.
TEXT_RULES: tuple[Rule, ...] = (
    *describe.TEXT_RULES,
    asked(encoder_of),
    never(lambda config: _written(config) and not encoder_of(config).reads_texts,
          'text.source=model writes texts, but precomputed vectors were made from others; use another encode.kind'),
    never(lambda config: not encoder_of(config).reads_texts and (config.text.history != 'train'
                                                                 or config.text.held_out),
          'text.history and text.held_out change texts, but precomputed vectors were made from others; use '
          'encode.kind=lsa'),
    encode.DTYPE_RULE,
    asked(lambda config: encoder_of(config).check()),
    among('retrieve.method', neighbours.METHODS, UNKNOWN),
    never(lambda config: config.retrieve.pca_dim and config.retrieve.candidates < config.retrieve.k, lambda config:
          f'retrieve.candidates={config.retrieve.candidates}: must be at least k, {config.retrieve.k}'),
    asked(lambda config: _written(config) and language_model.from_config(config)),
    asked(lambda config: encoder_of(config).needs_server and language_model.from_config(config, config.encode.model)),
    *map(_of_server, (finite('llm'), *server.LIMIT_RULES)),
)

"""Settings that had another name once: a folder that was written under the old name keeps its owner.

Manifests, and the fingerprints by which folders are claimed, hold settings under their first names. A setting that gets
another name therefore makes no finished stage or run be made again.

Example:
    >>> first_named('train', {'ema_decay': 0.998, 'loss': 'softmax'})
    {'average': 0.998, 'loss': 'softmax'}
    >>> named_now('train', {'average': 0.998, 'loss': 'softmax'})
    {'ema_decay': 0.998, 'loss': 'softmax'}
"""

from collections.abc import Mapping
from typing import Any

# First name: name now.
RENAMED = {
    'encode.corrupt.who': 'encode.corrupt.target',
    'evaluate.select_by': 'evaluate.selection_protocol',
    'evaluate.users': 'evaluate.max_users',
    'llm.key_variable': 'llm.api_key_env',
    'llm.tries': 'llm.max_attempts',
    'model.auxiliary_temperature': 'model.aux_loss_temperature',
    'model.auxiliary_weight': 'model.aux_loss_weight',
    'model.id_start': 'model.id_init',
    'model.space': 'model.gate_space',
    'retrieve.reduce_to': 'retrieve.pca_dim',
    'text.writer': 'text.source',
    'train.average': 'train.ema_decay',
    'train.calibration': 'train.gbce_t',
    'train.epoch_steps': 'train.steps_per_epoch',
    'train.last_only': 'train.supervise_last',
    'train.min_epoch_steps': 'train.min_steps_per_epoch',
    'train.parts': 'train.micro_batches',
    'train.popularity': 'train.negative_popularity',
    'train.steps_per_call': 'train.scan_steps',
    'train.table_dtype': 'train.vector_dtype',
    'train.tables': 'train.vector_placement',
}
_FIRST = {now: first for first, now in RENAMED.items()}


def first_named(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings under the names that manifests have.

    Args:
      section: dotted name of the section that the settings are of; empty: of the whole config.
      values: plain values by key, sections as mappings.
    """
    return _renamed(section, values, _FIRST)


def named_now(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a manifest, or of a `config.json` of any age, under the names of now; arguments as `first_named`."""
    return _renamed(section, values, RENAMED)


def hint(name: str) -> str:
    """What a setting is called now, for an error about its old name as 'train.average'; empty where it had none."""
    return f'it is called {RENAMED[name]} now' if name in RENAMED else ''


def _renamed(section: str, values: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    found = {}
    for key, value in values.items():
        path = f'{section}.{key}' if section else key
        new = names.get(path, path).rpartition('.')[2]
        found[new] = _renamed(path, value, names) if isinstance(value, Mapping) else value
    return found

"""Whether anything is known about the items, which methods read texts about."""

import itertools

import ml_collections
import pyarrow

from grasp_jax.common.errors import UserError
from grasp_jax.data import source_reader, spellings
from grasp_jax.data.dataset import Dataset
from grasp_jax.texts import domains


def require_texts(dataset: Dataset, config: ml_collections.ConfigDict) -> None:
    """Refuses a method that reads texts where there is nothing to write about any item.

    Raises:
      UserError: names the remedy.
    """
    name, method = config.data.name or 'the data set', config.model.method
    spec = domains.load(config.text.domain)
    read = {column for _, column in spec.fields + spec.sentences}
    if any(attributes and (spec.extra or read & set(attributes)) for attributes in dataset.item_attributes):
        return
    columns = sorted(set().union(*itertools.islice(filter(None, dataset.item_attributes), 1000)))
    if columns:
        raise UserError(f'{name}: its items have {", ".join(columns)}, and texts of the domain {config.text.domain} '
                        f'are made of {", ".join(sorted(read))}; use text.domain=shop, which reads all '
                        'columns, or model.method=none')
    raise UserError(f'{name}: nothing is known about any of its {len(dataset.item_ids):,} items, and method {method} '
                    f'reads texts about them; {_remedy(dataset, config)}, or train on the interactions alone with '
                    'model.method=none')


def _remedy(dataset: Dataset, config: ml_collections.ConfigDict) -> str:
    """What to do about the table of items, by what it holds."""
    described = source_reader.described_items(config)
    if described is None:
        return 'name a table of items with data.items_file=FILE'
    path, known = described
    asked, others = (pyarrow.array(list(ids), pyarrow.large_string()) for ids in (dataset.item_ids, known))
    if set(known) & set(dataset.item_ids):
        return f'{path} has their ids and no value beside them: fill its other columns'
    met = spellings.between(asked, others)
    if met:
        return (f'{path} describes none of them: the interactions have {met.one!r} and it has {met.other!r} (ids that '
                f'differ only in {spellings.WAYS}: {met.number}): write ids alike')
    return (f'{path} describes none of them: the interactions have {dataset.item_ids[0]!r} and it has '
            f'{known[0] if known else "no ids"!r}: give the table of these items (data.items_file) or write ids alike')

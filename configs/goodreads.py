"""Goodreads histories with descriptions that gpt-3.5-turbo wrote from titles alone (Liu et al., ONCE, WSDM 2024).

    python -m grasp_jax.main --config=configs/goodreads.py --recipe=strong         titles and descriptions
    python -m grasp_jax.main --config=configs/goodreads.py:title --recipe=strong   titles alone

A folder with interactions.csv.gz (user, item, time) and items.jsonl.gz (item, title, description), made of the public
files of Jyonn/ONCE, is looked for in --config.data.source, then in $GRASP_JAX_DATA/goodreads_gpt. Goodreads data are
for academic use and not for redistribution. Times are places in a history of at most nine books, so that only the
order within a user is real.
"""

import ml_collections

from grasp_jax.config import of_variant


def get_config(variant: str = 'both') -> ml_collections.ConfigDict:
    """The config of a variant: both or title, and after a comma the recipe, paper or strong; or say
    --recipe=strong."""
    variant, config = of_variant(variant, ('both', 'title'))
    config.data.update({'name': 'goodreads_gpt', 'kind': 'table', 'interactions_file': 'interactions.csv.gz',
                        'items_file': 'items.jsonl.gz', 'filter': 'k_core', 'min_user': 5, 'min_item': 5})
    config.text.domain = 'shop'
    if variant == 'title':
        config.text.leave_out = 'description'
    return config

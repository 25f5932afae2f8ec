"""Amazon Office Products 2014, the 5-core cut with texts by sellers (4,905 users, 2,420 items, 53,258 interactions).

    python -m grasp_jax.main --config=configs/office.py --recipe=strong         titles, descriptions and brands
    python -m grasp_jax.main --config=configs/office.py:title --recipe=strong   titles alone

A folder with interactions.csv.gz (user, item, time) and items.jsonl.gz (item, title, description, brand), made of the
public files of jackfrost168/UniTok, is looked for in --config.data.source, then in $GRASP_JAX_DATA/amazon_office_5core.
Times are places in a history, so that only the order within a user is real.
"""

import ml_collections

from grasp_jax.config import of_variant


def get_config(variant: str = 'both') -> ml_collections.ConfigDict:
    """The config of a variant: both or title, and after a comma the recipe, paper or strong; or say
    --recipe=strong."""
    variant, config = of_variant(variant, ('both', 'title'))
    config.data.update({'name': 'amazon_office_5core', 'kind': 'table', 'interactions_file': 'interactions.csv.gz',
                        'items_file': 'items.jsonl.gz', 'filter': 'k_core', 'min_user': 5, 'min_item': 5})
    config.text.domain = 'shop'
    if variant == 'title':
        config.text.leave_out = 'description,brand'
    return config

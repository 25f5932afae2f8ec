"""MovieLens, the small set of 671 users, with summaries that ChatGPT wrote for a third of the films.

    python -m grasp_jax.main --config=configs/movielens.py --recipe=strong         titles, genres and summaries
    python -m grasp_jax.main --config=configs/movielens.py:title --recipe=strong   titles and genres

A folder with interactions.csv.gz (user, item, time, rating) and items.jsonl.gz (item, title, genres, summary) is
looked for in --config.data.source, then in $GRASP_JAX_DATA/movielens_small. The ratings are those of GroupLens, as
lenskit/lkpy carries them; the summaries are those of LehengTHU/Agent4Rec. They are for research and not for
redistribution.
"""

import ml_collections

from grasp_jax.config import of_variant


def get_config(variant: str = 'both') -> ml_collections.ConfigDict:
    """The config of a variant: both or title, and after a comma the recipe, paper or strong; or say
    --recipe=strong."""
    variant, config = of_variant(variant, ('both', 'title'))
    config.data.update({'name': 'movielens_small', 'kind': 'table', 'interactions_file': 'interactions.csv.gz',
                        'items_file': 'items.jsonl.gz', 'filter': 'k_core', 'min_user': 5, 'min_item': 5})
    config.text.domain = 'shop'
    config.train.min_steps_per_epoch = 100  # so that few users get as many steps as many
    if variant == 'title':
        config.text.leave_out = 'summary'
    return config

"""Amazon Fashion 2018 as LLM-ESR prepared it (9,094 users, 4,722 items, 34,759 interactions), and from the raw dump.

    python -m grasp_jax.main --config=configs/fashion.py         LLM-ESR's inter.txt: ids without texts, method none
    python -m grasp_jax.main --config=configs/fashion.py:raw     the 2018 review and metadata files, method grasp

The data is looked for in --config.data.source, then $GRASP_JAX_DATA/amazon_fashion; raw: amazon_fashion_raw, then
downloaded.
"""

import ml_collections

from grasp_jax.config import of_variant


def get_config(variant: str = 'inter') -> ml_collections.ConfigDict:
    """The config of a variant: inter or raw, and after a comma the recipe, paper or strong; or say
    --recipe=strong."""
    variant, config = of_variant(variant, ('inter', 'raw'))
    config.data.name = 'amazon_fashion'
    config.text.domain = 'fashion'
    # The paper's borders between head and tail.
    config.evaluate.update({'head_user': 3, 'head_item': 4})
    if variant == 'inter':
        config.data.update({'kind': 'inter', 'filter': 'none'})
        config.model.method = 'none'
    else:
        config.data.update({'name': 'amazon_fashion_raw', 'layout': '2018', 'category': 'AMAZON_FASHION',
                            'filter': 'one_pass', 'min_user': 3, 'min_item': 2})
    return config

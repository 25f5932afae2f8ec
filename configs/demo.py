"""A synthetic shop through the whole pipeline: no data, no network, about two minutes on 2 cores.

    python -m grasp_jax.main --config=configs/demo.py

It shows that everything works. Claims about quality are made on real data only.
"""

import ml_collections

from grasp_jax.config import default


def get_config(recipe: str = '') -> ml_collections.ConfigDict:
    """The demo, under a recipe (paper or strong)."""
    config = default(recipe)
    config.data.update({'name': 'demo_shop', 'kind': 'shop', 'filter': 'none'})
    config.text.domain = 'shop'
    config.encode.width = 64
    config.train.update({'max_epochs': 60, 'patience': 8})
    return config

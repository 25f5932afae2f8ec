"""The size of the paper's third data set: 99,711 users, 1,205,282 items, sequences of 20.8, vectors of width 4,096.

    python -m grasp_jax.main --config=configs/industry_100k.py --workdir=runs/industry
    python -m grasp_jax.main --config=configs/industry_100k.py --config.data.scale=0.01 --workdir=runs/industry_small

A synthetic shop with profiles of its users and categories of its items, and vectors without a language model: it shows
that the size works, and how fast. It needs about 25 GB of disk. Texts and vectors are streamed to it; 16 GB of memory
are enough. One "epoch" is 200 steps, and 1,000 users are ranked.
"""

import ml_collections

from grasp_jax.config import default


def get_config(recipe: str = '') -> ml_collections.ConfigDict:
    """The config, under a recipe (paper or strong)."""
    config = default(recipe)
    config.data.update({'name': 'industry_100k', 'kind': 'shop', 'filter': 'none'})
    config.data.shop.update({'customers': 99_711, 'products': 1_205_282, 'mean_length': 20.9, 'popularity': 0.3})
    config.text.domain = 'industry'
    config.encode.update({'kind': 'hashed', 'width': 4096, 'dtype': 'float16'})
    # Neighbours of the same category, looked for in few directions first.
    config.retrieve.update({'item_group': 'categories', 'pca_dim': 128, 'sample': 10_000, 'smoothing': 0.0})
    config.train.update({'vector_placement': 'host', 'steps_per_epoch': 200, 'max_epochs': 1})
    if config.train.loss == 'softmax':
        config.train.loss = 'sampled_softmax'  # of that many items
    config.evaluate.update({'max_users': 1000, 'selection_protocol': 'sampled'})
    return config

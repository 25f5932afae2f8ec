"""Your own data: interactions (user, item, time) and, where you have them, tables of items and users.

    python -m grasp_jax.main --config=configs/own_data.py

Copy this file, point `source` at your folder and name your columns; as it stands it reads the small example in
configs/own_data/. CSV, Parquet and JSONL work alike. The columns title, brand, price, categories, features and
description of an item table have their usual meaning, all other columns go into the texts as they are.
"""

import pathlib

import ml_collections

from grasp_jax.config import default


def get_config(recipe: str = '') -> ml_collections.ConfigDict:
    """The config, under a recipe: strong, which is for good lists, unless paper is asked for."""
    config = default(recipe, usual='strong')
    config.data.update({
        'name': 'own_data', 'kind': 'table', 'source': str(pathlib.Path(__file__).parent / 'own_data'),
        'interactions_file': 'interactions.csv', 'items_file': 'items.csv', 'users_file': 'users.csv',
        'user_column': 'customer', 'item_column': 'product', 'time_column': 'when',
        # Users and items with fewer interactions leave, until nothing changes.
        'filter': 'k_core', 'min_user': 3, 'min_item': 1})
    config.train.min_steps_per_epoch = 100  # so that small data get as many steps as big ones
    config.text.domain = 'shop'  # wording of the texts: beauty, fashion, shop, industry, or a .toml file of yours
    return config

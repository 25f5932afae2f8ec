"""Your own data: interactions (user, item, time) and, where you have them, tables of items and users.

    python -m grasp_jax.main --config=configs/own_data.py

This worked example reads configs/own_data/*.csv. Copy this file, point `source` at your folder and name your columns;
CSV, Parquet and JSONL work alike. The columns title, brand, price, categories, features and description of an item
table have their usual meaning, all other columns go into the texts as they are.
"""

import pathlib

import ml_collections

from grasp_jax.config import default


def get_config(recipe: str = 'paper') -> ml_collections.ConfigDict:
    """The example's config, under a recipe (paper or strong)."""
    config = default(recipe)
    config.data.update({
        'name': 'own_data', 'kind': 'table', 'source': str(pathlib.Path(__file__).parent / 'own_data'),
        'interactions_file': 'interactions.csv', 'items_file': 'items.csv', 'users_file': 'users.csv',
        'user_column': 'customer', 'item_column': 'product', 'time_column': 'when',
        'filter': 'k_core', 'min_user': 3, 'min_item': 1})
    config.text.domain = 'shop'
    # A small example: narrow vectors, short training.
    config.encode.width = 32
    config.evaluate.ks = (1, 3, 5, 10)  # without 20, which is half of these 40 items
    config.model.max_length = 50
    config.train.update({'max_epochs': 30, 'patience': 5})
    return config

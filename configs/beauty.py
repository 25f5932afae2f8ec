"""Amazon Beauty 2014: the 5-core cut (22,363 users, 12,101 items, 198,502 interactions).

    python -m grasp_jax.main --config=configs/beauty.py            texts encoded by LSA on this machine
    python -m grasp_jax.main --config=configs/beauty.py:minilm     MiniLM vectors that lie with the data
    python -m grasp_jax.main --config=configs/beauty.py:paper      the paper's larger cut, from the full review file
    python -m grasp_jax.main --config=configs/beauty.py:minilm --recipe=strong     another recipe of training

The data is looked for in --config.data.source, then $GRASP_JAX_DATA/amazon_beauty_5core (paper: amazon_beauty), then
downloaded.
"""

import ml_collections

from grasp_jax.config import of_variant


def get_config(variant: str = 'lsa') -> ml_collections.ConfigDict:
    """The config of a variant: lsa, minilm or paper, and after a comma the recipe, paper or strong; or say
    --recipe=strong."""
    variant, config = of_variant(variant, ('lsa', 'minilm', 'paper'))
    config.data.update({'name': 'amazon_beauty_5core', 'category': 'Beauty', 'filter': 'k_core'})
    config.text.domain = 'beauty'
    # The paper's borders between head and tail.
    config.evaluate.update({'head_user': 9, 'head_item': 4})
    if variant == 'minilm':
        config.encode.update({
            'kind': 'precomputed',
            'item_vectors': 'item_embeddings_minilm.npy', 'item_ids': 'item_ids.txt',
            'user_vectors': 'user_embeddings_minilm.npy', 'user_ids': 'user_ids.txt'})
    elif variant == 'paper':
        config.data.update({'name': 'amazon_beauty', 'filter': 'one_pass'})
    return config

"""What tests of vectors share."""

import numpy as np
import pytest

from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from tests.vectors.toy_vectors import ITEM_IDS, USER_IDS, config_of


@pytest.fixture
def dataset():
    interactions = Interactions(np.arange(26, dtype=np.int64), np.ones(25, np.int32), 40)
    return Dataset('toy', interactions, USER_IDS, ITEM_IDS, [{} for _ in ITEM_IDS], [{} for _ in USER_IDS], {})


@pytest.fixture
def files(tmp_path):
    """A folder with a table and an id list for items and users, and the config that names them."""
    folder = tmp_path / 'data'
    folder.mkdir()
    rng = np.random.default_rng(1)
    for kind, ids in (('item', ITEM_IDS), ('user', USER_IDS)):
        np.save(folder / f'{kind}.npy', rng.normal(size=(len(ids), 6)).astype(np.float32))
        (folder / f'{kind}.txt').write_text(''.join(f'{identity}\n' for identity in ids))
    config = config_of(kind='precomputed', item_vectors='item.npy', item_ids='item.txt', user_vectors='user.npy',
                       user_ids='user.txt')
    config.data.update({'source': str(folder), 'name': 'toy'})
    return folder, config

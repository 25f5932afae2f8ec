"""`benchmark llm_esr`: writes a workload the way the public LLM-ESR repository reads its data.

That repository is not part of this project; its users clone it, run it on the files and read its speed from its own
progress bar. Its inputs are pickles of arrays: they are written here, and nothing is ever read back.
"""

import pathlib
import pickle

import numpy as np
from sklearn.decomposition import PCA

from grasp_jax.benchmark import workload
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.retrieval import exact

DATASET = 'beauty'  # one of the names that its command knows
_SIMILAR = 100
_ID_WIDTH = 64


def export(interactions: Interactions, tables: FrozenVectors, folder: pathlib.Path) -> pathlib.Path:
    """Writes interactions, vectors, reduced vectors and similar users.

    Args:
      interactions: all sequences.
      tables: their vectors.
      folder: gets `data/beauty/handled/`.

    Returns:
      the folder with the files.
    """
    target = folder / 'data' / DATASET / 'handled'
    target.mkdir(parents=True, exist_ok=True)
    owner = 1 + np.repeat(np.arange(interactions.num_users), interactions.lengths)
    np.savetxt(target / 'inter.txt', np.stack([owner, interactions.items], 1), fmt='%d')
    items, users = (np.asarray(table, np.float32) for table in (tables.items[1:], tables.users))
    reduced = PCA(min(_ID_WIDTH, *items.shape), random_state=0).fit_transform(items).astype(np.float32)
    arrays = {'itm_emb_np': items, 'usr_emb_np': users, f'pca{_ID_WIDTH}_itm_emb_np': reduced,
              f'sim_user_{_SIMILAR}': exact.nearest(users, _SIMILAR)}
    for name, array in arrays.items():
        with (target / f'{name}.pkl').open('wb') as file:
            pickle.dump(array, file)
    return target


def command(size: workload.Size, backbone: str, clone: str) -> str:
    """The command line that trains LLM-ESR on the files, from the folder that was exported to."""
    flags = {'dataset': DATASET, 'model_name': f'llmesr_{backbone}', 'hidden_size': 64,
             'train_batch_size': size.batch_size, 'max_len': size.max_length, 'num_train_epochs': 2, 'alpha': 0.1,
             'user_sim_func': 'kd'}
    words = ' '.join(f'--{name} {value}' for name, value in flags.items())
    return f'python {clone}/main.py {words} --freeze --use_cross_att --log'

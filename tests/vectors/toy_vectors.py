"""A toy data set of texts, and vectors made of them."""

from grasp_jax.config import default
from grasp_jax.models.spec import model_spec
from grasp_jax.vectors import vector_files
from grasp_jax.vectors.encode import encode

ITEM_IDS, USER_IDS = [f'i{i}' for i in range(40)], [f'u{u}' for u in range(25)]
COLOURS = ('red', 'green', 'blue', 'violet', 'orange')
ITEM_TEXTS = [f'a {COLOURS[i % 5]} {"shoe" if i % 2 else "scarf"} number n{i}' for i in range(40)]
USER_TEXTS = [f'likes {COLOURS[u % 5]} things' for u in range(25)]


def config_of(**encode):
    config = default()
    config.encode.update({'width': 8, **encode})
    return config


def run(dataset, config, folder):
    folder.mkdir()
    spec = model_spec(config, num_items=1)
    facts = encode(dataset, ITEM_TEXTS, USER_TEXTS, config, folder,
                            users_read=spec.uses_user_vectors or spec.uses_similar_users)
    return facts, *vector_files.load_vectors(folder, len(USER_IDS), len(ITEM_IDS))

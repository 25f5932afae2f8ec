"""A small data set with a pattern to learn, and runs on it."""

import jax
import numpy as np
import pytest

from grasp_jax.config import default
from grasp_jax.data.interactions import Interactions, draw_negatives
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.training import epochs
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.training_setup import PretrainedInputs, make_training_setup

USERS, ITEMS, WIDTH = 90, 40, 16


def small_config(**settings):
    config = default()
    config.data.name = 'small'
    config.model.update({'hidden_size': 8, 'max_length': 10, 'num_layers': 1, 'dropout': 0.2, **settings})
    config.train.update({'batch_size': 16, 'max_epochs': 4, 'patience': 9, 'learning_rate': 1e-2, 'mask_prob': 0.3})
    config.evaluate.update({'negatives': 10, 'users_per_batch': 32})
    return config


@pytest.fixture(scope='session')
def small_data():
    """Sequences that walk around a circle of items, and vectors that know where on the circle an item is."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(4, 13, USERS)
    steps = np.cumsum(rng.integers(1, 3, (USERS, 12)), axis=1) + rng.integers(0, ITEMS, (USERS, 1))
    items = np.concatenate([row[:length] for row, length in zip(steps % ITEMS + 1, lengths, strict=True)])
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]), items.astype(np.int32), ITEMS)
    angle = 2 * np.pi * np.arange(ITEMS + 1)[:, None] / ITEMS * np.arange(1, WIDTH // 2 + 1)[None]
    waves = np.concatenate([np.sin(angle), np.cos(angle)], 1).astype(np.float32) / np.sqrt(WIDTH / 2)
    waves[0] = 0
    people = np.stack([waves[interactions.sequence(user, 'train')].mean(0) for user in range(USERS)])
    tables = FrozenVectors(people, people[::-1].copy(), waves, np.concatenate([waves[:1], waves[:0:-1]]))
    negatives = {'valid': draw_negatives(interactions, 10, 1), 'test': draw_negatives(interactions, 10, 2)}
    return interactions, negatives, tables


@pytest.fixture(autouse=True)
def roomy_plans(monkeypatch):
    """The similar users of so few take up very different numbers of rows, each of which would be compiled."""
    monkeypatch.setattr(epochs, '_SPARE', 2.0)


@pytest.fixture
def small_run(small_data):
    """Makes a run: settings of the model section, mesh shape and number of devices; other tables and other work done
    before training where given."""
    def make(mesh=(1, 1), train=None, other=None, pretrained=None, **settings):
        interactions, negatives, tables = small_data
        tables = other or tables
        config = small_config(**settings)
        config.train.update(train or {})
        devices = jax.devices()[:mesh[0] * mesh[1]]
        hidden = config.model.hidden_size
        pretrained = pretrained or PretrainedInputs(start=(0.3 * tables.items[:, :hidden]).astype(np.float32),
                                                    similar_users=(np.arange(USERS)[:, None] + np.arange(1, 4)) % USERS)
        return make_training_setup(config, make_mesh(mesh, devices), interactions, negatives,
                                   None if config.model.method == 'none' else tables, pretrained)

    return make


@pytest.fixture
def final_state():
    """The state that a run's folder keeps of an epoch."""
    def load(run, folder, epoch):
        with Checkpoints(folder / 'checkpoints') as checkpoints:
            return checkpoints.load(epoch, run.state_shapes(0), run.mesh)

    return load

"""A small data set's config and a search space of one setting."""

import pytest

from grasp_jax.config import default
from grasp_jax.tune import spaces


@pytest.fixture
def config():
    config = default('strong')
    config.data.update({'name': 'small_shop', 'kind': 'shop', 'filter': 'none'})
    config.data.shop.update({'customers': 60, 'products': 40})
    config.model.update({'method': 'none', 'hidden_size': 8, 'max_length': 10})
    config.train.update({'negatives': 8, 'max_epochs': 2})
    config.evaluate.negatives = 10
    config.lock()
    return config


@pytest.fixture(autouse=True)
def small_space(monkeypatch):
    def space(trial):
        return {'train.learning_rate': trial.suggest_float('learning_rate', 1e-3, 1e-1, log=True)}

    monkeypatch.setitem(spaces.SPACES, 'small', space)

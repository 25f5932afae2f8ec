"""Recipes by name."""

import pytest

from grasp_jax.config import default
from grasp_jax.config.recipes import RECIPES
from grasp_jax.pipeline.checks import check_config


@pytest.mark.parametrize('name', RECIPES)
def test_every_recipe_is_valid_and_says_its_name(name):
    config = default(name)
    config.data.name = 'any'
    check_config(config)
    assert config.train.recipe == name


def test_the_papers_recipe_is_the_papers():
    config = default()
    assert (config.train.loss, config.train.negatives, config.train.shared_negatives) == ('bce', 1, False)
    assert (config.train.batch_size, config.train.learning_rate, config.train.patience) == (128, 1e-3, 20)
    assert (config.model.dropout, config.model.max_length, config.model.hidden_size) == (0.5, 100, 64)


def test_an_unknown_recipe_is_an_error():
    with pytest.raises(ValueError, match='choose one of paper, strong'):
        default('secret')

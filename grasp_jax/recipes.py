"""Recipes: losses and settings of training by name. A gain is claimed only where it shows under both.

`paper` is what GRASP's paper trains with (section 5.1): binary cross-entropy with one negative, dropout 0.5, batches of
128 users, learning rate 0.001, 20 epochs of patience, the checkpoint picked under the sampled protocol.
`strong` is what the field has learned since: a softmax over many negatives, less dropout, the checkpoint picked under
full ranking.
"""

from collections.abc import Callable

import ml_collections


def paper(config: ml_collections.ConfigDict) -> None:
    """The defaults of `grasp_jax.config`."""
    config.train.recipe = 'paper'


def strong(config: ml_collections.ConfigDict) -> None:
    """Sampled softmax over 256 negatives that a batch shares."""
    config.train.update({'recipe': 'strong', 'loss': 'sampled_softmax', 'negatives': 256, 'shared_negatives': True,
                         'patience': 10})
    config.evaluate.select_by = 'full'


RECIPES: dict[str, Callable[[ml_collections.ConfigDict], None]] = {'paper': paper, 'strong': strong}


def apply(config: ml_collections.ConfigDict, name: str) -> None:
    """Changes the settings that a recipe decides.

    Raises:
      ValueError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f'recipe {name!r}: choose one of {", ".join(RECIPES)}')
    RECIPES[name](config)

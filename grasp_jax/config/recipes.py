"""Recipes: losses and settings of training by name. A gain is claimed only where it shows under both.

`paper` is what GRASP's paper trains with (section 5.1): binary cross-entropy with one negative, dropout 0.5, batches of
128 users, learning rate 0.001, 20 epochs of patience, the checkpoint picked under the sampled protocol.
`strong` is what the field has learned since, tuned on validation: a softmax over the whole catalogue, a mean of the
parameters over the last few epochs, the checkpoint picked under full ranking. Temperature, learning rate, weight decay,
dropout and width are the winner of `grasp_jax.tune` for SASRec with LLMInit on Amazon Beauty, see
docs/results/tuning.md. Where a gate makes items look different to every user (`gate` other than none) the whole
catalogue costs too much, and `config.train.loss=sampled_softmax` takes 256 negatives that a batch shares.
"""

import contextlib
import contextvars
from collections.abc import Callable, Iterator

import ml_collections

from grasp_jax.common.errors import UserError


def paper(config: ml_collections.ConfigDict) -> None:
    """The defaults of `grasp_jax.config`."""
    config.train.recipe = 'paper'


def strong(config: ml_collections.ConfigDict) -> None:
    """Softmax over all items; of GRASP's forms the one that validation preferred: ids, texts without a gate, and plain
    vectors learn apart and rank together."""
    config.train.update({'recipe': 'strong', 'loss': 'softmax', 'negatives': 256, 'shared_negatives': True,
                         'temperature': 0.26, 'learning_rate': 3.2e-4, 'weight_decay': 0.05, 'ema_decay': 0.998,
                         'softmax_dtype': 'bfloat16', 'max_epochs': 100, 'patience': 10})
    config.model.update({'method': 'grasp_mixture', 'gate': 'none', 'id_init': 'text', 'hidden_size': 128,
                         'dropout': 0.3})
    config.evaluate.selection_protocol = 'full'


_FLAG: contextvars.ContextVar[str] = contextvars.ContextVar('--recipe', default='')
RECIPES: dict[str, Callable[[ml_collections.ConfigDict], None]] = {'paper': paper, 'strong': strong}


def apply(config: ml_collections.ConfigDict, name: str) -> None:
    """Changes the settings that a recipe decides.

    Raises:
      ValueError: there is no such recipe.
    """
    if name not in RECIPES:
        raise ValueError(f'recipe {name!r}: choose one of {", ".join(RECIPES)}')
    RECIPES[name](config)


@contextlib.contextmanager
def flagged(name: str) -> Iterator[None]:
    """While a config file is read inside, `config.default` takes this recipe, that of the flag --recipe; empty: none is
    named."""
    before = _FLAG.set(name)
    try:
        yield
    finally:
        _FLAG.reset(before)


def agreed(name: str) -> str:
    """The recipe that a config file and the flag --recipe agree on; empty where neither names one.

    Args:
      name: of the config file, or of its variant; empty: none.

    Raises:
      UserError: they name two.
    """
    flag = _FLAG.get()
    if flag and name and name != flag:
        raise UserError(f'--recipe={flag}: the config, or its variant behind the colon, asks for the recipe {name!r}; '
                        'name one of them in one place')
    return name or flag

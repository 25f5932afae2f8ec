"""What `python -m grasp_jax.tune` searches, by name: settings by dotted names from a trial of Optuna."""

from collections.abc import Callable
from typing import Any

Settings = dict[str, Any]


def strong(trial: Any) -> Settings:
    """The recipe `strong`: loss, sampling, width and regularisation of any backbone and method."""
    return {
        'train.loss': trial.suggest_categorical('loss', ['sampled_softmax', 'gbce']),
        'train.negatives': trial.suggest_categorical('negatives', [128, 256, 512]),
        'train.popularity': trial.suggest_categorical('popularity', [0.0, 0.5]),
        'train.temperature': trial.suggest_float('temperature', 0.3, 2.0, log=True),
        'train.learning_rate': trial.suggest_float('learning_rate', 3e-4, 3e-3, log=True),
        'model.dropout': trial.suggest_float('dropout', 0.1, 0.6, step=0.1),
        'model.hidden_size': trial.suggest_categorical('hidden_size', [64, 128, 256]),
        'model.num_layers': trial.suggest_int('num_layers', 1, 3),
    }


SPACES: dict[str, Callable[[Any], Settings]] = {'strong': strong}

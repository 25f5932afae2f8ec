"""What `python -m grasp_jax.tune` searches, by name: settings by dotted names from a trial of Optuna."""

from collections.abc import Callable
from typing import Any

import ml_collections

from grasp_jax.models.spec import USUAL_LAYERS

Settings = dict[str, Any]


def strong(trial: Any) -> Settings:
    """The recipe `strong`: width and regularisation of any backbone, where items look alike to every user."""
    return {
        'train.temperature': trial.suggest_float('temperature', 0.1, 2.0, log=True),
        'train.learning_rate': trial.suggest_float('learning_rate', 1e-4, 3e-3, log=True),
        'train.weight_decay': trial.suggest_float('weight_decay', 0.0, 0.1),
        'model.dropout': trial.suggest_float('dropout', 0.1, 0.8, step=0.1),
        'model.hidden_size': trial.suggest_categorical('hidden_size', [64, 128]),
        'model.num_layers': trial.suggest_int('num_layers', 1, 2),
    }


def sampled(trial: Any) -> Settings:
    """Losses over some negatives, for any method: loss, sampling, width and regularisation."""
    loss = trial.suggest_categorical('loss', ['sampled_softmax', 'gbce'])
    corrected = loss == 'sampled_softmax'  # for what is drawn by popularity
    return {
        'train.loss': loss,
        'train.shared_negatives': True,
        'train.negatives': trial.suggest_categorical('negatives', [256, 512, 1024]),
        'train.negative_popularity': trial.suggest_categorical('negative_popularity', [0.0, 0.5]) if corrected else 0.0,
        'train.temperature': trial.suggest_float('temperature', 0.3, 2.0, log=True),
        'train.learning_rate': trial.suggest_float('learning_rate', 3e-4, 3e-3, log=True),
        'model.dropout': trial.suggest_float('dropout', 0.1, 0.6, step=0.1),
        'model.hidden_size': trial.suggest_categorical('hidden_size', [64, 128]),
        'model.num_layers': trial.suggest_int('num_layers', 1, 2),
    }


SPACES: dict[str, Callable[[Any], Settings]] = {'strong': strong, 'sampled': sampled}
# Of the trials that searches begin with: the recipe as it stands, and for `strong` the settings of the best public logs
# of a plain SASRec (MTandHJ/CE-SCE-LLMRec, arXiv 2402.06216), which learn slowly.
STARTS: dict[str, tuple[Settings, ...]] = {
    'strong': ({'temperature': 0.26, 'learning_rate': 3.2e-4, 'weight_decay': 0.05, 'dropout': 0.3, 'hidden_size': 128,
                'num_layers': 2},
               {'temperature': 1.0, 'learning_rate': 5e-4, 'weight_decay': 0.0, 'dropout': 0.6, 'hidden_size': 64,
                'num_layers': 2}),
    'sampled': ({'loss': 'sampled_softmax', 'negatives': 256, 'negative_popularity': 0.0, 'temperature': 1.0,
                 'learning_rate': 1e-3, 'dropout': 0.5, 'hidden_size': 64, 'num_layers': 2},)}


def starts_of(space: str, config: ml_collections.ConfigDict) -> list[Settings]:
    """The trials that a search begins with, none where a space has none; the first of `strong` is the recipe as it
    stands."""
    layers = USUAL_LAYERS[config.model.backbone]
    return [{**start, 'num_layers': layers} if space == 'strong' else dict(start) for start in STARTS.get(space, ())]

"""The optimiser: AdamW, and an exponential moving average (EMA) of the parameters where asked for."""

from typing import Any

import optax

from grasp_jax.training.train_spec import TrainSpec


def make_optimizer(spec: TrainSpec) -> optax.GradientTransformation:
    """Adam, decoupled weight decay and a mean of the parameters where asked for."""
    adam = optax.adamw(spec.learning_rate, weight_decay=spec.weight_decay)
    return optax.chain(adam, keep_mean(spec.ema_decay)) if spec.ema_decay else adam


def keep_mean(decay: float) -> optax.GradientTransformation:
    """Lets updates pass and keeps an exponential moving mean of the parameters that they lead to."""
    mean = optax.ema(decay)

    def update(updates: Any, state: optax.EmaState, params: Any) -> tuple[Any, optax.EmaState]:
        _, state = mean.update(optax.apply_updates(params, updates), state)
        return updates, state

    return optax.GradientTransformation(mean.init, update)

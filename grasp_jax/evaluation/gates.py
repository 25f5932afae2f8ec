"""What the gates of Eq. 4 do: their mean over the candidates of the test, for any groups of users and items."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.models.recommender import Recommender
from grasp_jax.ranking.evaluator import Evaluator
from grasp_jax.ranking.forward import gate_scores

LEVELS = ('self', 'similar', 'global')


def candidate_gates(evaluator: Evaluator, params: Any) -> tuple[np.ndarray, np.ndarray]:
    """Gates of every evaluated user with the test item and the stored negatives.

    Args:
      evaluator: of a GRASP model.
      params: the model's parameters.

    Returns:
      float32 [v, 1 + N, 3] in the order self, similar, global, and int32 [v, 1 + N], the items, 0 where there is none;
      users in the evaluator's order.
    """
    gates, items = [], []
    for step in range(evaluator.num_batches):
        batch = evaluator.batch(step)
        gates.append(_of_batch(evaluator.model, evaluator.mesh, evaluator.num_rows, params,
                               evaluator.data_of(batch), batch.placement, batch.candidates))
        items.append(batch.candidates)
    return evaluator.in_order(gates), evaluator.in_order(items)


def of_groups(gates: np.ndarray, exist: np.ndarray, group: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """Mean and standard deviation of the gates over pairs of a group and over the other pairs.

    Args:
      gates: [v, N, 3].
      exist: bool [v, N], pairs that count.
      group: bool [v, N], pairs in the group.

    Returns:
      {'inside': {level: [mean, deviation]}, 'outside': ...}, without a side that has no pair.
    """
    sides = {'inside': gates[exist & group], 'outside': gates[exist & ~group]}
    return {name: {level: [float(found[:, number].mean()), float(found[:, number].std())]
                   for number, level in enumerate(LEVELS)} for name, found in sides.items() if len(found)}


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _of_batch(model: Recommender, mesh: Any, num_rows: int, params: Any, data: Any, placement: Any,
              candidates: jax.Array) -> jax.Array:
    scores = gate_scores(model, mesh, num_rows, params, data, placement, candidates).candidates

    def call(model: Recommender) -> jax.Array:
        return jnp.asarray(model.gated_encoder.gates(scores, candidates > 0))

    return jnp.asarray(model.apply({'params': params}, method=call))

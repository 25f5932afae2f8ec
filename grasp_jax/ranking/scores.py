"""The score of every user's test item, as Figure 3 of the paper looks at it."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.models.recommender import Recommender
from grasp_jax.ranking.evaluator import Evaluator
from grasp_jax.ranking.forward import user_states


def target_scores(evaluator: Evaluator, params: Any) -> np.ndarray:
    """float32 [v], score o . i of each evaluated user's held-out item, in the order of `evaluator.users`; under the
    softmax gate as one of the candidates of the sampled protocol.

    Args:
      evaluator: of any model.
      params: the model's parameters.
    """
    found = []
    for step in range(evaluator.num_batches):
        batch = evaluator.batch(step)
        found.append(_of_batch(evaluator.model, evaluator.mesh, evaluator.num_rows, params,
                               evaluator.data_of(batch), batch.placement, batch.candidates))
    return evaluator.in_order(found)


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _of_batch(model: Recommender, mesh: Any, num_rows: int, params: Any, data: Any, placement: Any,
              candidates: jax.Array) -> jax.Array:
    states, context = user_states(model, mesh, num_rows, params, data, placement)
    if model.spec.gate != 'softmax':  # whose gates depend on the other candidates
        candidates = candidates[:, :1]

    def call(model: Recommender) -> jax.Array:
        return model.score(states, context, model.catalogue(data.tables, candidates), candidates > 0)[:, 0]

    return jnp.asarray(model.apply({'params': params}, method=call))

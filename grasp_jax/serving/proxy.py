"""Personal items by a proxy: with each gate held at its usual value, all users share one vector of an item.

The proxy only picks candidates; whoever is among them is scored exactly. How many of the exact best it finds is
measured, not promised (`recommender.Recommender.measure_recall`).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.data.interactions import Interactions, evenly_spread
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Recommender
from grasp_jax.serving import scoring

_HISTORIES, _LONGEST = 256, 32  # that tell the usual value of a gate


def usual_gates(model: Recommender, params: Any, tables: FrozenVectors, interactions: Interactions) -> np.ndarray:
    """float32 [3]: the mean gate of each level over users of the data set and the items that they chose last.

    Args:
      model, params: a personal model.
      tables: its frozen vectors.
      interactions: all sequences.
    """
    lengths = interactions.lengths
    known = np.flatnonzero(lengths > 1)
    users = known[evenly_spread(len(known), _HISTORIES)]
    history = np.zeros((len(users), _LONGEST), np.int32)
    for row, user in enumerate(users):
        own = interactions.full_sequence(int(user))[:-1][-_LONGEST:]
        history[row, :len(own)] = own
    chosen = np.asarray(interactions.items)[interactions.indptr[users + 1] - 1]
    return np.asarray(_mean_gates(model, params, tables, jnp.asarray(history), jnp.asarray(users.astype(np.int32)),
                                  jnp.asarray(chosen.astype(np.int32))))


@functools.partial(jax.jit, static_argnums=(0,))
def _mean_gates(model: Recommender, params: Any, tables: FrozenVectors, history: jax.Array, users: jax.Array,
                chosen: jax.Array) -> jax.Array:
    inputs = scoring.as_inputs(history, model.spec.mask_slots)

    def call(model: Recommender) -> jax.Array:
        _, _, context = model.represent_rows(tables, users, inputs.packed, inputs.masked)
        context = jax.tree.map(inputs.ends.pick, context)
        found = model.gated_encoder.gates(model.gate_scores(tables, context, chosen[:, None]), None)
        return jnp.asarray(found.mean((0, 1)))

    found: Any = model.apply({'params': params}, method=call)
    return jnp.asarray(found)

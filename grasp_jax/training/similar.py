"""The sequences of similar users, which LLM-ESR's self-distillation reads beside those of a batch."""

import numpy as np

from grasp_jax.data import batches
from grasp_jax.data.interactions import Interactions
from grasp_jax.models.spec import ModelSpec


class SimilarUsers:
    """Plans where the K similar users of each user of a batch go."""

    def __init__(self, interactions: Interactions, similar: np.ndarray, spec: ModelSpec):
        """Keeps hold of who is similar to whom.

        Args:
          interactions: all sequences; only the training part is read.
          similar: int32 [n, K], -1 where there is none.
          spec: of the model.
        """
        users = np.arange(interactions.num_users)
        self._similar = similar
        self._sequences = batches.Sequences(users, interactions.indptr[:-1], interactions.input_lengths('train'),
                                            spec.row_width, appended=0 if spec.causal else 1)

    def plan(self, plan: batches.Plan, groups: int, min_rows: int = 1) -> batches.Plan:
        """Places for the similar users of a plan's users.

        Args:
          plan: of the users, placement fields [S, B].
          groups: the number of rows is a multiple of it.
          min_rows: at least so many rows.

        Returns:
          a plan whose fields are [S, B * K], the users of a batch one after the other; who is missing has length 0.
        """
        there = np.asarray(plan.placement.length)[..., None] > 0
        who = np.where(there, self._similar[plan.placement.user], -1)
        order = who.reshape(-1)
        size = order.size // len(plan)
        return batches.ordered_plan(self._sequences, order, size, min_rows, groups)

"""The sequences of similar users, which LLM-ESR's self-distillation reads beside those of a batch.

Ten similar users each are most of a step's work, and most sequences are short. In rows as wide as the longest sequence
a position is compared with ten times as many others as are its own user's; so short sequences get rows of their own.
"""

import dataclasses

import numpy as np

from grasp_jax.batching import batches
from grasp_jax.data.interactions import Interactions
from grasp_jax.models.spec import ModelSpec

# Rows of short sequences are narrower by this factor.
_NARROWER = 4


class SimilarUsers:
    """Plans where the K similar users of each user of a batch go."""

    def __init__(self, interactions: Interactions, similar: np.ndarray, spec: ModelSpec):
        """Keeps hold of who is similar to whom.

        Args:
          interactions: all sequences; only the training part is read.
          similar: int32 [n, K], -1 where there is none.
          spec: of the model.
        """
        self._similar = similar
        lengths = interactions.input_lengths('train')
        kept = np.minimum(lengths, spec.max_length)  # as many as a user is ranked by
        self._sequences = batches.Sequences(np.arange(interactions.num_users),
                                            interactions.indptr[:-1] + lengths - kept, kept, spec.row_width,
                                            spec.mask_slots)
        self.widths = (-(-spec.row_width // _NARROWER), spec.row_width)

    def plan(self, plan: batches.EpochPlan, groups: int,
             min_rows: tuple[int, ...] = (1, 1)) -> tuple[batches.EpochPlan, ...]:
        """Places for the similar users of a plan's users.

        Args:
          plan: of the users, placement fields [S, B].
          groups: the number of rows is a multiple of it.
          min_rows: at least so many rows of each width.

        Returns:
          a plan for each of `widths`, whose fields are [S, B * K], the users of a batch one after the other; who is
          missing, or in rows of another width, has length 0.
        """
        there = np.asarray(plan.placement.length)[..., None] > 0
        order = np.where(there, self._similar[plan.placement.user], -1).reshape(-1)
        short = self._sequences.lengths[order] <= self.widths[0] - self._sequences.mask_slots
        return tuple(batches.ordered_plan(dataclasses.replace(self._sequences, width=width),
                                          np.where(fits, order, -1), order.size // len(plan), rows, groups)
                     for width, fits, rows in zip(self.widths, (short, ~short), min_rows, strict=True))

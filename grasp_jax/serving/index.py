"""Approximate search for the largest o . r among very many items, by ScaNN."""

import collections.abc

import numpy as np

from grasp_jax.retrieval import scann_index

ITEMS_FROM = 500_000  # items from which an index is asked; below, all are scored in a few milliseconds
# Of 1.2 million items half of the leaves and 4,000 products hold 99.4% of the best 100 in 4 ms; a tenth and 1,000 hold
# 81% in 0.8 ms (docs/benchmarks/serving.md).
_SEARCHED = 0.5  # share of the leaves that a query looks into
_PRODUCTS = 4000  # items of them whose products are taken whole


class Index:
    """A searcher over item vectors [count, S]."""

    def __init__(self, items: np.ndarray):
        """Builds it: minutes for millions of items."""
        import scann
        self.count = len(items)
        leaves = int(np.sqrt(self.count))
        builder = scann.scann_ops_pybind.builder(np.ascontiguousarray(items, np.float32), 1000, 'dot_product')
        builder = builder.tree(num_leaves=leaves, num_leaves_to_search=max(int(_SEARCHED * leaves), 1),
                               training_sample_size=min(self.count, 250_000))
        self._searcher = builder.score_ah(2, anisotropic_quantization_threshold=0.2).reorder(_PRODUCTS).build()

    @staticmethod
    def installed() -> bool:
        """Whether ScaNN is there."""
        return scann_index.installed()

    def search(self, states: np.ndarray, left_out: collections.abc.Sequence[np.ndarray],
               wanted: int) -> np.ndarray | None:
        """About the best items of each state.

        Args:
          states: float32 [B, S].
          left_out: item ids that are not to be found, for each of the first states.
          wanted: how many.

        Returns:
          int32 [B, wanted] item ids; None where some state has fewer than are wanted.
        """
        more = max(map(len, left_out), default=0)
        places, scores = self._searcher.search_batched(states, final_num_neighbors=min(wanted + more, self.count),
                                                       pre_reorder_num_neighbors=max(_PRODUCTS, 4 * (wanted + more)))
        found = np.zeros((len(states), wanted), np.int32)
        for row, gone in enumerate(left_out):
            ids = places[row][np.isfinite(scores[row])].astype(np.int64) + 1
            ids = ids[~np.isin(ids, gone)][:wanted]
            if len(ids) < wanted:
                return None
            found[row] = ids
        return found

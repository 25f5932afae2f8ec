"""Prints what RecTools says of the random lists, as JSON: `python tests/evaluation/record_rectools.py`, and with the
word `accuracy` behind it how well they hold the random interactions.

RecTools 0.19 wants NumPy 1 and pandas 2, so it cannot be installed beside the program; it has an environment of its
own, which RECTOOLS_PYTHON may name to the tests. What it said lies in rectools_values.json and rectools_accuracy.json.
"""

import json
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from random_lists import ITEMS, KS, drawn


def version():
    import rectools
    return rectools.VERSION if hasattr(rectools, 'VERSION') else rectools.__version__


def recommended(lists):
    import pandas as pd
    from rectools import Columns
    user, place = np.nonzero(lists)
    return pd.DataFrame({Columns.User: user, Columns.Item: lists[user, place], Columns.Rank: place + 1})


def accuracy():
    """By name and k, and the version: the interactions are what the lists should hold."""
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import MRR, NDCG, HitRate, Recall

    lists, rows, _ = drawn()
    reco, later = recommended(lists), pd.DataFrame(rows, columns=[Columns.User, Columns.Item]).drop_duplicates()
    found = {'version': version(), 'MRR': MRR(lists.shape[1]).calc(reco, later)}
    for k in KS:
        found[f'NDCG@{k}'] = NDCG(k, divide_by_achievable=True).calc(reco, later)
        found[f'Recall@{k}'] = Recall(k).calc(reco, later)
        found[f'HR@{k}'] = HitRate(k).calc(reco, later)
    return found


def values():
    """By name and k, and the version."""
    import pandas as pd
    from rectools import Columns
    from rectools.metrics import AvgRecPopularity, CatalogCoverage, IntraListDiversity, MeanInvUserFreq
    from rectools.metrics.distances import PairwiseDistanceCalculator

    lists, rows, vectors = drawn()
    directions = vectors.astype(np.float64)
    directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-12)

    class Cosine(PairwiseDistanceCalculator):
        def _get_distances_for_item_pairs(self, items_0, items_1):
            return 1 - (directions[items_0.astype(int)] * directions[items_1.astype(int)]).sum(1)

    reco = recommended(lists)
    before = pd.DataFrame(rows, columns=[Columns.User, Columns.Item])
    found = {'version': version()}
    for k in KS:
        found[f'Coverage@{k}'] = CatalogCoverage(k, normalize=True).calc(reco, range(1, ITEMS + 1))
        found[f'Popularity@{k}'] = AvgRecPopularity(k).calc(reco, before)
        found[f'Novelty@{k}'] = MeanInvUserFreq(k).calc(reco, before)
        found[f'Diversity@{k}'] = IntraListDiversity(k, Cosine()).calc(reco)
    return found


if __name__ == '__main__':
    try:
        print(json.dumps(accuracy() if sys.argv[1:] == ['accuracy'] else values(), indent=2))
    except ImportError as error:
        sys.exit(f'{error}')

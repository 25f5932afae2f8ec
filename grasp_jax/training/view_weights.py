"""How much each view of an item counts in a score, chosen on validation when a seed is trained.

Views that learn apart (`Method.views_learn_apart`) are equals in training. Which of them is worth more differs between
data sets: ids where few items follow each other, texts where many are rare. A few weights are tried with the best
epoch's parameters, and the best ones on validation are kept beside its checkpoint; everything that ranks reads them.
Best is the geometric mean of NDCG@10 under both protocols: one by itself would buy its gain from the other.
"""

import logging
import math
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.models.recommender import VIEW_WEIGHTS
from grasp_jax.models.spec import ModelSpec

LOG = logging.getLogger(__name__)
FILE = 'view_weights.json'
_FIRST = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4)  # of the first view; the second has the rest of 2
_FURTHER = (0.5, 1.0, 1.5, 2.0)  # of views behind them
_GAIN = 1.002  # equal weights stay unless others are so much better: below it differences are chance
Weights = tuple[float, ...]
Value = tuple[float, float]  # NDCG@10 under the sampled and the full protocol


def is_chosen(folder: pathlib.Path, epoch: int) -> bool:
    """Whether the weights of a seed's folder were chosen for an epoch (from 0)."""
    return (folder / FILE).exists() and artefacts.read_json(folder / FILE)['epoch'] == epoch + 1


def choose(spec: ModelSpec, value_of: Callable[[Weights], Value]) -> dict[str, Any]:
    """Tries weights of views: first what the two that the backbone encodes count beside each other, then the others.

    Args:
      spec: of the model.
      value_of: validation NDCG@10 with some weights, sampled and full.

    Returns:
      `weights`, the chosen ones; `tried`, a list of `weights`, `sampled_ndcg10` and `full_ndcg10`, equal ones first.
    """
    tried: dict[Weights, Value] = {}

    def mean(weights: Weights) -> float:
        return math.sqrt(tried[weights][0] * tried[weights][1])

    def best_of(options: list[Weights]) -> Weights:
        for weights in options:
            if weights not in tried:
                tried[weights] = value_of(weights)
        return max(options, key=mean)

    further = spec.all_views - spec.num_views
    equal = (1.0,) * spec.all_views
    first = best_of([equal, *((share, round(2 - share, 1), *(1.0,) * further) for share in _FIRST)])
    best = best_of([first, *((*first[:2], *(weight,) * further) for weight in _FURTHER)])
    if mean(best) < _GAIN * mean(equal):
        best = equal
    LOG.info('views weigh %s: validation NDCG@10 sampled %.4f, full %.4f; with equal weights %.4f, %.4f',
             ', '.join(map('{:g}'.format, best)), *tried[best], *tried[equal])
    return {'weights': best, 'tried': [{'weights': weights, 'sampled_ndcg10': sampled, 'full_ndcg10': full}
                                       for weights, (sampled, full) in tried.items()]}


def write(folder: pathlib.Path, epoch: int, found: dict[str, Any]) -> None:
    """Writes what `choose` found for an epoch (from 0) into the folder of its seed."""
    artefacts.write_json(folder / FILE, {'epoch': epoch + 1, **found})


def weighed(spec: ModelSpec, params: Any, weights: Weights | None = None, folder: pathlib.Path | None = None) -> Any:
    """Parameters with the weights of views, where the model has such; for ranking alone.

    Args:
      spec: of the model.
      params: what a checkpoint holds, or its shapes.
      weights: of the views; None: those chosen for the seed in `folder`, or equal ones.
      folder: of the seed; None: there is none.
    """
    if not spec.facts.views_learn_apart:
        return params
    if weights is None:
        chosen = folder is not None and (folder / FILE).exists()
        weights = artefacts.read_json(folder / FILE)['weights'] if folder and chosen else (1.0,) * spec.all_views
    return {**params, VIEW_WEIGHTS: np.array(weights, np.float32)}

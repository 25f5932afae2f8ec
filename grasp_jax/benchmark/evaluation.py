"""`benchmark evaluate`: ranking all users under both protocols, against the reference's plain form on a few users."""

import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from grasp_jax.benchmark import workload
from grasp_jax.benchmark.reference import Reference, require_vectors
from grasp_jax.benchmark.training import REFERENCE_METHODS
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models import methods
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.ranking.evaluator import Evaluator
from grasp_jax.ranking.forward import item_features, user_states
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup, make_training_setup

_CHUNKS = {'cpu': 256, 'cuda': 65_536}  # (user, item) pairs at a time, where the reference is fastest


def measure(size: workload.Size, backbone: str, method: str, interactions: Interactions,
            negatives: dict[str, np.ndarray], tables: FrozenVectors | None, users: int | None) -> dict[str, Any]:
    """One row of the table.

    Args:
      size: the workload's.
      backbone, method: what to rank with; equations as printed, weights as at the start.
      interactions, negatives, tables: the workload.
      users: how many users the reference ranks, at most all; None leaves it out.

    Raises:
      UserError: the reference is asked for and the vectors stay on the host.
    """
    config = workload.config_of(size, backbone=backbone, method=method)
    run = make_training_setup(config, make_mesh(tuple(config.train.mesh)), interactions, negatives,
                              tables if methods.named(method).uses_vectors else None,
                              workload.pretrained_of(size, model_spec(config, size.items, size.width)))
    if users is not None:
        require_vectors(run)
    params = run.fresh_state(0).params
    evaluator = run.evaluator('test')
    count = len(evaluator.users)
    other = None
    if users is not None and method in REFERENCE_METHODS:
        other = _Other(run, params, tables, min(users, count))
    result: dict[str, Any] = {'backbone': backbone, 'method': method, 'users': count, 'items': size.items}
    for protocol, full in (('sampled', False), ('both', True)):
        if run.host is None:
            features = item_features(run.model, run.mesh, params, run.data)
            jax.block_until_ready(evaluator.rank_batch(params, features, 0, full))  # compiles
        else:
            evaluator(params, full)
        theirs = [_seconds(other.scores)] if other and full else []
        seconds = _seconds(functools.partial(evaluator, params, full))
        result[protocol] = {'grasp_jax_s': seconds, 'grasp_jax_s_per_user': seconds / count}
        if other and full:
            theirs.append(_seconds(other.scores))
            per_user = float(np.mean(theirs)) / other.users
            result[protocol] |= {'pytorch_s_per_user': per_user, 'pytorch_users': other.users,
                                 'largest_difference': other.largest_difference}
            result['ratio'] = per_user * count / seconds
    return result


def _seconds(program: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    program()
    return time.perf_counter() - begin


class _Other:
    """The reference on the first users: a call before our pass and one behind it, both warmed up.

    Attributes:
      users: how many.
      largest_difference: how far its scores of all items are from ours, by the largest of them.
    """

    def __init__(self, run: TrainingSetup, params: Any, tables: FrozenVectors | None, users: int):
        self.users = users
        self._reference = Reference(run.model.spec, train_spec(run.config), run.config.train.batch_size,
                                    run.interactions, None if run.data.tables is None else tables, params)
        self._chosen = np.arange(users)  # all users have enough interactions to be evaluated
        self._inputs = _padded(run, self._chosen)
        scores = self.scores()  # warms up
        difference = np.abs(_scores(run, params, users) - scores).max() / np.abs(scores).max()
        self.largest_difference = float(difference)

    def scores(self) -> np.ndarray:
        """Of all items, [users, m]."""
        return self._reference.rank_all(self._chosen, *self._inputs, _CHUNKS[self._reference.device])


def _scores(run: TrainingSetup, params: Any, users: int) -> np.ndarray:
    """Our scores [users, m] of all items for the first users."""
    known = run.interactions
    few = Interactions(known.indptr[:users + 1], known.items[:known.indptr[users]], known.num_items)
    negatives = np.zeros((users, 1), np.int32)
    evaluator = Evaluator(run.model, run.mesh, run.data, few, 'test', negatives, users)
    states, context = user_states(run.model, run.mesh, evaluator.num_rows, params, run.data,
                                  evaluator.batch(0).placement)
    features = item_features(run.model, run.mesh, params, run.data)
    scores: Any = run.model.apply({'params': params}, states, context, features, method=Recommender.score_all)
    return evaluator.in_order([scores])[:, :known.num_items]


def _padded(run: TrainingSetup, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The newest items of each user's test input on the left, zeros on the right; BERT4Rec's mask is a zero that
    counts."""
    spec = run.model.spec
    padded = np.zeros((len(users), spec.row_width), np.int64)
    lengths = np.zeros(len(users), np.int64)
    for row, user in enumerate(users):
        newest = run.interactions.sequence(user, 'test')[-spec.max_length:]
        padded[row, :len(newest)] = newest
        lengths[row] = len(newest) + spec.mask_slots
    return padded, lengths


"""`benchmark serve`: a served model without HTTP: to start it, one request, lists for all users, recall."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from grasp_jax.benchmark import retrieval, workload
from grasp_jax.benchmark.workload import Size
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.spec import model_spec
from grasp_jax.serving import assets
from grasp_jax.serving.engine import Engine, Request
from grasp_jax.training.state import init_state
from grasp_jax.training.train_spec import train_spec

_REQUESTS = 300  # one after the other
_DEPTHS = (10, 100)


def measure(size: Size, workdir: pathlib.Path | None, method: str, all_users: bool) -> list[dict[str, Any]]:
    """One row for each way to search.

    Args:
      size: of made-up assets, where no folder is named.
      workdir: of a finished run, or None.
      method: of made-up assets, ungated.
      all_users: whether lists of all users are made as well.
    """
    begin = time.perf_counter()
    known = made_up(size, method) if workdir is None else assets.open_folder(workdir)
    opened = time.perf_counter() - begin
    engine = Engine(known)
    requests = [_request(known, user) for user in range(known.interactions.num_users)]
    some = [requests[place] for place in evenly_spread(len(requests), _REQUESTS)]
    engine.top(some[:1], max(_DEPTHS))  # builds an index where one is needed
    rows = []
    for exact in (True, False) if engine.approximate else (True,):
        row: dict[str, Any] = {
            'backbone': known.spec.backbone, 'method': known.spec.method, 'gate': known.spec.gate,
            'items': known.spec.num_items, 'users': len(requests), 'exact': exact, 'open_s': opened,
            'ready_s': time.perf_counter() - begin, 'requests': len(some)}
        for k in _DEPTHS:
            for request in some:  # every bucket is compiled
                engine.top([request], k, exact)
            seconds = [_timed(functools.partial(engine.top, [request], k, exact)) for request in some]
            row |= {f'p50_s@{k}': float(np.percentile(seconds, 50)), f'p99_s@{k}': float(np.percentile(seconds, 99)),
                    f'recall@{k}': 1.0 if exact else engine.measure_recall(k)}
        row['everybody_s'] = _timed(functools.partial(engine.top, requests, 100, exact)) if all_users else None
        rows.append(row)
    return rows


def made_up(size: Size, method: str) -> assets.Assets:
    """Assets of any size: an untrained model without gates over clustered random vectors.

    Args:
      size: of the data and the vectors.
      method: a method whose items look alike to every user.
    """
    config = workload.config_of(size, method=method, gate='none', user_context='prefix')
    interactions = workload.interactions_of(size)
    items = np.zeros((size.items + 1, size.width), np.float16)
    items[1:] = retrieval.clustered(size.items, size.width)
    no_users = np.zeros((1, size.width), np.float16)
    spec = model_spec(config, size.items, size.width)
    vectors = assets.Vectors(items, items, no_users[:0], no_users[:0], np.zeros((size.items, 1), np.int32),
                             items)
    empty = assets.Assets(pathlib.Path('made up'), pathlib.Path('made up'), config, 0, (0,), 0, spec, None,
                          interactions, [f'u{user}' for user in range(size.users)],
                          [f'i{item}' for item in range(size.items)], (), vectors)
    frozen = FrozenVectors(no_users, no_users, items[:1], items[:1])
    from grasp_jax.models.recommender import Recommender
    state = jax.jit(lambda: init_state(Recommender(spec), train_spec(config), frozen, 0))()
    return dataclasses.replace(empty, params=jax.tree.map(np.asarray, state.params))


def _request(known: assets.Assets, user: int) -> Request:
    own = np.asarray(known.interactions.full_sequence(user), np.int32)
    return Request(own, np.unique(own), user)


def _timed(call: Callable[[], Any]) -> float:
    begin = time.perf_counter()
    call()
    return time.perf_counter() - begin

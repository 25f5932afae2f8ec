"""The service put together."""

import logging
import os
import pathlib
import socket
import sys
from typing import NamedTuple

from grasp_jax.serving import assets
from grasp_jax.serving.http import server
from grasp_jax.serving.http.app import Service, make_app
from grasp_jax.serving.http.guard import Guard
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.http.metrics import Metrics
from grasp_jax.serving.http.scorer import Scorer
from grasp_jax.serving.http.shelf import Shelf

LOG = logging.getLogger(__name__)
_SWITCH = 0.001  # seconds after which the thread that scores and the one that talks take turns


class Plan(NamedTuple):
    """What is served, and to whom.

    Attributes:
      workdir: a work folder or a bundle.
      models: the folder below which others may be loaded.
      seed: None: the first that is finished.
      limits: of requests.
      token: empty: none is asked for.
      hosts: names that the service is called by; None: any.
    """

    workdir: pathlib.Path
    models: pathlib.Path
    seed: int | None
    limits: Limits
    token: str
    hosts: frozenset[str] | None


def serve(plan: Plan, door: socket.socket) -> None:
    """Serves until a signal comes.

    Args:
      plan: what is served.
      door: a socket that is bound.

    Raises:
      UserError: the model cannot be opened or does not fit this device.
    """
    first = [assets.open_folder(plan.workdir, plan.seed)]
    sys.setswitchinterval(_SWITCH)
    server.allow_many_files()
    metrics = Metrics()
    scorer = Scorer(plan.limits, metrics)
    shelf = Shelf(plan.workdir, plan.models, plan.seed, plan.limits, metrics, scorer)
    service = Service(shelf, scorer, plan.limits, metrics, bool(plan.token))
    guard = Guard(make_app(service), {'/recommend': service.recommended}, plan.limits, metrics, plan.token, plan.hosts)

    async def start() -> None:
        LOG.info('%s: is being made ready at %s', plan.workdir, server.address_of(door))
        await shelf.start(first.pop())  # nothing else holds it, so that its memory is free after a reload
        LOG.info('ready')

    running = server.Server(guard, plan.limits, start)
    running.run(sockets=[door])
    if running.error is not None:
        raise running.error
    scorer.close()
    LOG.info('ended; every request was answered')
    if shelf.busy:  # a thread that compiles would be torn down with the interpreter
        sys.stderr.flush()
        os._exit(0)

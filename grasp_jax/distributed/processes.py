"""Several processes that train as one: how they find each other, what they agree on, and who writes.

Every process runs the same program on the same config and a folder that all of them see. The mesh spans the devices
of all; files are written by the first process alone, checkpoints by all through Orbax.
"""

import functools
import itertools
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from orbax.checkpoint import multihost

from grasp_jax.common.errors import EndedElsewhere, RunInterrupted, UserError

AUTO = 'auto'
_FIND_EACH_OTHER = 300  # seconds
_LEAVE_TOGETHER_MS = 5000
_LONGEST_MS = 7 * 24 * 3600 * 1000  # that data and vectors may take
_NUMBERS = itertools.count()
T = TypeVar('T')


def join(coordinator: str, processes: int = 0, process: int = -1) -> None:
    """Joins the other processes; must come before anything else asks JAX for a device.

    Args:
      coordinator: host:port of the first process; 'auto': SLURM's, a TPU pod's, Kubernetes' or Open MPI's environment
        says everything; empty: there is one process, nothing is done.
      processes: how many there are.
      process: which of them this is, from 0.

    Raises:
      UserError: the processes do not find each other, or the numbers do not fit.
    """
    if not coordinator:
        return
    known: dict[str, Any] = {}
    if coordinator != AUTO:
        if not 0 <= process < processes:
            raise UserError(f'--process={process}: must be from 0 to {processes - 1} (--processes={processes})')
        known = {'coordinator_address': coordinator, 'num_processes': processes, 'process_id': process}
    jax.config.update('jax_enable_preemption_service', False)  # it would keep SIGTERM from training.notice
    try:
        jax.distributed.initialize(**known, initialization_timeout=_FIND_EACH_OTHER)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f'--coordinator={coordinator}: the processes did not find each other ({reason[:200]}); start '
                        'all of them with the same address within five minutes, see docs/guides/devices.md') from error
    # Devices and connections are made by all processes at once, and here: later one may be busy preparing data.
    meet('start')
    if not is_writer():
        logging.getLogger('grasp_jax').setLevel(logging.WARNING)


def one_after_another(build: Callable[[], T]) -> T:
    """Runs `build` in the first process and, when that is done, in the others, which find everything built.

    The others wait at the coordinator, as long as it takes, not in a collective, which ends after half a minute.

    Raises:
      EndedElsewhere: `build` failed in the first process, which raises what it failed with.
    """
    if jax.process_count() == 1:
        return build()
    wait = functools.partial(multihost.get_barrier_sync_fn(), key=f'built{next(_NUMBERS)}', timeout_ms=_LONGEST_MS)
    if not is_writer():
        wait()
        code = agree(0)
        if code:
            raise EndedElsewhere(code)
        return build()
    try:
        found = build()
    except RunInterrupted:  # the signal has ended the others, who would be waited for
        raise
    except Exception as error:
        wait()
        agree(2 if isinstance(error, (UserError, OSError)) else 1)
        raise
    wait()
    agree(0)
    return found


def wait_for_all() -> None:
    """Waits at the end until every process is there, as long as the first one takes to write its report.

    JAX waits for five minutes when a process ends, and then crashes those that are there.
    """
    if jax.process_count() > 1:
        multihost.get_barrier_sync_fn()(key='all are done', timeout_ms=_LONGEST_MS)


def all_leave() -> bool:
    """Whether all processes are about to leave, after an error that all know of; waits for them for some seconds."""
    try:
        multihost.get_barrier_sync_fn()(key='leaving', timeout_ms=_LEAVE_TOGETHER_MS)
    except Exception:  # they are not, or the first one is gone
        return False
    return True


def is_writer() -> bool:
    """Whether this process writes files and shows progress."""
    return jax.process_index() == 0


def speaks() -> bool:
    """Whether this process says what all of them know; JAX is asked for no devices where there is one process."""
    return not jax.distributed.is_initialized() or is_writer()


def agree(value: int) -> int:
    """The first process' value, in all of them."""
    if jax.process_count() == 1:
        return value
    return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


def all_say(value: bool) -> bool:
    """Whether it is true in every process."""
    if jax.process_count() == 1:
        return value
    return bool(multihost_utils.process_allgather(np.bool_(value)).all())


def on_host(array: jax.Array) -> np.ndarray:
    """A whole array, in all of them, also where each has a part of it on its devices."""
    if array.is_fully_addressable or array.is_fully_replicated:
        return np.asarray(array)
    return np.asarray(multihost_utils.process_allgather(array, tiled=True))


def meet(what: str) -> None:
    """Waits until every process is here; `what` they wait for is the same text in all."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(what)

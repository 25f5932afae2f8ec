"""Timing side by side: the programs take turns, so that a slow minute of the machine hits all of them."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from grasp_jax.common.progress import Bar

_LIBRARIES = ('jax', 'jaxlib', 'flax', 'optax', 'numpy', 'scann', 'scikit-learn', 'torch')
Result = TypeVar('Result')
_STATUS = pathlib.Path('/proc/self/status')
_RESET_PEAK = pathlib.Path('/proc/self/clear_refs')


def alternate(programs: Mapping[str, Callable[[], Any]], rounds: int, warm_up: int = 2,
              label: str = '') -> dict[str, list[float]]:
    """Seconds of each call, the programs called in turn.

    Args:
      programs: name -> a call that returns when its work is done.
      rounds: timed calls of each.
      warm_up: calls of each before, which compile and fill caches.
      label: for the progress bar.
    """
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    with Bar(total=(warm_up + rounds) * len(programs), desc=label, unit='call', delay=1) as bar:
        for turn in range(-warm_up, rounds):
            for name, program in programs.items():
                begin = time.perf_counter()
                program()
                if turn >= 0:
                    seconds[name].append(time.perf_counter() - begin)
                bar.update()
    return seconds


def summary(seconds: list[float], per_call: int = 1) -> dict[str, float]:
    """Median, fastest and slowest call, divided by how many units a call holds."""
    return {'median_s': statistics.median(seconds) / per_call, 'min_s': min(seconds) / per_call,
            'max_s': max(seconds) / per_call, 'calls': len(seconds)}


def with_peak_memory(program: Callable[[], Result]) -> tuple[Result, int | None]:
    """Runs `program` once; its result, and bytes of memory that the process gained at most meanwhile.

    On Linux the peak of the resident set, which holds what both libraries allocate on a CPU; None elsewhere.
    """
    if jax.default_backend() != 'cpu':
        return program(), None
    try:
        _RESET_PEAK.write_text('5')
    except OSError:
        return program(), None
    before = _status('VmRSS')
    result = program()
    return result, max(_status('VmHWM') - before, 0)


def matmul() -> tuple[Callable[[], Any], int]:
    """A large float32 matrix product with JAX, which shows what the machine can do, and its floating-point
    operations."""
    size = 2048 if jax.default_backend() == 'cpu' else 8192
    left = jnp.ones((size, size), jnp.float32)
    product = jax.jit(lambda a, b: a @ b)
    return lambda: product(left, left).block_until_ready(), 2 * size ** 3


def matmul_rate(rounds: int = 15) -> float:
    """Floating-point operations per second of `matmul`."""
    program, flops = matmul()
    return flops / statistics.median(alternate({'matmul': program}, rounds)['matmul'])


def machine() -> dict[str, Any]:
    """Where and with what the figures were made."""
    versions = {}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {'date': datetime.date.today().isoformat(), 'processor': _processor(), 'cores': len(os.sched_getaffinity(0)),
            'device': f'{jax.device_count()} x {jax.devices()[0].device_kind}', 'python': platform.python_version(),
            'system': platform.system(), 'versions': versions, 'command': _command()}


def _command() -> str:
    return ' '.join(['python -m grasp_jax.benchmark', *sys.argv[1:]])


def _processor() -> str:
    try:
        lines = pathlib.Path('/proc/cpuinfo').read_text(encoding='utf-8').splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(':')[2].strip() for line in lines if line.startswith('model name')]
    return names[0] if names else platform.processor()


def _status(key: str) -> int:
    for line in _STATUS.read_text(encoding='utf-8').splitlines():
        if line.startswith(key + ':'):
            return 1024 * int(line.split()[1])
    return 0

"""Where the time of a call goes: a trace of it, and the operations that take most."""

import collections
import pathlib
from collections.abc import Callable
from typing import Any

import jax

from grasp_jax.common.errors import UserError

# On a CPU, what the runtime writes about itself lies among the operations.
_NOT_OPERATIONS = ('Thunk', 'Slinky', '$', 'end: ', 'Pjit', 'PjRt', 'Tfrt', 'TfrtCpu', 'ParseArguments', 'Wait',
                   'CommonPjRt')


def operations(program: Callable[[], Any], folder: pathlib.Path) -> list[dict[str, Any]]:
    """Traces one call and sums up its operations by name.

    Args:
      program: a call that returns when its work is done, compiled before.
      folder: gets the trace, which XProf and Perfetto open.

    Returns:
      name, seconds and number of each, the longest first; kernels on a GPU. On a CPU the program must have been
      compiled with XLA_FLAGS=--xla_cpu_enable_xprof_traceme=true, else there are none.

    Raises:
      UserError: no trace was written.
    """
    with jax.profiler.trace(str(folder)):
        program()
    traces = sorted(folder.rglob('*.xplane.pb'), key=lambda path: path.stat().st_mtime)
    if not traces:
        raise UserError(f'--profile={folder}: JAX wrote no trace there; name another folder')
    planes = list(jax.profiler.ProfileData.from_file(str(traces[-1])).planes)
    # Streams hold kernels; other lines of a device repeat them by module and step.
    lines = [line for plane in planes if plane.name.startswith('/device:') for line in plane.lines
             if line.name.startswith('Stream')]
    lines = lines or [line for plane in planes if plane.name.startswith('/host:CPU') for line in plane.lines]
    seconds: collections.Counter[str] = collections.Counter()
    calls: collections.Counter[str] = collections.Counter()
    for line in lines:
        for event in line.events:
            if not event.name.startswith(_NOT_OPERATIONS):
                seconds[event.name] += event.duration_ns / 1e9
                calls[event.name] += 1
    return [{'name': name, 'seconds': spent, 'calls': calls[name]} for name, spent in seconds.most_common()]

"""`benchmark communication`: what devices send each other in a training step, read off the compiled program.

Nothing is run: the step is compiled for meshes of simulated devices (weak scaling: as many users a device on each), and
every collective of its text is counted with its shape and the size of its group. Bytes that a device sends, n devices
in a group, rings:

    all-reduce           2 (n - 1) / n  x its bytes
    all-gather               (n - 1) / n  x the bytes of the result
    reduce-scatter           (n - 1)      x the bytes of the result
    all-to-all               (n - 1) / n  x its bytes
    collective-permute       1            x its bytes
"""

import dataclasses
import functools
import math
import re
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.batching import batches
from grasp_jax.benchmark.workload import Size, config_of
from grasp_jax.common.errors import UserError
from grasp_jax.distributed.frozen_vectors import FrozenVectors, padded_rows
from grasp_jax.distributed.sharding import make_mesh, state_shapes, table_mesh, table_shapes
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.training.batch import target_count
from grasp_jax.training.state import init_state
from grasp_jax.training.step import train_steps
from grasp_jax.training.train_spec import train_spec

_STEPS = 2  # in the compiled call; its loop is in the text once
_BYTES = {'pred': 1, 's8': 1, 'u8': 1, 'bf16': 2, 'f16': 2, 's32': 4, 'u32': 4, 'f32': 4, 's64': 8, 'u64': 8, 'f64': 8}
_COLLECTIVE = re.compile(r'= (?P<result>.*?) (?P<kind>all-reduce|all-gather|reduce-scatter|all-to-all|'
                         r'collective-permute)\(')
_SHAPE = re.compile(r'(\w+)\[([\d,]*)\]')
_LISTED = re.compile(r'replica_groups=\{\{([\d,]*)\}')  # the first group's devices
_COUNTED = re.compile(r'replica_groups=\[\d+,(\d+)\]')  # groups and devices of each
_PAIRS = re.compile(r'source_target_pairs=\{(\{.*?\})\}')  # who sends to whom
_NAMED = re.compile(r"replica_groups=mesh\[([^\]]*)\][^{]*\{([^}]*)\}")  # axes, and those that take part


@dataclasses.dataclass(frozen=True)
class Collective:
    """One collective of a program.

    Attributes:
      kind: as HLO names it.
      size: bytes of its result on a device.
      group: devices that take part.
    """

    kind: str
    size: int
    group: int

    @property
    def sent(self) -> float:
        """Bytes that a device sends."""
        n = self.group
        return self.size * {'all-reduce': 2 * (n - 1) / n, 'all-gather': (n - 1) / n, 'reduce-scatter': n - 1,
                            'all-to-all': (n - 1) / n, 'collective-permute': 1}[self.kind]


def measure(size: Size, backbone: str, shapes: list[tuple[int, int]], vector_dtype: str) -> Iterator[dict[str, Any]]:
    """Compiles the step of SASRec + GRASP and the like for each mesh and yields what its devices send.

    Args:
      size: sizes of a workload; `batch_size` is that of a device.
      backbone: of the model.
      shapes: ('data', 'model') of the meshes.
      vector_dtype: of the tables on the devices.

    Raises:
      UserError: fewer devices are simulated than a mesh has.
    """
    for shape in shapes:
        devices = math.prod(shape)
        if devices > jax.device_count():
            raise UserError(f'a mesh of {devices} devices, and {jax.device_count()} are there; simulate them with '
                            f'XLA_FLAGS=--xla_force_host_platform_device_count={devices}')
        found = collectives(compiled_text(size, backbone, shape, vector_dtype))
        by_kind: dict[str, float] = {}
        for each in found:
            by_kind[each.kind] = by_kind.get(each.kind, 0.0) + each.sent
        yield {'mesh': list(shape), 'devices': devices, 'backbone': backbone, 'collectives': len(found),
               'sent_mb': {kind: sent / 1e6 for kind, sent in sorted(by_kind.items())},
               'sent_mb_in_all': sum(by_kind.values()) / 1e6}


def compiled_text(size: Size, backbone: str, shape: tuple[int, int], vector_dtype: str) -> str:
    """The optimised HLO of a call of `train_steps`."""
    mesh = make_mesh(shape, jax.devices()[:math.prod(shape)])
    config = config_of(size, backbone=backbone, gate='calibrated', user_context='prefix')
    spec = model_spec(config, size.items, size.width)
    model = Recommender(dataclasses.replace(spec, table_mesh=table_mesh(mesh)))
    users = size.batch_size * mesh.size
    rows = math.ceil(size.batch_size * size.mean_length / spec.row_width) + 1
    items = jax.ShapeDtypeStruct((padded_rows(size.items + 1), size.width), jnp.dtype(vector_dtype))
    no_users = jax.ShapeDtypeStruct((0, size.width), jnp.dtype(vector_dtype))
    tables: Any = FrozenVectors(*(no_users, no_users, items, items))  # type: ignore[arg-type]
    state = jax.eval_shape(functools.partial(init_state, model, train_spec(config), seed=0), tables)
    nothing, lengths = np.zeros((_STEPS, users), np.int32), np.full((_STEPS, users), round(size.mean_length), np.int32)
    row = np.broadcast_to(np.arange(users, dtype=np.int32) // size.batch_size * rows, lengths.shape)  # of its device
    placement = batches.RowPlacement(nothing, nothing, lengths, row, nothing)
    count = target_count(model, train_spec(config))
    plan = batches.EpochPlan(placement, rows * mesh.size, spec.row_width)
    wanted = batches.BatchSizes(plan.num_rows, mesh.size, count(plan, mesh.size) if count else 0)
    history: Any = jax.ShapeDtypeStruct((int(size.users * size.mean_length),), jnp.int32)
    data = DeviceData(history, table_shapes(tables, mesh))
    lowered = train_steps.lower(model, train_spec(config), mesh, wanted, data, state_shapes(state, mesh),
                                batches.StepPlan(placement))
    return lowered.compile().as_text() or ''


def collectives(text: str) -> list[Collective]:
    """Every collective of a program's text among more than one device."""
    found = []
    for line in text.splitlines():
        match = _COLLECTIVE.search(line)
        if match is None:
            continue
        size = sum(_BYTES[kind] * math.prod(int(number) for number in dims.split(',') if number)
                   for kind, dims in _SHAPE.findall(match['result']))
        if (group := _group(line)) > 1:
            found.append(Collective(match['kind'], size, group))
    return found


def _group(line: str) -> int:
    """Devices of a group, in any of the three ways in which HLO names them; 2 where one sends to another."""
    if pairs := _PAIRS.search(line):
        return 1 + any(one != other for one, other in re.findall(r'\{(\d+),(\d+)\}', pairs[1]))
    if listed := _LISTED.search(line):
        return len(listed[1].split(','))
    if counted := _COUNTED.search(line):
        return int(counted[1])
    named = _NAMED.search(line)
    if named is None:
        raise ValueError(f'no groups in {line[:200]}')
    sizes = dict(re.findall(r"'(\w+)'=(\d+)", named[1]))
    return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", named[2]))

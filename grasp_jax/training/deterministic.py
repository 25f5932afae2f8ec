"""A batch in a fixed number of parts: the same training, bit for bit, on any number of devices.

Sums of floating-point numbers depend on their order, and Adam's first steps make much of their last bits. Here each
part of a batch is computed by itself, by the same program wherever it lies, and every device adds the parts' gradients
up in the same order. The price is smaller products, and the gradients of all parts on every device.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from grasp_jax.batching.batches import PackedRows
from grasp_jax.batching.sampling import StepSamples, Targets
from grasp_jax.common.errors import UserError
from grasp_jax.distributed.partition import AXES, BOTH_AXES, REPLICATED
from grasp_jax.models.spec import ModelSpec


class MicroBatch(NamedTuple):
    """What a part has of its own; the fields of several parts have one more axis in front.

    Attributes:
      number: int32, which part it is; its dropout depends on it.
      packed: rows [R / parts, W].
      masked: bool [R / parts, W].
      targets: fields [1, T] and [1, P].
      negatives: int32 [1, T, N]; None where all targets of the batch share the same ones.
    """

    number: jax.Array
    packed: PackedRows
    masked: jax.Array
    targets: Targets
    negatives: jax.Array | None


class SharedInputs(NamedTuple):
    """What all parts read.

    Attributes:
      params: what the gradient is for.
      known: the rest of what the loss reads.
      shared: int32 [N], negatives that all targets share.
      total: float32 scalar, targets of the batch.
      key: of the dropout of this step.
    """

    params: Any
    known: Any
    shared: jax.Array
    total: jax.Array
    key: jax.Array


Loss = Callable[[Any, Any, PackedRows, StepSamples, jax.Array], jax.Array]  # params, known, rows, drawn, dropout key


def check_micro_batches(parts: int, spec: ModelSpec, mesh: Mesh) -> None:
    """Checks `config.train.micro_batches` against the model and the devices.

    Raises:
      UserError: names the setting and the remedy.
    """
    if not parts:
        return
    if parts < 0 or parts % mesh.size:
        raise UserError(f'train.micro_batches={parts}: must be a multiple of the number of devices, {mesh.size}, or 0')
    if mesh.shape['model'] > 1:
        raise UserError(f'train.micro_batches={parts}: every device needs whole tables; use '
                        'train.mesh="(-1,1)" or parts=0')
    if spec.aux_loss_weight:
        raise UserError(f'train.micro_batches={parts}: {spec.method} compares items or users across the batch; use '
                        'parts=0 or another method')


def value_and_grad(loss: Loss, mesh: Mesh, parts: int, params: Any, known: Any, packed: PackedRows, drawn: StepSamples,
                   key: jax.Array) -> tuple[jax.Array, Any]:
    """The loss of a batch and its gradient, from those of its parts.

    Args:
      loss: mean over the targets of the rows that it gets.
      mesh: devices; every one has whole tables.
      parts: how many there are, a multiple of the number of devices.
      params, known: arguments of the loss.
      packed: rows [R, W], R a multiple of `parts`.
      drawn: with `parts` groups of targets.
      key: of the dropout of this step.

    Returns:
      scalar, and a tree like `params`.
    """
    own = drawn.negatives.ndim > 1
    split = jax.tree.map(lambda field: field.reshape(parts, -1, *field.shape[1:]),
                         (packed, drawn.masked, drawn.targets, drawn.negatives if own else None))
    whole = SharedInputs(params, known, jnp.zeros(0, jnp.int32) if own else drawn.negatives,
                         jnp.sum(drawn.targets.exist).astype(jnp.float32), key)

    def here(some: MicroBatch, whole: SharedInputs) -> Any:
        found = _one_by_one(lambda part: _part(loss, part, whole), some, whole.total >= 0)
        return jax.lax.all_gather(found, AXES, tiled=True)

    found = jax.shard_map(here, mesh=mesh, in_specs=(BOTH_AXES, REPLICATED), out_specs=REPLICATED,
                          check_vma=False)(MicroBatch(jnp.arange(parts), *split), whole)

    def add(total: Any, part: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, part), None

    return jax.lax.scan(add, jax.tree.map(lambda field: jnp.zeros_like(field[0]), found), found)[0]


def _part(loss: Loss, part: MicroBatch, whole: SharedInputs) -> tuple[jax.Array, Any]:
    """A part's share of the batch's loss, and its gradient."""
    drawn = StepSamples(part.masked, part.targets, whole.shared if part.negatives is None else part.negatives)
    share = jnp.sum(part.targets.exist) / jnp.maximum(whole.total, 1)
    key = jax.random.fold_in(whole.key, part.number)
    return jax.value_and_grad(lambda params: share * loss(params, whole.known, part.packed, drawn, key))(whole.params)


def _one_by_one(program: Callable[[MicroBatch], Any], some: MicroBatch, always: jax.Array) -> Any:
    """As `jax.lax.map`. `always` is true, which the compiler does not know: so it compiles the program by itself, and
    not together with the loop, which is another one for another number of parts here."""
    number = len(some.number)
    shapes = jax.eval_shape(program, jax.tree.map(lambda field: field[0], some))

    def zeros(*front: int) -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros((*front, *leaf.shape), leaf.dtype), shapes)

    def turn(at: jax.Array, found: Any) -> Any:
        result = jax.lax.cond(always, program, lambda _: zeros(), jax.tree.map(lambda field: field[at], some))
        return jax.tree.map(lambda all_parts, one: all_parts.at[at].set(one), found, result)

    return jax.lax.fori_loop(0, jnp.where(always, number, 0), turn, zeros(number))

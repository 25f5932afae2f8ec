"""The many small arrays of a state as one: each array costs Orbax 1 to 2 ms of a save, at any size."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding

from grasp_jax.distributed.partition import REPLICATED

_SMALL = 2 ** 17  # numbers; larger ones, as tables of ids, keep their own place and how they are split


class FlatState(NamedTuple):
    """What a checkpoint holds of a state.

    Attributes:
      small: uint32 [n], the bits of all arrays of at most 2 ** 17 numbers, one after the other.
      large: the other arrays, in the order of the tree.
    """

    small: Any
    large: tuple[Any, ...]


def pack(state: Any) -> FlatState:
    """A copy of a tree of arrays of 32-bit numbers."""
    small, large = _apart(state)
    return FlatState(_joined(small), tuple(jnp.copy(leaf) for leaf in large))


def flat_shapes(shapes: Any, mesh: Mesh) -> FlatState:
    """How a packed tree lies on the devices.

    Args:
      shapes: shape, dtype and sharding of every array.
      mesh: devices; each gets the small arrays whole.
    """
    small, large = _apart(shapes)
    size = sum(leaf.size for leaf in small)
    return FlatState(jax.ShapeDtypeStruct((size,), jnp.uint32, sharding=NamedSharding(mesh, REPLICATED)), tuple(large))


def unpack(packed: FlatState, shapes: Any) -> Any:
    """The tree that was packed.

    Args:
      packed: as `flat_shapes` says.
      shapes: shape, dtype and sharding of every array of the tree.
    """
    bits, large, begin = np.asarray(packed.small), iter(packed.large), 0
    leaves, structure = jax.tree.flatten(shapes)
    found = []
    for leaf in leaves:
        if is_small(leaf):
            own = bits[begin:begin + leaf.size].copy()  # a step may write into what it was given
            found.append(_put(own.view(leaf.dtype).reshape(leaf.shape), leaf.sharding))
            begin += leaf.size
        else:
            found.append(next(large))
    return jax.tree.unflatten(structure, found)


def _put(array: np.ndarray, sharding: jax.sharding.Sharding) -> jax.Array:
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


@jax.jit
def _joined(leaves: list[jax.Array]) -> jax.Array:
    return jnp.concatenate([jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1) for leaf in leaves])


def _apart(tree: Any) -> tuple[list[Any], list[Any]]:
    leaves = jax.tree.leaves(tree)
    return [leaf for leaf in leaves if is_small(leaf)], [leaf for leaf in leaves if not is_small(leaf)]


def is_small(leaf: Any) -> bool:
    """Whether an array is packed with others.

    Example:
      >>> is_small(np.zeros(2 ** 17)), is_small(np.zeros((2 ** 17, 2)))
      (True, False)
    """
    return leaf.size <= _SMALL

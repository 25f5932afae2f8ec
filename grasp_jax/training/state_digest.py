"""A number that tells whether a saved state is still what was saved."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.training.state_packing import FlatState, is_small, pack

_BASE = 31  # what the sum over one array is worth beside that of the next


def digest(state: Any, packed: FlatState | None = None) -> jax.Array:
    """uint32 that a change of any number of a state changes; the same on any mesh.

    Array number l of L with words w_j adds 31 ** (L - 1 - l) * sum_j (w_j xor l) (2 j + 1), modulo 2 ** 32. Small
    arrays are summed as one: a reduction for each of them takes a second to compile.

    Args:
      state: a tree of arrays of 32-bit numbers.
      packed: the same tree, where it is packed already.

    Example:
      >>> state = {'a': jnp.array([1, 2], jnp.uint32), 'b': jnp.array([3], jnp.uint32)}
      >>> int(digest(state)), 31 * (1 * 1 + 2 * 3) + (3 ^ 1)
      (219, 219)
    """
    leaves = jax.tree.leaves(state)
    kinds = [is_small(leaf) for leaf in leaves]
    small = [number for number, kind in enumerate(kinds) if kind]
    large = [number for number, kind in enumerate(kinds) if not kind]
    begins = np.cumsum([0, *(leaves[number].size for number in small)])[:-1]
    return _digest(pack(state) if packed is None else packed, begins.astype(np.uint32),
                   _numbers(small), _factors(small, len(leaves)), _numbers(large), _factors(large, len(leaves)))


@jax.jit
def _digest(packed: FlatState, begins: jax.Array, small: jax.Array, small_factors: jax.Array, large: jax.Array,
            large_factors: jax.Array) -> jax.Array:
    """`digest`, from where small arrays begin among those packed, all arrays' numbers and what they are worth."""
    place = jnp.arange(packed.small.size, dtype=jnp.uint32)
    own = jnp.searchsorted(begins, place, side='right') - 1
    odd = 2 * (place - begins[own]) + 1  # an odd factor loses nothing modulo 2 ** 32
    total = jnp.sum((packed.small ^ small[own]) * odd * small_factors[own], dtype=jnp.uint32)
    for leaf, number, factor in zip(packed.large, large, large_factors, strict=True):
        words = jax.lax.bitcast_convert_type(leaf, jnp.uint32).reshape(-1)
        odd = 2 * jnp.arange(words.size, dtype=jnp.uint32) + 1
        total += factor * jnp.sum((words ^ number) * odd, dtype=jnp.uint32)
    return total


def digest_on_host(state: Any) -> int:
    """`digest` without a program to compile, where this process has all numbers."""
    if jax.process_count() > 1:
        return int(digest(state))
    total = np.zeros((), np.uint32)
    with np.errstate(over='ignore'):
        for number, leaf in enumerate(jax.tree.leaves(state)):
            words = np.ascontiguousarray(np.asarray(leaf)).reshape(-1).view(np.uint32)
            odd = 2 * np.arange(words.size, dtype=np.uint32) + np.uint32(1)
            total = total * np.uint32(_BASE) + np.sum((words ^ np.uint32(number)) * odd, dtype=np.uint32)
    return int(total)


def _numbers(of: Sequence[int]) -> np.ndarray:
    return np.array(of, np.uint32)


def _factors(of: Sequence[int], arrays: int) -> np.ndarray:
    return np.array([pow(_BASE, arrays - 1 - number, 2 ** 32) for number in of], np.uint32)

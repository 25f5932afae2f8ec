"""Products of many rows with a kernel, in full or in half precision."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

# On a CPU: rows whose part of a kernel's gradient is computed at once. Elsewhere: all.
_BLOCK = 512


def product(rows: jax.Array, kernel: jax.Array, dtype: str = 'float32') -> jax.Array:
    """rows @ kernel.

    Args:
      rows: float32 [..., E]; [m, E] where `dtype` is another one.
      kernel: float32 [E, F].
      dtype: in which factors are multiplied, also in the gradient, float32 or bfloat16; sums are float32 either way.
        CPUs and accelerators with units for it multiply bfloat16 several times faster.

    Returns:
      float32 [..., F].
    """
    return rows @ kernel if dtype == 'float32' else _rounded(rows, kernel, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded(rows: jax.Array, kernel: jax.Array, dtype: str) -> jax.Array:
    return summed('me,ef->mf', rows.astype(dtype), kernel.astype(dtype))


def _rounded_forward(rows: jax.Array, kernel: jax.Array, dtype: str) -> tuple[jax.Array, Any]:
    return _rounded(rows, kernel, dtype), (rows.astype(dtype), kernel.astype(dtype))


def _rounded_backward(dtype: str, saved: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both gradients block by block. The copies with the order of axes turned are made outside of the loops: where a
    compiler for CPUs sees that a factor is turned it gives up bfloat16 (12,101 rows of 768, F = 256, on one core with
    units for it, forward and backward: 110 ms instead of 52)."""
    rows, kernel = saved
    cotangents = _blocks(cotangent.astype(dtype))

    def add(total: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return total + summed('em,mf->ef', *block), None

    to_kernel, _ = jax.lax.scan(add, jnp.zeros(kernel.shape), (jnp.swapaxes(_blocks(rows), 1, 2), cotangents))
    by_output = kernel.T
    to_rows = jax.lax.map(lambda block: summed('mf,fe->me', block, by_output), cotangents)
    return to_rows.reshape(-1, rows.shape[1])[:len(rows)], to_kernel


_rounded.defvjp(_rounded_forward, _rounded_backward)


def _blocks(rows: jax.Array) -> jax.Array:
    return in_blocks(rows, min(_BLOCK, len(rows)) if jax.default_backend() == 'cpu' else len(rows))


def in_blocks(rows: jax.Array, size: int) -> jax.Array:
    """[m, E] -> [K, size, E], filled up with zeros."""
    count = -(-len(rows) // size)
    return jnp.pad(rows, ((0, count * size - len(rows)), (0, 0))).reshape(count, size, -1)


def summed(equation: str, first: jax.Array, second: jax.Array) -> jax.Array:
    """An einsum of factors in any type, summed up in float32."""
    return jnp.einsum(equation, first, second, preferred_element_type=jnp.float32)

"""Products of many rows with a kernel, in full or in half precision."""

import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp

_CPU_FLAGS = pathlib.Path('/proc/cpuinfo')
# What Linux calls units for bfloat16: two of x86, one of ARM.
_UNITS = frozenset(('avx512_bf16', 'amx_bf16', 'bf16'))
# On a CPU: rows whose part of a kernel's gradient is computed at once. Elsewhere: all.
_BLOCK = 512


def product(rows: jax.Array, kernel: jax.Array, dtype: str = 'float32') -> jax.Array:
    """rows @ kernel.

    Args:
      rows: float32 [..., E]; [m, E] where `dtype` is another one.
      kernel: float32 [E, F].
      dtype: to which factors are rounded, also in the gradient, as in `as_factor`; sums are float32 either way.

    Returns:
      float32 [..., F].
    """
    return rows @ kernel if dtype == 'float32' else _rounded(rows, kernel, dtype)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _rounded(rows: jax.Array, kernel: jax.Array, dtype: str) -> jax.Array:
    return summed('me,ef->mf', as_factor(rows, dtype), as_factor(kernel, dtype))


def _rounded_forward(rows: jax.Array, kernel: jax.Array, dtype: str) -> tuple[jax.Array, Any]:
    return _rounded(rows, kernel, dtype), (as_factor(rows, dtype), as_factor(kernel, dtype))


def _rounded_backward(dtype: str, saved: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Both gradients block by block. The copies with the order of axes turned are made outside of the loops: where a
    compiler for CPUs sees that a factor is turned it gives up bfloat16 (12,101 rows of 768, F = 256, on one core with
    units for it, forward and backward: 110 ms instead of 52)."""
    rows, kernel = saved
    cotangents = _blocks(as_factor(cotangent, dtype))

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


def as_factor(values: jax.Array, dtype: str) -> jax.Array:
    """Values of a product, rounded to `dtype`: float32 or bfloat16.

    They come in that type where this device has units for it, and multiplies it several times faster. A CPU without
    them takes 1.6 times as long for bfloat16 as for float32, so there the rounded values come in float32. Products of
    either are equal but for the order in which they are summed up.

    Example:
      >>> float(as_factor(jnp.float32(1.001), 'bfloat16')), float(as_factor(jnp.float32(1.001), 'float32'))
      (1.0, 1.0010000467300415)
    """
    if dtype == 'float32' or jax.default_backend() != 'cpu' or cpu_has_units():
        return values.astype(dtype)
    found = jnp.finfo(dtype)
    return jax.lax.reduce_precision(values, found.nexp, found.nmant)


@functools.cache
def cpu_has_units() -> bool:
    """Whether this CPU says that it has units for bfloat16; where it cannot be asked, it has none."""
    try:
        text = _CPU_FLAGS.read_text(errors='replace')
    except OSError:
        return False
    flags = (line.split(':', 1)[-1].split() for line in text.splitlines() if line.startswith(('flags', 'Features')))
    return not _UNITS.isdisjoint(next(flags, ()))

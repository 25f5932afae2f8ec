"""Training losses as pure functions of scores; a mask says which positions count."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from grasp_jax.models.attention import row_dot
from grasp_jax.models.products import as_factor, in_blocks, summed

NEVER = -1e9  # a score that counts for nothing in a softmax
# Items whose scores a softmax over the whole catalogue holds at once. Those of a small block stay in the cache of a
# CPU: 72 ms instead of 93 for 1,000 positions, 12,101 items and a width of 64; an accelerator wants large ones.
SOFTMAX_BLOCKS = {'cpu': 512}
SOFTMAX_BLOCK = 4096
SOFTMAX_DTYPES = ('float32', 'bfloat16')


def binary_cross_entropy(positive: jax.Array, negative: jax.Array, weight: jax.Array) -> jax.Array:
    """Eq. 6 over one positive and N negatives a position.

    L = -1/|B| sum_j [ y_j log s_j + (1 - y_j) log(1 - s_j) ], s = sigmoid(score), |B| the number of scored candidates.

    Args:
      positive: [G, T], scores of the true items.
      negative: [G, T, N], scores of the negatives.
      weight: [G, T], 1 where there is a target, else 0.

    Returns:
      scalar; 0 where no position counts.

    Example:
      >>> nothing, one = jnp.zeros((1, 1)), jnp.ones((1, 1))
      >>> round(binary_cross_entropy(nothing, jnp.zeros((1, 1, 3)), one).item(), 4)  # log 2: nothing is known yet
      0.6931
    """
    losses = optax.sigmoid_binary_cross_entropy(positive, jnp.ones_like(positive))
    losses += jnp.sum(optax.sigmoid_binary_cross_entropy(negative, jnp.zeros_like(negative)), -1)
    candidates = jnp.sum(weight) * (1 + negative.shape[-1])
    return jnp.sum(losses * weight) / jnp.maximum(candidates, 1)


def generalised_bce(positive: jax.Array, negative: jax.Array, weight: jax.Array, share: float,
                    calibration: float) -> jax.Array:
    """gBCE (Petrov and Macdonald, gSASRec, RecSys 2023, Eq. 8 to 10): BCE that undoes what sampling does to chances.

    L = -beta log s+ - sum log(1 - s-), beta = a (t (1 - 1/a) + 1/a), a the share of the catalogue that is sampled.

    Args:
      positive, negative, weight: as in `binary_cross_entropy`.
      share: a, N / (m - 1).
      calibration: t; 0 gives BCE, 1 chances that are fully calibrated.

    Returns:
      scalar, the mean over positions.

    Example:
      >>> scores = jnp.zeros((1, 1)), jnp.zeros((1, 1, 1)), jnp.ones((1, 1))
      >>> round(generalised_bce(*scores, share=0.1, calibration=0.0).item(), 4)  # 2 log 2, as BCE
      1.3863
      >>> round(generalised_bce(*scores, share=0.1, calibration=1.0).item(), 4)  # 1.1 log 2, since beta is 0.1
      0.7625
    """
    beta = share * (calibration * (1 - 1 / share) + 1 / share)
    losses = beta * optax.sigmoid_binary_cross_entropy(positive, jnp.ones_like(positive))
    losses += jnp.sum(optax.sigmoid_binary_cross_entropy(negative, jnp.zeros_like(negative)), -1)
    return _mean(losses, weight)


def sampled_softmax(positive: jax.Array, negative: jax.Array, weight: jax.Array) -> jax.Array:
    """Cross entropy of the true item among itself and N negatives.

    Where some items are drawn more often than others, what comes in is scores less `log_chance`, those of the true
    items too (Bengio and Senecal, 2008): then chances of the whole catalogue are learned.

    Args:
      positive, negative, weight: as in `binary_cross_entropy`.

    Returns:
      scalar, the mean over positions.

    Example:
      >>> scores = jnp.zeros((1, 1)), jnp.zeros((1, 1, 3)), jnp.ones((1, 1))
      >>> round(sampled_softmax(*scores).item(), 4)  # log 4: one of four
      1.3863
    """
    scores = jnp.concatenate([positive[..., None], negative], -1)
    return _mean(jax.nn.logsumexp(scores, -1) - positive, weight)


def log_chance(cumulative: jax.Array, ids: jax.Array) -> jax.Array:
    """Log of how often items are drawn, relative to a uniform draw.

    Args:
      cumulative: uint32 [m], chances of items 1..m, see `data.draws.cumulated`.
      ids: int [...].

    Returns:
      [...]; any number for id 0.
    """
    draws = jnp.diff(cumulative, prepend=jnp.uint32(2 ** 32 - 1))[ids - 1]
    return jnp.log(draws.astype(jnp.float32) * (len(cumulative) / 2 ** 32))


def full_softmax(queries: jax.Array, true: jax.Array, items: jax.Array, weight: jax.Array,
                 dtype: str = 'float32') -> jax.Array:
    """Cross entropy of the true item in the whole catalogue; holds the scores of one block of items at a time.

    Args:
      queries: [G, T, F].
      true: int [G, T], rows of the true items.
      items: [m, F]; scores are dot products with queries.
      weight: [G, T].
      dtype: to which queries and items are rounded, as in `log_sum_exp`.

    Returns:
      scalar, the mean over positions.

    Example:
      >>> queries, true, weight = jnp.zeros((1, 1, 2)), jnp.array([[3]]), jnp.ones((1, 1))
      >>> round(full_softmax(queries, true, jnp.ones((8, 2)), weight).item(), 4)  # log 8: one of eight
      2.0794
    """
    among = log_sum_exp(queries.reshape(-1, queries.shape[-1]), items, dtype).reshape(true.shape)
    # Of rounded factors too, or a loss could fall below zero.
    positive = row_dot(*(as_factor(factor, dtype).astype(jnp.float32) for factor in (queries, items[true])))
    return _mean(among - positive, weight)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def log_sum_exp(queries: jax.Array, items: jax.Array, dtype: str = 'float32') -> jax.Array:
    """log sum_j exp(q . i_j), as `plain_forms.plain_log_sum_exp`, block by block; the gradient makes the scores anew
    instead of keeping them.

    Args:
      queries: [P, F].
      items: [m, F].
      dtype: to which factors are rounded, as in `products.as_factor`; sums are float32 either way.

    Returns:
      [P].

    Example:
      >>> round(log_sum_exp(jnp.zeros((1, 2)), jnp.ones((8, 2)))[0].item(), 4)  # log 8
      2.0794
    """
    factors = as_factor(queries, dtype)

    def one(so_far: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return jnp.logaddexp(so_far, jax.nn.logsumexp(_scores(factors, *block), -1)), None

    return jax.lax.scan(one, jnp.full(len(queries), NEVER), _blocks(as_factor(items, dtype)))[0]


def _log_sum_exp_forward(queries: jax.Array, items: jax.Array, dtype: str) -> tuple[jax.Array, Any]:
    total = log_sum_exp(queries, items, dtype)
    return total, (queries, items, total)


def _log_sum_exp_backward(dtype: str, saved: Any, cotangent: jax.Array) -> tuple[jax.Array, jax.Array]:
    queries, items, total = saved
    factors = as_factor(queries, dtype)
    # Positions of both factors in the order that CPUs multiply in: with `chance.T @ factors` the whole takes 65 ms
    # instead of 39 in bfloat16 and 101 instead of 94 in float32 (850 positions, 12,101 items, a width of 128).
    turned = jax.lax.optimization_barrier(factors.T)

    def one(to_queries: jax.Array, block: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        chance = as_factor(jnp.exp(_scores(factors, *block) - total[:, None]) * cotangent[:, None], dtype)
        return to_queries + summed('pk,kf->pf', chance, block[0]), summed('fp,pk->fk', turned, chance)

    to_queries, to_items = jax.lax.scan(one, jnp.zeros_like(queries), _blocks(as_factor(items, dtype)))
    return to_queries, jnp.moveaxis(to_items, 1, 2).reshape(-1, items.shape[-1])[:len(items)]


log_sum_exp.defvjp(_log_sum_exp_forward, _log_sum_exp_backward)


def _scores(queries: jax.Array, items: jax.Array, exist: jax.Array) -> jax.Array:
    """[P, F], items [K, F] and which of them exist, [K] -> float32 [P, K]."""
    return jnp.where(exist[None], summed('pf,kf->pk', queries, items), NEVER)


def _blocks(items: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Items [m, F] as blocks [K, size, F], and bool [K, size] which of the rows are items."""
    size = min(SOFTMAX_BLOCKS.get(jax.default_backend(), SOFTMAX_BLOCK), len(items))
    blocks = in_blocks(items, size)
    return blocks, (jnp.arange(len(blocks) * size) < len(items)).reshape(-1, size)


def _mean(losses: jax.Array, weight: jax.Array) -> jax.Array:
    return jnp.sum(losses * weight) / jnp.maximum(jnp.sum(weight), 1)

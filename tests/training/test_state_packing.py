"""Packing loses no bit, on any mesh, and what is packed is a copy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.distributed.sharding import make_mesh, state_shapes
from grasp_jax.training.state_packing import flat_shapes, pack, unpack


def state():
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 2 ** 32, 7, np.uint32)
    return {'step': np.int32(-5), 'odd': bits.view(np.float32), 'key': bits[:2], 'kernel': rng.normal(size=(3, 5)),
            'none': np.zeros((0, 4), np.float32), 'narrow': {'embedding': rng.normal(size=(64, 4))},
            'wide': {'embedding': rng.normal(size=(1024, 129))}, 'row': rng.normal(size=2 ** 17 + 1)}


@pytest.mark.parametrize('before', [(1, 1), (2, 4)])
@pytest.mark.parametrize('after', [(1, 1), (2, 4), (8, 1)])
def test_every_bit_comes_back_on_any_mesh(before, after):
    one, other = (make_mesh(shape, jax.devices()[:shape[0] * shape[1]]) for shape in (before, after))
    given = jax.tree.map(lambda leaf: jnp.asarray(leaf, None if leaf.dtype != np.float64 else jnp.float32), state())
    placed = jax.tree.map(lambda leaf, shape: jax.device_put(leaf, shape.sharding), given, state_shapes(given, one))
    shapes = state_shapes(given, other)
    wanted, found = flat_shapes(shapes, other), pack(placed)
    assert [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(wanted)] == [
        (leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(found)]
    assert [leaf.shape for leaf in found.large] == [(2 ** 17 + 1,), (1024, 129)], 'large ones keep their own place'
    moved = jax.tree.map(lambda leaf, shape: jax.device_put(leaf, shape.sharding), found, wanted)
    back = unpack(moved, shapes)
    for a, b, shape in zip(*map(jax.tree.leaves, (given, back, shapes)), strict=True):
        assert b.sharding == shape.sharding and b.dtype == a.dtype and not b.weak_type
        one_bits, other_bits = (np.asarray(leaf).reshape(-1).view(np.uint32) for leaf in (a, b))
        np.testing.assert_array_equal(one_bits, other_bits)


def test_what_is_packed_stays_when_the_next_step_takes_the_state():
    given = {'small': jnp.arange(8.0), 'large': jnp.ones(2 ** 18)}
    kept = pack(given)
    jax.block_until_ready(jax.jit(lambda tree: jax.tree.map(lambda leaf: leaf + 1, tree), donate_argnums=0)(given))
    np.testing.assert_array_equal(np.asarray(kept.small).view(np.float32), np.arange(8))
    np.testing.assert_array_equal(kept.large[0], np.ones(2 ** 18))

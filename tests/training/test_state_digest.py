"""The digest of a state is one number on a device and on the host, and every change of a state changes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.training import state_packing
from grasp_jax.training.state_digest import digest, digest_on_host


def some_state():
    rng = np.random.default_rng(0)
    return {'step': jnp.asarray(3), 'table': jnp.asarray(rng.normal(size=(40, 8)), jnp.float32),
            'bias': jnp.asarray(rng.normal(size=7), jnp.float32), 'key': jnp.asarray([5, 2 ** 32 - 1], jnp.uint32)}


@pytest.mark.parametrize('small', (1, 7, 100, 1000))
def test_the_digest_is_the_same_on_a_device_and_on_the_host_however_arrays_are_packed(monkeypatch, small):
    monkeypatch.setattr(state_packing, '_SMALL', small)
    state = some_state()
    assert int(digest(state)) == int(digest(state, state_packing.pack(state))) == digest_on_host(state)


def test_a_digest_is_what_earlier_versions_saved():
    assert digest_on_host(some_state()) == int(digest(some_state())) == 2381160619


@pytest.mark.parametrize('name', ('step', 'table', 'bias', 'key'))
@pytest.mark.parametrize('place', (0, -1))
def test_any_changed_bit_of_any_array_changes_it(name, place):
    state = some_state()
    words = np.array(state[name]).reshape(-1)
    words.view(np.uint32)[place] ^= 1 << 30
    changed = {**state, name: jnp.asarray(words.reshape(state[name].shape))}
    assert int(digest(changed)) == digest_on_host(changed) != digest_on_host(state)


def test_arrays_that_change_places_change_it():
    one, other = jnp.asarray([1.0, 2.0]), jnp.asarray([2.0, 1.0])
    assert int(digest([one, other])) != int(digest([other, one])) != int(digest([one, one]))


@pytest.mark.parametrize('devices', (2, 8))
def test_a_split_table_has_the_digest_of_the_whole(monkeypatch, devices):
    monkeypatch.setattr(state_packing, '_SMALL', 100)
    state = some_state()
    mesh = jax.make_mesh((devices,), ('rows',), devices=jax.devices()[:devices])
    rows = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec('rows'))
    everywhere = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    split = {name: jax.device_put(leaf, rows if name == 'table' else everywhere) for name, leaf in state.items()}
    assert int(digest(split)) == digest_on_host(state)

"""GRASP mixed with ids: three views that learn apart and rank together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.models.methods.grasp_mixture import RecentContent
from grasp_jax.training.objective import ranking_loss
from grasp_jax.training.train_spec import train_spec
from tests.training.test_methods import first_batch

LOSSES = {'softmax': {'loss': 'softmax'}, 'bce': {'loss': 'bce'},
          'sampled_softmax': {'loss': 'sampled_softmax', 'negatives': 8, 'shared_negatives': True}}
TEXT, IDS = 'text', 'embedding'


def loss_of(run, batch, drawn, params, view=None):
    """The recipe's loss without dropout; with a view, that of its part of the states and scores alone."""
    def call(model):
        encoded = model(run.data.tables, batch.users, batch.packed, drawn.masked, train=False)
        if view is not None:
            own = jnp.arange(encoded.states.shape[-1]) // model.spec.hidden_size == view
            encoded = encoded._replace(states=encoded.states * own[None, None])
        return ranking_loss(model, train_spec(run.config), run.data, batch, drawn, encoded)

    return run.model.apply({'params': params}, method=call)


def changed_part(params, name):
    """Parameters with other values in one part of the item encoder."""
    encoder = params['encoder']
    return {**params, 'encoder': {**encoder, name: jax.tree.map(lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(
        leaf.size, dtype=leaf.dtype)).reshape(leaf.shape), encoder[name])}}


@pytest.mark.slow
@pytest.mark.parametrize(('loss', 'backbone'), [
    ('softmax', 'sasrec'), ('softmax', 'bert4rec'), ('bce', 'sasrec'), ('sampled_softmax', 'gru4rec')])
def test_what_one_view_learns_does_not_depend_on_the_other(small_run, loss, backbone):
    run = small_run(method='grasp_mixture', backbone=backbone, train=LOSSES[loss])
    batch, drawn, _, state = first_batch(run)
    slope = jax.jit(jax.grad(functools.partial(loss_of, run, batch, drawn)))
    plain = slope(state.params)['encoder']
    for mine, other in ((TEXT, IDS), (IDS, TEXT)):
        found = slope(changed_part(state.params, other))['encoder'][mine]
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7), found, plain[mine])
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(plain[mine])) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize('loss', LOSSES)
def test_the_loss_is_the_sum_of_all_views(small_run, loss):
    run = small_run(method='grasp_mixture', train=LOSSES[loss])
    batch, drawn, _, state = first_batch(run)
    together, *apart = (loss_of(run, batch, drawn, state.params, view) for view in (None, 0, 1, 2))
    # A view without states scores all items alike; its loss is that of knowing nothing, in the sum of each other view.
    nothing = loss_of(run, batch, drawn, state.params, 3) / 3
    np.testing.assert_allclose(together, sum(apart) - 6 * nothing, rtol=1e-5)


@pytest.mark.slow
def test_of_the_content_two_numbers_are_trained_and_nothing_else(small_run):
    run = small_run(method='grasp_mixture', train=LOSSES['softmax'])
    batch, drawn, _, state = first_batch(run)
    slope = jax.grad(functools.partial(loss_of, run, batch, drawn))(state.params)
    assert not np.any(slope['encoder']['content_kernel'])
    assert set(slope['recent_content']) == {'log_rate', 'log_scale'}
    assert all(abs(float(leaf)) > 1e-4 for leaf in slope['recent_content'].values())
    # Weight decay changes the kernel's scale; nothing that is read depends on it.
    smaller = {**state.params, 'encoder': {**state.params['encoder'],
                                           'content_kernel': 0.5 * state.params['encoder']['content_kernel']}}
    np.testing.assert_allclose(loss_of(run, batch, drawn, smaller), loss_of(run, batch, drawn, state.params), rtol=1e-6)


def test_the_state_of_the_content_is_a_mean_in_which_the_last_items_weigh_most():
    vectors = jnp.asarray(np.random.default_rng(0).normal(size=(1, 5, 3)), jnp.float32)
    position, segment = jnp.array([[0, 1, 2, 0, 0]]), jnp.array([[1, 1, 1, 2, 0]])  # two users, then padding
    seen = (segment[:, :, None] == segment[:, None, :]) & (segment > 0)[:, None] & jnp.tri(5, dtype=bool)[None]
    params = {'log_rate': jnp.log(0.7), 'log_scale': jnp.log(3.0)}
    found = np.asarray(RecentContent().apply({'params': params}, vectors, position, seen)[0])
    weight = np.exp(-0.7 * np.array([2, 1, 0]))
    np.testing.assert_allclose(found[2], 3 * weight @ vectors[0, :3] / weight.sum(), rtol=1e-5)
    np.testing.assert_allclose(found[[0, 3]], 3 * vectors[0, [0, 3]], rtol=1e-5)
    assert not np.any(found[4])


@pytest.mark.slow
def test_a_score_is_the_sum_of_all_views(small_run):
    run = small_run(method='grasp_mixture')
    params = run.fresh_state(0).params
    width, ids = run.model.spec.hidden_size, jnp.arange(1, run.model.spec.num_items + 1)
    states = jnp.cos(jnp.arange(3 * 3 * width, dtype=jnp.float32)).reshape(3, 3 * width)

    def call(model):
        items = model.catalogue(run.data.tables, ids)
        return items, model.score_all(states, model.encoder.context(None, None, None, None, None), items)

    items, found = run.model.apply({'params': params}, method=call)
    np.testing.assert_array_equal(items[:, :width], params['encoder'][IDS][1:len(ids) + 1])
    content = np.asarray(run.data.tables.items)[1:len(ids) + 1] @ np.asarray(params['encoder']['content_kernel'])
    np.testing.assert_allclose(items[:, 2 * width:], content / np.linalg.norm(content, axis=1, keepdims=True),
                               rtol=1e-4, atol=1e-5)
    parts = [states[:, view * width:(view + 1) * width] @ items[:, view * width:(view + 1) * width].T
             for view in range(3)]
    np.testing.assert_allclose(found, sum(parts), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_hidden_item_says_nothing_about_itself(small_run):
    run = small_run(method='grasp_mixture', backbone='bert4rec')
    batch, drawn, _, state = first_batch(run)
    width = run.model.spec.hidden_size

    def content(items):
        packed = batch.packed._replace(items=items)
        return run.model.apply({'params': state.params}, run.data.tables, batch.users, packed, drawn.masked,
                               train=False).states[..., 2 * width:]

    hidden = drawn.masked & (batch.packed.items > 0)
    assert hidden.any()
    other = jnp.where(hidden, batch.packed.items % run.model.spec.num_items + 1, batch.packed.items)
    np.testing.assert_array_equal(content(other), content(batch.packed.items))

"""GRASP mixed with ids: two views that learn apart and rank together."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.training.objective import ranking_loss
from grasp_jax.training.train_spec import train_spec
from tests.training.test_methods import first_batch

LOSSES = {'softmax': {'loss': 'softmax'}, 'bce': {'loss': 'bce'},
          'sampled_softmax': {'loss': 'sampled_softmax', 'negatives': 8, 'shared_negatives': True}}
TEXT, IDS = 'text', 'embedding'


def loss_of(run, batch, drawn, params, view=None):
    """The recipe's loss without dropout; with a view, that of its half of the states and scores alone."""
    def call(model):
        encoded = model(run.data.tables, batch.users, batch.packed, drawn.masked, train=False)
        if view is not None:
            half = jnp.arange(encoded.states.shape[-1]) // model.spec.hidden_size == view
            encoded = encoded._replace(states=encoded.states * half[None, None])
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
def test_the_loss_is_the_sum_of_both_views(small_run, loss):
    run = small_run(method='grasp_mixture', train=LOSSES[loss])
    batch, drawn, _, state = first_batch(run)
    together, of_ids, of_texts = (loss_of(run, batch, drawn, state.params, view) for view in (None, 0, 1))
    # A view without states scores all items alike; its loss is that of knowing nothing, in either half's sum.
    nothing = loss_of(run, batch, drawn, state.params, 2) / 2
    np.testing.assert_allclose(together, of_ids + of_texts - 2 * nothing, rtol=1e-5)


@pytest.mark.slow
def test_a_score_is_the_sum_of_both_views(small_run):
    run = small_run(method='grasp_mixture')
    params = run.fresh_state(0).params
    width, ids = run.model.spec.hidden_size, jnp.arange(1, run.model.spec.num_items + 1)
    states = jnp.cos(jnp.arange(3 * 2 * width, dtype=jnp.float32)).reshape(3, 2 * width)

    def call(model):
        items = model.catalogue(run.data.tables, ids)
        return items, model.score_all(states, model.encoder.context(None, None, None, None, None), items)

    items, found = run.model.apply({'params': params}, method=call)
    np.testing.assert_array_equal(items[:, :width], params['encoder'][IDS][1:len(ids) + 1])
    np.testing.assert_allclose(found, states[:, :width] @ items[:, :width].T + states[:, width:] @ items[:, width:].T,
                               rtol=1e-4, atol=1e-5)

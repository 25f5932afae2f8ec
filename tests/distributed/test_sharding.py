"""One device = several simulated devices."""

import jax
import numpy as np
import pytest

from grasp_jax.benchmark import communication
from grasp_jax.common.errors import UserError
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.step import train_steps
from grasp_jax.training.train_spec import train_spec


def few_steps(run):
    epochs = Epochs(run, 0)
    chunk = next(epochs.chunks(0))
    assert bool(chunk.steps.similar) == (run.model.spec.method == 'llm_esr')
    state, losses = epochs.dispatch(run.fresh_state(0), chunk)
    ranks = run.evaluator('valid')(state.params, full=True)
    return jax.device_get(state.params), np.asarray(losses), ranks


@pytest.mark.slow
@pytest.mark.parametrize(('mesh', 'settings'), [
    ((2, 4), {'method': 'none'}),
    ((8, 1), {'gate': 'calibrated', 'user_context': 'prefix', 'backbone': 'bert4rec'}),
    ((1, 8), {'gate': 'calibrated', 'user_context': 'prefix', 'backbone': 'bert4rec'}),
    ((2, 4), {'method': 'grasp_mixture'}),
    ((2, 4), {'method': 'llm_esr'}), ((2, 4), {'method': 'llm_esr', 'backbone': 'bert4rec'}),
    ((4, 2), {'method': 'rlmrec', 'backbone': 'bert4rec'}),
    ((2, 4), {'backbone': 'gru4rec', 'method': 'grasp_id', 'user_context': 'text'})], ids=str)
def test_one_device_equals_eight(small_run, mesh, settings):
    params, losses, ranks = few_steps(small_run(**settings))
    sharded_params, sharded_losses, sharded_ranks = few_steps(small_run(mesh=mesh, **settings))
    np.testing.assert_allclose(losses, sharded_losses, rtol=1e-5)
    for one, eight in zip(jax.tree.leaves(params), jax.tree.leaves(sharded_params), strict=True):
        np.testing.assert_allclose(one, eight, rtol=2e-3, atol=2e-5)
    assert np.mean(ranks.full == sharded_ranks.full) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'meshes'), [('sasrec', [(7, 1)]), ('gru4rec', [(7, 1)]),
                                                  ('bert4rec', [(7, 1), (2, 2)])])
def test_more_devices_get_the_same_batches_and_draws(small_run, backbone, meshes):
    """Rows are filled up to a multiple of the devices; dropout, negatives and masks must not move."""
    losses = []
    for mesh in ((1, 1), *meshes):
        run = small_run(mesh=mesh, backbone=backbone)
        epochs = Epochs(run, 0)
        assert epochs.shape.rows % mesh[0] == 0
        losses.append(epochs.run(0, run.fresh_state(0), lambda share: None)[1])
    for other in losses[1:]:
        np.testing.assert_allclose(losses[0], other, rtol=1e-5)


@pytest.mark.slow
def test_tables_are_split_over_the_model_axis(small_run):
    run = small_run(mesh=(2, 4), method='none')
    embedding = run.fresh_state(0).params['encoder']['embedding']
    assert embedding.addressable_shards[0].data.shape[0] == embedding.shape[0] // 4
    text = small_run(mesh=(2, 4))
    assert text.data.tables.items.addressable_shards[0].data.shape[0] == text.data.tables.items.shape[0] // 4


def test_a_mesh_that_does_not_fit_is_refused():
    assert dict(make_mesh((-1, 2)).shape) == {'data': 4, 'model': 2}
    for shape in ((3, 1), (3, -1), (-1, -1), (0, 8)):
        with pytest.raises(UserError, match='does not fit 8 devices'):
            make_mesh(shape)
    with pytest.raises(UserError, match='cannot be split over 3 devices'):
        make_mesh((2, 3), jax.devices()[:6])


@pytest.mark.slow
@pytest.mark.parametrize('gate', ('calibrated', 'none'))
def test_shared_negatives_are_scored_where_their_positions_are(small_run, gate):
    """Gradients and losses are summed over the devices; nothing else travels."""
    run = small_run(mesh=(4, 1), gate=gate, train={'loss': 'sampled_softmax', 'shared_negatives': True, 'negatives': 8})
    epochs = Epochs(run, 0)
    chunk = next(epochs.chunks(0))
    text = train_steps.lower(run.model, train_spec(run.config), run.mesh, chunk.shape, chunk.data, run.fresh_state(0),
                             chunk.steps).compile().as_text()
    assert {each.kind for each in communication.collectives(text)} == {'all-reduce'}

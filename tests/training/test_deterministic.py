"""Batches in parts: the plain gradient, the same bits on any number of devices."""

import jax
import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.models.transformer import masked_softmax
from grasp_jax.training.deterministic import value_and_grad
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.step import loss_and_gradient
from grasp_jax.training.train_spec import train_spec
from tests.training.test_methods import STRONG, first_batch

CASES = [{'method': 'grasp', 'gate': 'calibrated', 'user_context': 'prefix'},
         {'method': 'grasp', 'backbone': 'gru4rec', 'user_context': 'text'},
         {'method': 'none', 'backbone': 'bert4rec'}]


@pytest.mark.slow
@pytest.mark.parametrize('settings', CASES, ids=str)
@pytest.mark.parametrize('train', [{}, STRONG], ids=('own', 'shared'))
def test_parts_add_up_to_the_batch(small_run, settings, train):
    """Without dropout, which depends on the number of parts."""
    run = small_run(mesh=(4, 1), dropout=0.0, train={'micro_batches': 8, **train}, **settings)
    batch, drawn, key, state = first_batch(run)
    found = []
    for parts in (8, 0):
        spec = train_spec(run.config)
        call = jax.jit(loss_and_gradient, static_argnums=(1, 2, 3))
        spec = type(spec)(**{**vars(spec), 'micro_batches': parts})
        found.append(call(state.params, run.model, spec, run.mesh, run.data, batch, drawn, key))
    (loss, gradients), (plain_loss, plain) = found
    np.testing.assert_allclose(loss, plain_loss, rtol=1e-6)
    for a, b in zip(jax.tree.leaves(gradients), jax.tree.leaves(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize('settings', CASES, ids=str)
def test_one_device_and_four_give_the_same_bits(small_run, settings):
    """Wherever the vectors lie."""
    found = []
    for devices, tables in ((1, 'device'), (4, 'host')):
        run = small_run(mesh=(devices, 1), train={'micro_batches': 4, 'vector_placement': tables}, **settings)
        state, losses = Epochs(run, 0).run(0, run.fresh_state(0), lambda share: None)
        found.append(jax.device_get((state, losses)))
    for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[1]), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.slow
def test_every_part_has_dropout_of_its_own(small_run):
    run = small_run(method='none', train={'micro_batches': 4})
    batch, drawn, key, _ = first_batch(run)
    value, gradient = value_and_grad(lambda params, known, packed, drawn, key: params * jax.random.uniform(key),
                                     run.mesh, 4, np.float32(2), None, batch.packed, drawn, key)
    weights = np.asarray(drawn.targets.exist).sum(1) / np.asarray(drawn.targets.exist).sum()
    expected = sum(weight * jax.random.uniform(jax.random.fold_in(key, part)) for part, weight in enumerate(weights))
    np.testing.assert_allclose([gradient, value], [expected, 2 * expected], rtol=1e-6)


@pytest.mark.parametrize(('mesh', 'parts', 'settings', 'message'), [
    ((4, 1), 6, {}, 'multiple of the number of devices, 4'), ((1, 1), -1, {}, 'multiple'),
    ((2, 2), 4, {}, 'every device needs whole tables'),
    ((1, 1), 4, {'method': 'llm_esr'}, 'across the batch')])
def test_what_cannot_be_done_in_parts_is_refused(small_run, mesh, parts, settings, message):
    with pytest.raises(UserError, match=message):
        small_run(mesh=mesh, train={'micro_batches': parts}, **settings)


def test_the_softmax_equals_the_librarys_also_in_its_gradient():
    rng = np.random.default_rng(0)
    scores, allowed = rng.normal(size=(3, 7, 7)).astype(np.float32) * 50, rng.random((3, 7, 7)) < 0.5
    allowed[0, 0] = False
    weight = rng.normal(size=scores.shape).astype(np.float32)

    def seen(softmax):
        return jax.value_and_grad(lambda scores: (weight * softmax(scores, allowed)).sum())(scores)

    value, gradient = seen(masked_softmax)
    library, its_gradient = seen(lambda scores, allowed: jax.nn.softmax(scores, where=allowed, axis=-1))
    np.testing.assert_allclose(value, library, rtol=1e-5)
    np.testing.assert_allclose(gradient[allowed], its_gradient[allowed], atol=1e-5)
    assert not gradient[~allowed].any() and np.isfinite(gradient).all()

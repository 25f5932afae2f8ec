"""Epochs stay on the device: one program for all of them, and nothing travels while a chunk runs."""

import jax
import numpy as np
import pytest

from grasp_jax.training.epochs import Epochs
from grasp_jax.training.step import train_steps

KINDS = [(backbone, method) for backbone in ('sasrec', 'gru4rec', 'bert4rec') for method in ('none', 'grasp')]


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'method'), KINDS)
def test_one_program_serves_all_epochs_and_nothing_travels_inside_a_chunk(small_run, backbone, method):
    run = small_run(backbone=backbone, method=method)
    epochs, state = Epochs(run, 0), run.fresh_state(0)
    state, _ = epochs.run(0, state, lambda share: None)
    compiled = train_steps._cache_size()
    for epoch in range(1, 6):
        for chunk in epochs.chunks(epoch):
            with jax.no_tracing(), jax.transfer_guard('disallow'):  # either raises
                state, losses = epochs.dispatch(state, chunk)
                losses.block_until_ready()
    assert train_steps._cache_size() == compiled
    assert np.isfinite(losses).all() and int(state.step) == 36


@pytest.mark.slow
def test_a_transfer_inside_a_chunk_would_be_noticed(small_run):
    run = small_run(method='none')
    epochs, state = Epochs(run, 0), run.fresh_state(0)
    chunk = next(epochs.chunks(0))
    with jax.transfer_guard('disallow'), pytest.raises(Exception, match='Disallowed host-to-device transfer'):
        epochs.dispatch(state, chunk._replace(steps=jax.device_get(chunk.steps)))


@pytest.mark.slow
def test_an_epoch_reports_its_progress_and_losses(small_run):
    run = small_run(train={'scan_steps': 2})
    epochs, state, shares = Epochs(run, 0), run.fresh_state(0), []
    chunks = list(epochs.chunks(0))
    losses = []
    for chunk in chunks:
        state, found = epochs.dispatch(state, chunk)
        losses.append(np.asarray(found))
    _, known = epochs.run(0, run.fresh_state(0), shares.append)
    np.testing.assert_array_equal(known, np.concatenate(losses))
    np.testing.assert_allclose(shares, [1 / 3] * 3)


@pytest.mark.parametrize('at_least', [0, 5, 6])
def test_an_epoch_that_has_enough_steps_stays_as_it_is(small_run, at_least):
    epochs, before = (Epochs(small_run(train={'min_steps_per_epoch': least}), 0) for least in (at_least, 0))
    assert (epochs.steps, epochs.passes, epochs.users(0)) == (6, 1, before.users(0))
    for one, two in zip(epochs.plan(1).placement, before.plan(1).placement, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(('settings', 'steps', 'passes'), [
    ({'min_steps_per_epoch': 7}, 12, 2), ({'min_steps_per_epoch': 13}, 18, 3),
    ({'min_steps_per_epoch': 13, 'steps_per_epoch': 8}, 8, 3),
    ({'min_steps_per_epoch': 13, 'steps_per_epoch': 40}, 18, 3)])
def test_an_epoch_of_too_few_steps_runs_over_all_users_again(small_run, settings, steps, passes):
    epochs, single = Epochs(small_run(train=settings), 0), Epochs(small_run(), 0)
    assert (epochs.steps, epochs.passes, len(epochs.plan(1))) == (steps, passes, steps)
    if steps == 6 * passes:
        assert epochs.users(1) == passes * single.users(0)
    found = epochs.plan(1).placement.user
    whole = np.concatenate([single.plan(number).placement.user for number in range(passes, 2 * passes)])
    np.testing.assert_array_equal(found, whole[:steps])


@pytest.mark.slow
@pytest.mark.parametrize('method', ['none', 'llm_esr'])
def test_one_epoch_of_two_passes_is_two_epochs_of_one(small_run, method):
    """Whatever shares out the steps, the same ones are done: parameters, losses and draws agree bit for bit."""
    states, losses = [], []
    for least, count in ((0, 4), (12, 2)):
        run = small_run(method=method, train={'min_steps_per_epoch': least, 'scan_steps': 4})
        epochs, state, found = Epochs(run, 0), run.fresh_state(0), []
        for epoch in range(count):
            state, these = epochs.run(epoch, state, lambda share: None)
            found.append(these)
        states.append(state)
        losses.append(np.concatenate(found))
    np.testing.assert_array_equal(*losses)
    for one, two in zip(*map(jax.tree.leaves, states), strict=True):
        np.testing.assert_array_equal(one, two)

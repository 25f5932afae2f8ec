"""Epochs stay on the device: one program for all of them, and nothing travels while a chunk runs."""

import jax
import numpy as np
import pytest

from grasp_jax.training.epochs import Epochs
from grasp_jax.training.step import train_steps

KINDS = [(backbone, method) for backbone in ('sasrec', 'gru4rec', 'bert4rec') for method in ('none', 'grasp')]


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


def test_a_transfer_inside_a_chunk_would_be_noticed(small_run):
    run = small_run(method='none')
    epochs, state = Epochs(run, 0), run.fresh_state(0)
    chunk = next(epochs.chunks(0))
    with jax.transfer_guard('disallow'), pytest.raises(Exception, match='Disallowed host-to-device transfer'):
        epochs.dispatch(state, chunk._replace(steps=jax.device_get(chunk.steps)))


def test_an_epoch_reports_its_progress_and_losses(small_run):
    run = small_run(train={'steps_per_call': 2})
    epochs, state, shares = Epochs(run, 0), run.fresh_state(0), []
    chunks = list(epochs.chunks(0))
    losses = []
    for chunk in chunks:
        state, found = epochs.dispatch(state, chunk)
        losses.append(np.asarray(found))
    _, known = epochs.run(0, run.fresh_state(0), shares.append)
    np.testing.assert_array_equal(known, np.concatenate(losses))
    np.testing.assert_allclose(shares, [1 / 3] * 3)

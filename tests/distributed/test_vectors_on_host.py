"""Tables on the host give the same training and the same ranks as tables on the device."""

import jax
import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.distributed.vectors_on_host import HostVectors, fit_on_devices
from grasp_jax.evaluation.gates import candidate_gates
from grasp_jax.ranking.evaluator import Evaluator
from grasp_jax.ranking.scores import target_scores
from grasp_jax.training.epochs import Epochs


def one_device():
    return make_mesh((1, 1), jax.devices()[:1])


def trained(run, epochs=2):
    """Parameters and losses after some epochs."""
    batches, state, losses = Epochs(run, 0), run.fresh_state(0), []
    for epoch in range(epochs):
        state, loss = batches.run(epoch, state, lambda share: None)
        losses.append(loss.mean())
    return jax.device_get(state.params), losses


@pytest.mark.slow
@pytest.mark.parametrize('settings', [
    {'user_context': 'text'}, {'user_context': 'prefix', 'backbone': 'gru4rec'},
    {'user_context': 'text', 'backbone': 'bert4rec', 'gate_space': 'hidden'}], ids=str)
def test_training_is_the_same_bit_for_bit(small_run, settings):
    device, device_losses = trained(small_run(train={'vector_placement': 'device'}, **settings))
    for chunk_mb in (0.005, 512.0) if settings['user_context'] == 'prefix' else (0.005,):
        host, host_losses = trained(small_run(train={'vector_placement': 'host', 'chunk_mb': chunk_mb}, **settings))
        assert device_losses == host_losses
        jax.tree.map(np.testing.assert_array_equal, device, host)


def test_what_is_left_of_an_epoch_gets_the_rows_that_the_whole_one_gets(small_run):
    epochs = Epochs(small_run(train={'vector_placement': 'host', 'chunk_mb': 0.005}), 0)
    for epoch in (0, 1):
        whole, left = list(epochs.chunks(epoch)), list(epochs.chunks(epoch, 4))
        assert len(whole) == 6 and len(left) == 2
        jax.tree.map(np.testing.assert_array_equal, [chunk.data for chunk in whole[4:]], [chunk.data for chunk in left])


@pytest.mark.slow
def test_a_mesh_shares_the_rows(small_run):
    _, losses = trained(small_run(train={'vector_placement': 'device'}), epochs=1)
    _, shared = trained(small_run(mesh=(2, 4), train={'vector_placement': 'host'}), epochs=1)
    np.testing.assert_allclose(losses, shared, rtol=1e-5)


def test_small_memory_makes_many_chunks(small_run):
    runs = {size: small_run(train={'vector_placement': 'host', 'chunk_mb': size}) for size in (0.005, 512.0)}
    chunks = {size: len(list(Epochs(run, 0).chunks(0))) for size, run in runs.items()}
    assert chunks == {0.005: 6, 512.0: 1}


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ('sasrec', 'bert4rec'))
@pytest.mark.parametrize('context', ('text', 'prefix'))
def test_ranks_are_the_same(small_run, backbone, context):
    ranks, lists = {}, {}
    for where in ('device', 'host'):
        run = small_run(train={'vector_placement': where}, user_context=context, backbone=backbone, max_length=5)
        ranks[where], lists[where] = run.evaluator('test').ranks_and_lists(run.fresh_state(0).params, True, depth=12)
    assert len(ranks['host'].full) > 32, 'more than one batch'
    np.testing.assert_allclose(ranks['host'].sampled, ranks['device'].sampled)
    np.testing.assert_allclose(ranks['host'].full, ranks['device'].full)
    np.testing.assert_allclose(ranks['host'].full_unmasked, ranks['device'].full_unmasked)
    assert (ranks['host'].full_unmasked >= ranks['host'].full).all()
    assert (ranks['host'].full_unmasked > ranks['host'].full).mean() > 0.2
    np.testing.assert_array_equal(lists['host'], lists['device'])
    assert len(np.unique(ranks['host'].full)) > 10


@pytest.mark.slow
def test_ties_count_half_wherever_the_tables_are(small_run, small_data, monkeypatch):
    """Items come in twins of equal vectors, so that every full rank ends in a half."""
    monkeypatch.setattr('grasp_jax.ranking.streamed._ITEMS', 32)  # twins and targets in different calls
    twins = small_data[2]
    for name in ('items', 'items_similar'):
        table = getattr(twins, name).copy()
        table[21:] = table[1:21]
        twins = twins._replace(**{name: table})
    ranks, lists = {}, {}
    for where in ('device', 'host'):
        run = small_run(train={'vector_placement': where}, other=twins, user_context='text', max_length=5)
        found, best = run.evaluator('test').ranks_and_lists(run.fresh_state(0).params, True, depth=40)
        ranks[where], lists[where] = found.full, best
    histories = [set(run.interactions.sequence(user, 'test')) for user in run.evaluator('test').users]
    there = np.array([(target + 19) % 40 + 1 not in history for target, history in zip(
        run.evaluator('test').targets, histories, strict=True)])  # a twin in the history does not count
    assert there.sum() > 30
    np.testing.assert_array_equal(ranks['host'], ranks['device'])
    np.testing.assert_array_equal(ranks['host'][there] % 1, 0.5)
    np.testing.assert_array_equal(lists['host'], lists['device'])  # twins by the smaller id, from whichever block


@pytest.mark.slow
@pytest.mark.parametrize('context', ('text', 'prefix'))
def test_gates_and_scores_of_targets_are_the_same_and_those_of_one_user_at_a_time(small_run, context):
    gates, scores = {}, {}
    for where in ('device', 'host'):
        run = small_run(train={'vector_placement': where}, user_context=context, max_length=5)
        evaluator, params = run.evaluator('test'), run.fresh_state(0).params
        gates[where], items = candidate_gates(evaluator, params)
        scores[where] = target_scores(evaluator, params)
        if where == 'device':
            model, tables = run.model, run.data.tables
            for row in (0, 17, len(evaluator.users) - 1):
                user = evaluator.users[row]
                history = run.interactions.sequence(user, 'test')
                # Gate arguments by hand: what the gates see of the user, and the candidate.
                seen = [np.asarray(table)[history[-6:] if context == 'prefix' else [user]].mean(0)
                        for table in ((tables.items, tables.items_similar) if context == 'prefix'
                                      else (tables.users, tables.users_similar))]
                item = [np.asarray(table)[items[row, 0]] for table in (tables.items, tables.items_similar)]
                own, similar = (float(u @ i) for u, i in zip(seen, item, strict=True))
                both = (own + similar) / np.sqrt(2)
                expected = 1 / (1 + np.exp(-np.array([own, similar, both])))
                if context == 'text':  # the start of the calibrated gate: cosines as they are
                    np.testing.assert_allclose(gates[where][row, 0], expected, atol=1e-5)
            assert items[:, 0].tolist() == evaluator.targets.tolist() and model.spec.items_depend_on_user
    np.testing.assert_allclose(gates['host'], gates['device'], atol=1e-6)
    np.testing.assert_allclose(scores['host'], scores['device'], atol=1e-5)
    assert np.ptp(gates['device'], axis=0).min() > 1e-3 and np.std(scores['device']) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize('settings', ({'method': 'none'}, {'gate': 'softmax'}, {'gate': 'calibrated'}), ids=str)
def test_the_score_of_a_target_is_the_one_that_gives_its_rank(small_run, settings):
    """Each candidate takes the place of the target once; so many of them score higher."""
    run = small_run(max_length=5, **settings)
    params, evaluator = run.fresh_state(0).params, run.evaluator('test')

    def scores_among(negatives, targets=evaluator.targets):
        other = Evaluator(run.model, run.mesh, run.data, run.interactions, 'test', negatives, 32)
        other.targets = targets
        return target_scores(other, params)

    own, everybody = target_scores(evaluator, params), run.negatives['test']
    rank = np.ones(len(own))
    for column in range(everybody.shape[1]):
        swapped = everybody.copy()
        swapped[:, column] = evaluator.targets
        theirs = scores_among(swapped, everybody[:, column])
        rank += (theirs > own) + (theirs == own) / 2
    np.testing.assert_array_equal(rank, evaluator(params, full=False).sampled)
    among_few = np.abs(scores_among(everybody[:, :3]) / own)
    if settings.get('gate') == 'softmax':  # 4 candidates share what 11 share else
        assert (among_few > 1.5).all()
    else:
        np.testing.assert_allclose(among_few, 1, rtol=1e-6)


def test_a_softmax_over_all_items_is_refused_with_tables_on_the_host(small_run, monkeypatch):
    monkeypatch.setattr('grasp_jax.training.training_setup.fit_on_devices', lambda *_, **__: False)
    with pytest.raises(UserError, match='model.gate=softmax'):
        small_run(train={'vector_placement': 'auto'}, gate='softmax').evaluator('test')


def test_rows_that_were_asked_for_lie_at_their_slots():
    rng = np.random.default_rng(0)
    full = FrozenVectors(*(rng.normal(size=(rows, 4)).astype(np.float32) for rows in (20, 20, 31, 31)))
    host = HostVectors(full, one_device(), True, np.dtype(np.float16))
    few = host.fetch(np.array([[7, 3], [7, 30]]), np.array([5, 5, 19]), 128, 128)
    assert few.items.shape == few.users.shape == (128, 4) and few.items.dtype == np.float16
    for name, slots, ids in (('items', few.item_slots, [0, 3, 7, 30]), ('users', few.user_slots, [5, 19])):
        for table in (name, f'{name}_similar'):
            found = np.asarray(getattr(few, table))[np.asarray(slots)[ids]]
            np.testing.assert_array_equal(found, getattr(full, table)[ids].astype(np.float16))


def test_tables_that_are_larger_than_the_memory_stay_on_the_host():
    small, large = np.zeros((4, 4), np.float32), np.lib.stride_tricks.as_strided(
        np.zeros(1, np.float32), (1 << 24, 4096), (0, 0))  # 256 GB that take no memory
    assert fit_on_devices(
    FrozenVectors(
        large,
        large,
        small,
        small),
        one_device(),
        4,
        users_needed=False,
         keys_kept=True)
    assert not fit_on_devices(
    FrozenVectors(
        large,
        large,
        small,
        small),
        one_device(),
        4,
        users_needed=True,
         keys_kept=True)
    assert not fit_on_devices(
    FrozenVectors(
        small,
        small,
        large,
        large),
        one_device(),
        4,
        users_needed=False,
         keys_kept=True)


@pytest.mark.slow
@pytest.mark.parametrize(('dtype', 'where'), (('bfloat16', 'device'), ('float16', 'host')))
def test_tables_in_half_precision_train_about_the_same(small_run, dtype, where):
    exact, losses = trained(small_run())
    half, half_losses = trained(small_run(train={'vector_placement': where, 'vector_dtype': dtype}))
    np.testing.assert_allclose(losses, half_losses, rtol=1e-2)
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(half))

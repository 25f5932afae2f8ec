"""The evaluator against a slow loop, on several devices, and from what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.config import changed, default
from grasp_jax.data.interactions import Interactions, draw_negatives
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.models.user_context import NO_GATES
from grasp_jax.ranking import evaluator as ranking_evaluator
from grasp_jax.ranking.forward import item_features, user_states
from grasp_jax.training.state import init_state
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import make_training_setup


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ('sasrec', 'gru4rec', 'bert4rec'))
def test_evaluator_equals_one_user_at_a_time(backbone):
    """Packed batches of several users give the ranks of a loop over unpacked users, empty places change nothing."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 15, 23)
    items = np.concatenate([rng.choice(np.arange(1, 31), size, replace=False) for size in lengths]).astype(np.int32)
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]), items, 30)
    config = default()
    config.model.update({'backbone': backbone, 'method': 'none', 'hidden_size': 8, 'max_length': 6})
    config.evaluate.users_per_batch = 8
    negatives = {'test': draw_negatives(interactions, 9, seed=1)}
    run = make_training_setup(config, make_mesh((1, 1), jax.devices()[:1]), interactions, negatives, None)
    params = run.fresh_state(0).params
    found, lists = run.evaluator('test').ranks_and_lists(params, full=True, depth=40)
    np.testing.assert_array_equal(found.users, np.flatnonzero(lengths >= 3))
    for row, user in enumerate(found.users):
        history = interactions.sequence(user, 'test')
        scores = all_scores(run.model, params, history[-6:])
        target, others = found.targets[row], negatives['test'][row]
        assert found.sampled[row] == 1 + (scores[others] > scores[target]).sum()
        left = np.setdiff1d(np.arange(1, 31), np.append(history, target))
        assert found.full[row] == 1 + (scores[left] > scores[target]).sum()
        assert found.full_unmasked[row] == 1 + (scores[1:] > scores[target]).sum()
        free = np.setdiff1d(np.arange(1, 31), history)
        assert lists[row].tolist() == [*free[np.argsort(-scores[free])], *[0] * (40 - len(free))]


def test_a_very_long_history_is_laid_out_only_where_all_items_are_ranked(monkeypatch):
    lengths = np.array([3000, *[3] * 20])
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]), np.ones(lengths.sum(), np.int32), 40)
    config = changed(default(), {'model.method': 'none', 'model.hidden_size': 8, 'model.max_length': 6})
    run = make_training_setup(config, make_mesh((1, 1), jax.devices()[:1]), interactions,
                              {'test': np.full((21, 9), 2, np.int32)}, None)
    evaluator, read = run.evaluator('test'), []
    monkeypatch.setattr(ranking_evaluator, '_rank_batch',
                        lambda *given: read.append(jax.tree.leaves(given[6:])) or (0, 0))
    for full in (False, True):
        evaluator.rank_batch(None, None, 0, full)
    for full, arrays in enumerate(read):
        assert any(array.ndim == 2 and array.shape[1] == 2999 for array in arrays) == full
    assert not any(2999 in array.shape for array in jax.tree.leaves(evaluator.batch(0)))


@pytest.mark.slow
@pytest.mark.parametrize('method', ('none', 'grasp'))
def test_a_constant_scorer_lands_in_the_middle_under_both_protocols(method):
    run = small_run({'method': method})
    params = jax.tree.map(jnp.zeros_like, run.fresh_state(0).params)
    found = run.evaluator('test')(params, full=True)
    np.testing.assert_array_equal(found.sampled, 1 + 9 / 2)
    outside = [40 - len(set(run.interactions.sequence(user, 'test')) | {target})
               for user, target in zip(found.users, found.targets, strict=True)]
    np.testing.assert_array_equal(found.full, 1 + np.array(outside) / 2)
    np.testing.assert_array_equal(found.full_unmasked, 1 + 39 / 2)
    assert run.evaluator('valid')(params, full=True).full_unmasked is None  # of no use there


@pytest.mark.slow
@pytest.mark.parametrize('method', ('grasp', 'grasp_id'))
def test_the_softmax_gate_looks_at_all_candidates_of_a_protocol(method, monkeypatch):
    """The same full ranks in blocks, on several devices, and of a softmax over the very list of candidates."""
    run = small_run({'method': method, 'gate': 'softmax', 'user_context': 'text'})
    params = jax.device_get(jax.tree.map(  # on no device, as several meshes get them
        lambda leaf: leaf + jax.random.normal(jax.random.key(leaf.size), leaf.shape), run.fresh_state(0).params))
    whole, lists = run.evaluator('test').ranks_and_lists(params, full=True, depth=6)
    monkeypatch.setattr('grasp_jax.ranking.forward.ITEM_BLOCK', 8)
    monkeypatch.setattr('grasp_jax.ranking.forward._ROWS_TOGETHER', 8)
    monkeypatch.setattr('grasp_jax.models.methods.grasp.ITEM_BLOCK', 8)
    jax.clear_caches()
    for devices in (1, 4):
        other = small_run({'method': method, 'gate': 'softmax', 'user_context': 'text'}, devices)
        again, best = other.evaluator('test').ranks_and_lists(params, full=True, depth=6)
        for name in ('full', 'full_unmasked'):
            np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
        np.testing.assert_array_equal(best, lists)
    jax.clear_caches()
    evaluator = run.evaluator('test')
    batch, data = evaluator.batch(0), run.data
    states, context = user_states(run.model, run.mesh, evaluator.num_rows, params, data, batch.placement)
    for place in range(3):
        user, target = int(batch.placement.user[place]), int(batch.targets[place])
        candidates = np.setdiff1d(np.arange(1, 41), run.interactions.sequence(user, 'test'))
        everything = np.setdiff1d(np.arange(1, 41), target)
        for name, others in (('full', candidates[candidates != target]), ('full_unmasked', everything)):
            ids = np.append(others, target)
            features = run.model.apply({'params': params}, data.tables, ids, method=Recommender.catalogue)
            mine = jax.tree.map(lambda field, row=place: field[row], (states, context))
            scores = np.asarray(run.model.apply({'params': params}, *mine, features, method=Recommender.score))
            assert getattr(whole, name)[whole.users == user] == 1 + (scores[:-1] > scores[-1]).sum()
            if name == 'full' and target in candidates:
                assert ids[np.argsort(-scores)[:6]].tolist() == lists[whole.users == user][0].tolist()
    assert len(np.unique(whole.full)) > 4


@pytest.mark.slow
@pytest.mark.parametrize('method', ('none', 'grasp'))
def test_lists_hold_no_item_of_the_input_and_are_the_same_on_several_devices(method):
    """Twenty places of 40 items: shares of 5 are shorter than a list, and equal scores go by the smaller id."""
    found = []
    for devices in (1, 8):
        run = small_run({'method': method, 'hidden_size': 16}, devices)
        params = jax.device_get(run.fresh_state(0).params)
        if not found:
            constant = jax.tree.map(jnp.zeros_like, params)
            _, tied = run.evaluator('test').ranks_and_lists(jax.device_get(constant), full=True, depth=20)
        found.append(run.evaluator('test').ranks_and_lists(params, full=True, depth=20))
        _, again = run.evaluator('test').ranks_and_lists(jax.device_get(constant), full=True, depth=20)
        np.testing.assert_array_equal(again, tied)
    (ranks_one, one), (_, several) = found
    np.testing.assert_array_equal(one, several)
    for row, user in enumerate(ranks_one.users):
        history = set(run.interactions.sequence(user, 'test').tolist())
        assert len({*one[row].tolist()} - history) == 20 and one[row].min() > 0
        assert tied[row].tolist() == sorted(set(range(1, 41)) - history)[:20]
        if ranks_one.targets[row] not in history and ranks_one.full[row] <= 20:
            assert one[row][round(float(ranks_one.full[row])) - 1] == ranks_one.targets[row]
    assert run.evaluator('test').ranks_and_lists(params, full=True, depth=0)[1].shape == (len(one), 0)


@pytest.mark.parametrize(('gate', 'tables'), [('calibrated', 1), ('none', 0)])
def test_an_evaluation_keeps_the_vectors_once_and_only_for_gates(gate, tables, monkeypatch):
    monkeypatch.setattr('grasp_jax.ranking.forward._ROWS_TOGETHER', 1024)
    config = changed(default(), {'model.gate': gate})
    model = Recommender(model_spec(config, 8191, 256))
    rows = [jax.ShapeDtypeStruct((count, 256), jnp.float16) for count in (0, 0, 8192, 8192)]
    state = jax.eval_shape(lambda tables: init_state(model, train_spec(config), tables, 0), FrozenVectors(*rows))
    data = DeviceData(jax.ShapeDtypeStruct((10,), jnp.int32), FrozenVectors(*rows))
    mesh = make_mesh((1, 1), jax.devices()[:1])
    needed = item_features.lower(model, mesh, state.params, data).compile().memory_analysis()
    size, features = 2 * 8192 * 256 * 2, 3 * 8192 * model.spec.fusion_size * 4
    assert needed.output_size_in_bytes <= tables * size + features + 1024  # and a list of the arrays
    assert needed.temp_size_in_bytes < size / 2


@pytest.mark.slow
def test_some_users_get_the_ranks_that_they_get_among_all():
    rng = np.random.default_rng(1)
    lengths = rng.integers(3, 9, 30)
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]),
                                rng.integers(1, 41, lengths.sum()).astype(np.int32), 40)
    config = default()
    config.model.update({'method': 'none', 'hidden_size': 8, 'max_length': 6})
    negatives = {'test': draw_negatives(interactions, 9, seed=1)}
    found = []
    for count in (0, 7, 100):
        config.evaluate.max_users = count
        run = make_training_setup(config, make_mesh((1, 1), jax.devices()[:1]), interactions, negatives, None)
        found.append(run.evaluator('test')(run.fresh_state(0).params, full=True))
    everybody, some, more = found
    assert len(everybody.users) == len(more.users) == 30 and some.users.tolist() == [0, 4, 9, 14, 19, 24, 29]
    for field in ('targets', 'sampled', 'full'):
        np.testing.assert_array_equal(getattr(some, field), getattr(everybody, field)[some.users])


@pytest.mark.slow
@pytest.mark.parametrize('settings', (
    {'gate': 'calibrated', 'user_context': 'prefix'}, {'gate': 'softmax', 'user_context': 'text'},
    {'method': 'grasp_id', 'backbone': 'bert4rec'}, {'gate': 'paper', 'user_context': 'text', 'backbone': 'gru4rec'},
    {'gate_space': 'hidden'}), ids=str)
def test_ranks_of_a_later_epoch_are_those_of_gate_scores_made_anew(settings, monkeypatch):
    run = small_run({'method': 'grasp', **settings})
    keeping = run.evaluator('valid')
    monkeypatch.setattr(ranking_evaluator, '_MOST_SCORES', 0)
    for seed in (0, 1):
        params = jax.tree.map(lambda leaf: leaf + jax.random.normal(jax.random.key(leaf.size), leaf.shape),
                              run.fresh_state(seed).params)
        for full in (False, True):
            kept, anew = (evaluator(params, full=full) for evaluator in (keeping, run.evaluator('valid')))
            np.testing.assert_array_equal(kept.sampled, anew.sampled)
            np.testing.assert_array_equal(kept.full, anew.full)
            assert len(np.unique(kept.sampled)) > 4


def small_run(settings, devices=1):
    """Random sequences of 20 users over 40 items, random vectors."""
    rng = np.random.default_rng(2)
    lengths = rng.integers(3, 9, 20)
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]),
                                rng.integers(1, 41, lengths.sum()).astype(np.int32), 40)
    config = default()
    config.model.update({'hidden_size': 8, 'max_length': 6, **settings})
    config.evaluate.users_per_batch = 8
    vectors = rng.normal(size=(4, 41, 12)).astype(np.float32)
    negatives = draw_negatives(interactions, 9, seed=1)
    tables = None if config.model.method == 'none' else FrozenVectors(*vectors)
    return make_training_setup(config, make_mesh((devices, 1), jax.devices()[:devices]), interactions,
                               {'valid': negatives, 'test': negatives}, tables)


def all_scores(model, params, history):
    """[m + 1], scores of all items after one history, without packing."""
    from grasp_jax.batching.batches import PackedRows
    length, width = len(history), model.spec.row_width
    shown = length + (not model.spec.causal)
    place = np.arange(width)[None]
    packed = PackedRows(jnp.asarray(np.where(place < length, np.resize(history, width), 0)),
                        jnp.asarray((place < shown).astype(np.int32)), jnp.asarray(np.where(place < shown, place, 0)))
    masked = (packed.items == 0) & (packed.segment > 0)
    encoded = model.apply({'params': params}, None, jnp.zeros(1, int), packed, masked, train=False)
    features = model.apply({'params': params}, None, jnp.arange(31), method=Recommender.catalogue)
    return np.asarray(model.apply({'params': params}, encoded.states[:, shown - 1], NO_GATES, features,
                                  method=Recommender.score_all))[0]

"""`evaluate.repeats`: what a user had stays among the candidates, in ranks and lists, on any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.config import changed, default
from grasp_jax.data.interactions import Interactions, draw_negatives
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.training.training_setup import make_training_setup
from tests.ranking.test_evaluator import all_scores

pytestmark = pytest.mark.slow

ITEMS = 30


def regulars(users=24):
    """Sequences of people who buy few things again and again; every other one buys the last one again at the end."""
    rng = np.random.default_rng(3)
    histories = []
    for user in range(users):
        own = rng.choice(np.arange(1, ITEMS + 1), 4, replace=False)
        items = rng.choice(own, rng.integers(3, 9))
        items[-1] = items[-2] if user % 2 else rng.integers(1, ITEMS + 1)
        histories.append(items)
    indptr = np.concatenate([[0], np.cumsum([len(items) for items in histories])]).astype(np.int64)
    return Interactions(indptr, np.concatenate(histories).astype(np.int32), ITEMS)


def run_of(repeats, devices=1, **settings):
    shop = regulars()
    config = changed(default(), {'model.hidden_size': 16, 'model.max_length': 6, 'evaluate.users_per_batch': 8,
                                 'evaluate.repeats': repeats, **settings})
    vectors = np.random.default_rng(1).normal(size=(4, ITEMS + 1, 12)).astype(np.float32)
    negatives = draw_negatives(shop, 9, seed=1)
    return make_training_setup(config, make_mesh((devices, 1), jax.devices()[:devices]), shop,
                               {'valid': negatives, 'test': negatives},
                               None if config.model.method == 'none' else FrozenVectors(*vectors))


def parameters(run):
    """Random ones, on no device, as several meshes get them."""
    return jax.device_get(jax.tree.map(
        lambda leaf: leaf + 0.5 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), run.fresh_state(0).params))


def who_likes_the_last_item(run):
    """Parameters of a model whose state is the newest item's own vector."""
    params = jax.tree_util.tree_map_with_path(
        lambda path, leaf: leaf if path[-1].key == 'scale' else jnp.zeros_like(leaf), run.fresh_state(0).params)
    vectors = np.random.default_rng(0).normal(size=params['encoder']['embedding'].shape)
    vectors -= vectors.mean(1, keepdims=True)
    params['encoder']['embedding'] = jnp.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), jnp.float32)
    return jax.device_get(params)


def test_a_model_that_says_the_last_item_again_is_right_where_people_do():
    run = run_of(True, **{'model.method': 'none'})
    params = who_likes_the_last_item(run)
    ranks, lists = run.evaluator('test').ranks_and_lists(params, full=True, depth=5)
    newest = np.array([run.interactions.sequence(user, 'test')[-1] for user in ranks.users])
    again = ranks.targets == newest
    assert 8 < again.sum() < len(again)
    np.testing.assert_array_equal(ranks.full == 1, again)
    np.testing.assert_array_equal(lists[:, 0], newest)
    hidden = run_of(False, **{'model.method': 'none'}).evaluator('test').ranks_and_lists(params, full=True, depth=5)[1]
    assert not (hidden == newest[:, None]).any()


@pytest.mark.parametrize('split', ['valid', 'test'])
def test_ranks_and_lists_are_those_of_a_plain_loop_over_all_items(split):
    run = run_of(True, **{'model.method': 'none'})
    params = parameters(run)
    ranks, lists = run.evaluator(split).ranks_and_lists(params, full=True, depth=ITEMS + 3)
    before = run_of(False, **{'model.method': 'none'}).evaluator(split)(params, full=True)
    assert ranks.full_unmasked is None
    for row, user in enumerate(ranks.users):
        scores = all_scores(run.model, params, run.interactions.sequence(user, split)[-6:])[1:]
        assert ranks.full[row] == 1 + (scores > scores[ranks.targets[row] - 1]).sum()
        assert lists[row].tolist() == [*(1 + np.argsort(-scores)), 0, 0, 0]
    np.testing.assert_array_equal(ranks.sampled, before.sampled)  # negatives are never of the history
    assert (ranks.full >= before.full).all() and (ranks.full > before.full).any()


@pytest.mark.parametrize('settings', [
    {'model.method': 'none'}, {'model.gate': 'calibrated'},
    {'model.gate': 'softmax', 'model.user_context': 'text'}], ids=str)
def test_ranks_are_those_with_seen_items_too_on_several_devices_and_from_the_host(settings):
    run = run_of(True, **settings)
    params = parameters(run)
    ranks, lists = run.evaluator('test').ranks_and_lists(params, full=True, depth=8)
    hidden, without = run_of(False, **settings).evaluator('test').ranks_and_lists(params, full=True, depth=8)
    np.testing.assert_array_equal(ranks.full, hidden.full_unmasked)
    assert (ranks.full != hidden.full).any()
    for row, user in enumerate(ranks.users):
        seen = set(run.interactions.sequence(user, 'test').tolist())
        assert ranks.full[row] > 8 or lists[row, int(ranks.full[row]) - 1] == ranks.targets[row]
        if settings.get('model.gate') != 'softmax':  # whose scores depend on what else is a candidate
            unseen = [item for item in lists[row].tolist() if item not in seen]
            assert unseen == without[row].tolist()[:len(unseen)]
    assert any(set(own.tolist()) & set(run.interactions.sequence(user, 'test').tolist())
               for own, user in zip(lists, ranks.users, strict=True))
    others = [run_of(True, 4, **settings)]
    if settings.get('model.gate') != 'softmax' and settings.get('model.method') != 'none':
        others.append(run_of(True, **{**settings, 'train.vector_placement': 'host'}))
    for other in others:
        again, same = other.evaluator('test').ranks_and_lists(params, full=True, depth=8)
        np.testing.assert_array_equal(again.full, ranks.full)
        np.testing.assert_array_equal(again.sampled, ranks.sampled)
        np.testing.assert_array_equal(same, lists)
        assert again.full_unmasked is None

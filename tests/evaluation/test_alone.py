"""Users whose test item has nothing to be ranked against: found, left out of every mean."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.data.interactions import Interactions, draw_negatives
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.ranking import alone, metrics
from grasp_jax.training.training_setup import make_training_setup


def small(seed, items=5, users=80):
    """Few items, so that some users have all of them, some with the test item alone and some by the input."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 12, users)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Interactions(indptr, rng.integers(1, items + 1, lengths.sum()).astype(np.int32), items)


@pytest.mark.parametrize('seed', range(3))
@pytest.mark.parametrize('split', ['valid', 'test'])
def test_who_is_alone_by_a_plain_loop(seed, split):
    shop = small(seed)
    users, targets, everything = shop.evaluated_users(), shop.targets(split), set(range(1, 6))
    whole = [set(shop.full_sequence(user)) == everything for user in users]
    no_others = [set(shop.sequence(user, split)) | {target} == everything
                 for user, target in zip(users, targets, strict=True)]
    assert alone.under_sampled(shop, users).tolist() == whole
    assert alone.under_full(shop, users, targets, split, False).tolist() == no_others
    assert (whole != no_others) == (split == 'valid') and 0 < sum(no_others) < len(users)
    assert not alone.under_full(shop, users, targets, split, True).any()
    np.testing.assert_array_equal(alone.under_sampled(shop, users), (draw_negatives(shop, 3, 0) == 0).all(1))
    one = Interactions(np.array([0, 4]), np.ones(4, np.int32), 1)
    for repeats in (False, True):
        assert alone.under_full(one, np.array([0]), np.array([1]), split, repeats).tolist() == [True]


def run_of(shop, repeats=False, **settings):
    config = changed(default(), {'model.method': 'none', 'model.hidden_size': 8, 'model.max_length': 6,
                                 'evaluate.users_per_batch': 32, 'evaluate.repeats': repeats, **settings})
    negatives = draw_negatives(shop, 3, seed=1)
    return make_training_setup(config, make_mesh((1, 1), jax.devices()[:1]), shop, {
                               'valid': negatives, 'test': negatives}, None)


@pytest.mark.slow
@pytest.mark.parametrize('repeats', [False, True])
def test_means_are_those_of_the_others(repeats):
    shop = small(0)
    run = run_of(shop, repeats)
    params = jax.tree.map(lambda leaf: leaf + jax.random.normal(jax.random.key(leaf.size), leaf.shape),
                          run.fresh_state(0).params)
    found = run.evaluator('test')(params, full=True)
    missing = alone.under_sampled(shop, found.users)
    np.testing.assert_array_equal(np.isnan(found.sampled), missing)
    np.testing.assert_array_equal(np.isnan(found.full), missing & (not repeats))
    means, others = metrics.summarise(found.sampled, (1, 3)), found.sampled[~missing]
    assert means['HR@1'] == (others <= 1).mean() < 1
    nobody = run.evaluator('test')(jax.tree.map(jnp.zeros_like, params), full=False)
    negatives = (run.negatives['test'] > 0).sum(1)[~missing]
    np.testing.assert_array_equal(nobody.sampled[~missing], 1 + negatives / 2)  # ties, no hit of nobody at all
    assert metrics.summarise(nobody.sampled, (1,))['HR@1'] == 0


def test_nothing_to_pick_an_epoch_by_is_refused():
    shop = Interactions(np.arange(0, 25, 4), np.tile([1, 2, 3, 1], 6).astype(np.int32), 3)
    with pytest.raises(UserError, match='none of its 6 evaluated users has an item that could stand against'):
        run_of(shop).evaluator('valid')
    with pytest.raises(UserError, match='none of its 6 evaluated users'):
        run_of(shop, **{'evaluate.selection_protocol': 'full'}).evaluator('valid')  # it is no such item of the test
    run_of(shop, repeats=True, **{'evaluate.selection_protocol': 'full'}).evaluator('valid')

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.evaluation import significance
from grasp_jax.ranking.metrics import Ranks, ndcg


def scores(values, name='a', users=None):
    users = np.arange(len(values)) if users is None else users
    return significance.UserScores(name, users, users + 1, np.asarray(values, float))


def test_no_difference_gives_one_and_an_empty_interval():
    values = np.random.default_rng(0).random(200)
    assert significance.compare(scores(values), scores(values, 'b'), 0) == {
        'difference': 0.0, 'low': 0.0, 'high': 0.0, 'p_value': 1.0, 'ranks': 0.0}


def test_a_clear_gain_is_significant_and_signs_turn_with_the_order():
    rng = np.random.default_rng(0)
    base = rng.random(2000)
    better = base + 0.05 + 0.2 * rng.normal(size=2000)
    found = significance.compare(scores(better), scores(base, 'b'), 0)
    assert 0 < found['low'] < found['difference'] < found['high'] and found['p_value'] < 1e-6
    turned = significance.compare(scores(base), scores(better, 'b'), 0)
    assert turned['difference'] == pytest.approx(-found['difference']) and turned['high'] < 0


def test_interval_covers_the_true_difference_and_chance_is_rarely_significant():
    covered = small = 0
    for trial in range(100):
        rng = np.random.default_rng(trial)
        # Few different values, as with NDCG@10; the true mean is 0.1.
        draw = rng.choice([-0.5, 0.0, 0.7], 300, p=[0.3, 3 / 7 - 0.1, 0.7 - (3 / 7 - 0.1)])
        truth = -0.5 * 0.3 + 0.7 * (0.7 - (3 / 7 - 0.1))
        low, high = significance.bootstrap_interval(draw, trial, 400)
        covered += low <= truth <= high
        noise = rng.normal(size=300)
        small += significance.compare(scores(noise), scores(np.zeros(300), 'b'), 0, 50)['p_value'] < 0.05
    assert covered >= 88 and small <= 12


def test_bootstrap_is_that_of_a_plain_loop_in_distribution():
    rng = np.random.default_rng(0)
    values = rng.choice([0.0, 0.3, 1.0], 400)
    plain = [values[rng.integers(0, 400, 400)].mean() for _ in range(4000)]
    low, high = significance.bootstrap_interval(values, 1, 4000)
    assert (low, high) == pytest.approx(tuple(np.quantile(plain, [0.025, 0.975])), abs=0.006)


def test_same_seed_same_interval_also_across_blocks(monkeypatch):
    values = np.random.default_rng(0).random(500)
    first = significance.bootstrap_interval(values, 3)
    assert first == significance.bootstrap_interval(values, 3) != significance.bootstrap_interval(values, 4)
    monkeypatch.setattr(significance, '_CELLS', 7 * 500)  # 7 resamples at a time instead of all
    assert significance.bootstrap_interval(values, 3) == pytest.approx(first, rel=1e-12)


def test_seeds_are_averaged_per_user():
    users = np.arange(3)
    runs = [Ranks(users, users + 1, np.array(sampled), np.array([1, 1, 1])) for sampled in ([1, 2, 50], [2, 2, 1])]
    expected = (ndcg(np.array([1, 2, 50]), 10) + ndcg(np.array([2, 2, 1]), 10)) / 2
    assert significance.user_scores('a', runs).values == pytest.approx(expected)
    assert significance.user_scores('a', runs, 'full').values.tolist() == [1, 1, 1]


def test_a_method_is_compared_over_the_seeds_that_both_have():
    rng = np.random.default_rng(0)
    users = np.arange(4000)
    runs = {seed: Ranks(users, users + 1, 1 + rng.geometric(0.05, len(users)), np.ones(len(users)))
            for seed in (42, 43, 44)}
    same = significance.compare_runs('a', {42: runs[42]}, 'b', runs, 'sampled', 10, 0)
    assert same == {'difference': 0.0, 'low': 0.0, 'high': 0.0, 'p_value': 1.0, 'ranks': 0.0}
    other = significance.compare_runs('a', {7: runs[44]}, 'b', runs, 'sampled', 10, 0)  # none is shared
    one = [significance.user_scores('c', [runs[seed]]) for seed in (44, 42)]
    assert other == significance.compare(*one, 0)


def test_a_mark_needs_the_interval_beside_the_test():
    found = {'difference': 0.1, 'low': 0.05, 'high': 0.2, 'p_value': 0.001, 'ranks': 0.3}
    assert significance.mark(found) == '**' and significance.mark({**found, 'p_value': 0.02}) == '*'
    assert significance.mark({**found, 'p_value': 0.06}) == '' == significance.mark({**found, 'low': -0.01})


def test_no_mark_where_the_mean_and_the_ranks_point_apart():
    values = np.r_[np.full(800, 0.02), np.full(200, -0.5)]  # a small gain for most, a large loss for some
    found = significance.compare(scores(values), scores(np.zeros(1000), 'b'), 0)
    assert found['high'] < 0 < found['ranks'] and found['p_value'] < 1e-10
    assert significance.mark(found) == ''
    assert significance.mark(significance.compare(scores(values + 0.5), scores(np.zeros(1000), 'b'), 0)) == '**'


def test_noise_of_averages_over_seeds_is_no_difference():
    three = np.full(300, (0.1 + 0.2 + 0.3) / 3)
    assert (three != 0.2).all()
    assert significance.compare(scores(three), scores(np.full(300, 0.2), 'b'), 0)['p_value'] == 1.0


def test_other_users_are_refused():
    with pytest.raises(UserError, match='a and b: were evaluated on different users'):
        significance.compare(scores(np.zeros(3)), scores(np.zeros(4), 'b'), 0)
    with pytest.raises(UserError, match='different users'):
        significance.compare(scores(np.zeros(3)), scores(np.zeros(3), 'b', np.array([0, 2, 1])), 0)
    with pytest.raises(UserError, match='no user was evaluated'):
        significance.compare(scores([]), scores([], 'b'), 0)


def test_users_without_a_rank_under_either_are_left_out_of_both():
    rng = np.random.default_rng(4)
    values, others = rng.random(60), rng.random(60)
    mine, theirs = scores(np.where(np.arange(60) < 4, np.nan, values)), scores(
        np.where(np.arange(60) % 9 == 1, np.nan, others), 'b')
    kept = np.isfinite(mine.values) & np.isfinite(theirs.values)
    assert 0 < kept.sum() < 57
    same = [significance.UserScores(name, each.users[kept], each.targets[kept], each.values[kept])
            for name, each in (('a', mine), ('b', theirs))]
    assert significance.compare(mine, theirs, 0) == significance.compare(*same, 0)
    with pytest.raises(UserError, match='no user has a candidate beside the test item'):
        significance.compare(scores([np.nan, 1.0]), scores([0.5, np.nan], 'b'), 0)


def test_a_rank_that_is_none_is_a_value_that_is_none():
    ranks = Ranks(np.arange(3), np.arange(3), np.array([1, np.nan, 30]), np.array([np.nan, 2, 3]))
    for protocol in ('sampled', 'full'):
        np.testing.assert_array_equal(significance.user_scores('a', [ranks, ranks], protocol).values,
                                      ndcg(getattr(ranks, protocol), 10))
    assert np.isnan(significance.user_scores('a', [ranks]).values).tolist() == [False, True, False]

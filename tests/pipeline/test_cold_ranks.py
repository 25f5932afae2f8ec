"""Ranks of what was no part of training, beside a content baseline and chance."""

import json

import numpy as np
import pytest

from grasp_jax.evaluation.report_markdown import cold_rows
from grasp_jax.pipeline import cold_start
from grasp_jax.ranking import metrics

SHARES = {'evaluate__cold_items': 0.2, 'evaluate__cold_users': 0.2}


def test_a_content_rank_is_that_of_a_sort():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(40, 6)).astype(np.float32)
    vectors[7] = vectors[8]  # a tie
    histories = [rng.choice(40, 4, replace=False) + 1 for _ in range(30)]
    targets = np.array([*rng.integers(1, 41, 28), 8, 9])
    found = cold_start.content_ranks(vectors, histories, targets)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    for history, target, rank in zip(histories, targets, found, strict=True):
        scores = unit @ unit[history - 1].mean(0)
        others = np.setdiff1d(np.arange(1, 41), [*history, target])
        ahead = sum((scores[other - 1] > scores[target - 1]) + 0.5 * (scores[other - 1] == scores[target - 1])
                    for other in others)
        assert rank == pytest.approx(1 + ahead)


@pytest.mark.parametrize('repeats', [False, True])
def test_where_people_buy_again_the_history_stays_and_who_is_alone_counts_nowhere(repeats):
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(6, 4)).astype(np.float32)
    histories = [np.array([1, 2, 3, 2]), np.array([1, 2, 3, 4, 5]), np.array([1, 2, 3, 4, 5, 6])]
    found = cold_start.content_ranks(vectors, histories, np.array([2, 6, 4]), repeats)
    assert np.isnan(found).tolist() == [False, not repeats, not repeats]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = unit @ unit[np.array([1, 2, 3, 2]) - 1].mean(0)
    others = [1, 3, 4, 5, 6] if repeats else [4, 5, 6]
    assert found[0] == 1 + sum(scores[other - 1] > scores[1] for other in others)
    ranks = {'users_candidates': np.array([4, 1, 1]), 'users_model': np.array([2.0, 1.0, 1.0]), 'users_content': found}
    told = cold_start._summary('users', ranks, [1])
    assert (told['cases'], told['without_candidates'], told['candidates']) == (1, 2, 4)
    assert told['model']['HR@1'] == 0 and told['chance']['HR@1'] == 0.25
    assert cold_start._summary('users', {'users_candidates': np.array([1])}, [1]) is None


@pytest.mark.slow
def test_a_run_with_repeats_ranks_cold_ones_among_all_items(finished):
    workdir = finished(evaluate__repeats=True, model__method='none', **SHARES)
    found = json.loads((workdir / 'report.json').read_text())
    assert found['cold_start']['users']['candidates'] == found['data']['items']
    assert found['cold_start']['items']['candidates'] > found['data']['items']
    assert found['test']['full_unmasked'] is None and found['protocol']['repeats'] is True


def test_chance_is_what_random_ranks_reach():
    candidates = np.array([20, 30])
    expected = cold_start._chance(candidates, [1, 5])
    ranks = np.concatenate([np.tile(np.arange(1, count + 1), 60 // count) for count in candidates])
    weights = metrics.summarise(ranks, [1, 5])
    assert expected['HR@1'] == pytest.approx((1 / 20 + 1 / 30) / 2)
    assert expected['HR@5'] == pytest.approx((5 / 20 + 5 / 30) / 2)
    assert expected['NDCG@5'] == pytest.approx(weights['NDCG@5'], rel=0.01)


@pytest.mark.slow
def test_a_report_has_both_beside_chance(finished):
    workdir = finished(**SHARES)
    report = json.loads((workdir / 'report.json').read_text())
    found = report['cold_start']
    for who in ('items', 'users'):
        for name in ('model', 'content', 'chance'):
            assert 0 <= found[who][name]['HR@5'] <= 1
        assert found[who]['cases'] > 0
    assert len(cold_rows(report)) == 7
    assert found['items']['candidates'] > report['data']['items'] - 12  # the cold ones are among the candidates
    assert '## Cold start' in (workdir / 'report.md').read_text()
    again = cold_start.evaluate(workdir, 42, (1, 3, 5))
    assert again['users']['model'] == pytest.approx(found['users']['model'])


@pytest.mark.slow
def test_ids_alone_say_nothing_of_cold_items(finished):
    report = json.loads((finished(model__method='none', **SHARES) / 'report.json').read_text())
    assert report['cold_start']['items']['model'] is None and report['cold_start']['items']['chance']['HR@5'] > 0
    assert report['cold_start']['users']['model'] is not None and report['cold_start']['users']['content'] is None

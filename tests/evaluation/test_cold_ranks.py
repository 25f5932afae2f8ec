"""Ranks of what was no part of training, beside a content baseline and chance."""

import json

import numpy as np
import pytest

from grasp_jax.evaluation import cold_start, metrics
from grasp_jax.evaluation.tables import cold_rows

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


def test_chance_is_what_random_ranks_reach():
    candidates = np.array([20, 30])
    expected = cold_start._chance(candidates, [1, 5])
    ranks = np.concatenate([np.tile(np.arange(1, count + 1), 60 // count) for count in candidates])
    weights = metrics.summarise(ranks, [1, 5])
    assert expected['HR@1'] == pytest.approx((1 / 20 + 1 / 30) / 2)
    assert expected['HR@5'] == pytest.approx((5 / 20 + 5 / 30) / 2)
    assert expected['NDCG@5'] == pytest.approx(weights['NDCG@5'], rel=0.01)


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


def test_ids_alone_say_nothing_of_cold_items(finished):
    report = json.loads((finished(model__method='none', **SHARES) / 'report.json').read_text())
    assert report['cold_start']['items']['model'] is None and report['cold_start']['items']['chance']['HR@5'] > 0
    assert report['cold_start']['users']['model'] is not None and report['cold_start']['users']['content'] is None

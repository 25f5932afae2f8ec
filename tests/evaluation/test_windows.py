"""All items of a window as targets: RecTools' values on random lists, RePlay's formulas, tiny examples by hand."""

import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.data.interactions import Interactions
from grasp_jax.evaluation import baselines
from grasp_jax.pipeline.checks import check_config
from grasp_jax.ranking import windows
from grasp_jax.ranking.metrics import Ranks, load_ranks, save_ranks, summarise, summary, with_hits
from tests.evaluation.random_lists import ITEMS, KS, USERS, drawn

HERE = pathlib.Path(__file__).parent
# Three users whose training ends behind 2, 2 and 1 items, and whose validation ends behind 3, 3 and 1.
KNOWN = Interactions(np.array([0, 6, 10, 13]), np.array([1, 2, 3, 4, 4, 1, 5, 5, 1, 5, 2, 6, 3], np.int32), 6,
                     np.array([[2, 2, 1], [3, 3, 1]]))


def random_wanted():
    lists, rows, _ = drawn()
    pairs = np.unique(rows[:, 0] * (ITEMS + 1) + rows[:, 1])
    return lists, windows.Wanted(np.bincount(pairs // (ITEMS + 1), minlength=USERS), pairs, ITEMS + 1)


def means(lists, found, ks=KS):
    there = windows.hits(lists, found)
    return {name: values.mean() for name, values in windows.values(there, found.counts, ks).items()}


def assert_those_of_rectools(recorded):
    found = means(*random_wanted())
    assert set(recorded) == {'version', *found}
    for name, value in found.items():
        assert value == pytest.approx(recorded[name], abs=1e-6, rel=1e-9), name


def test_a_thousand_random_lists_have_the_values_that_were_recorded_of_rectools():
    assert_those_of_rectools(json.loads((HERE / 'rectools_accuracy.json').read_text()))


def test_a_thousand_random_lists_have_the_values_of_rectools():
    python = os.environ.get('RECTOOLS_PYTHON', sys.executable)
    done = subprocess.run([python, HERE / 'record_rectools.py', 'accuracy'], capture_output=True, text=True,
                          check=False)
    if done.returncode:
        pytest.skip(f'RecTools is not in this environment ({done.stderr.strip().splitlines()[-1]}); name an '
                    'interpreter that has it in RECTOOLS_PYTHON')
    assert_those_of_rectools(json.loads(done.stdout))


def test_users_one_by_one_as_replay_defines_them():
    lists, wanted = random_wanted()
    found = windows.values(windows.hits(lists, wanted), wanted.counts, (1, 5, 20))
    for user in range(0, USERS, 7):
        own = [int(item) for item in lists[user] if item]
        truth = {int(pair % (ITEMS + 1)) for pair in wanted.pairs if pair // (ITEMS + 1) == user}
        for k in (1, 5, 20):
            gain = sum(1 / math.log2(place + 2) for place, item in enumerate(own[:k]) if item in truth)
            ideal = sum(1 / math.log2(place + 2) for place in range(min(k, len(truth))))
            assert found[f'NDCG@{k}'][user] == pytest.approx(gain / ideal)
            assert found[f'Recall@{k}'][user] == pytest.approx(len(set(own[:k]) & truth) / len(truth))


def test_what_is_wanted_is_different_and_new_unless_repeats_are_asked_for():
    users = np.array([0, 1, 2])
    test = windows.wanted(KNOWN, users, 'test')
    assert test.counts.tolist() == [1, 0, 2] and test.pairs.tolist() == [4, 17, 20]  # 4; none; 3 and 6
    assert windows.wanted(KNOWN, users, 'test', repeats=True).pairs.tolist() == [1, 4, 12, 17, 20]
    valid = windows.wanted(KNOWN, users[:2], 'valid')
    assert valid.counts.tolist() == [1, 1] and valid.pairs.tolist() == [3, 8]
    assert test.some(slice(1, 3)).pairs.tolist() == [10, 13] and test.some(slice(1, 3)).counts.tolist() == [0, 2]
    # Under leave-one-out a window is one item.
    plain = Interactions(KNOWN.indptr, KNOWN.items, 6)
    for split in ('valid', 'test'):
        found = windows.wanted(plain, plain.evaluated_users(split), split, repeats=True)
        assert (found.pairs % 7).tolist() == plain.targets(split).tolist() and found.counts.tolist() == [1, 1, 1]


def test_nothing_new_counts_nowhere_and_short_lists_are_misses():
    known = Interactions(np.array([0, 3, 6]), np.array([1, 2, 1, 1, 2, 3], np.int32), 4, np.array([[1, 1], [2, 2]]))
    wanted = windows.wanted(known, np.array([0, 1]), 'test')
    assert wanted.counts.tolist() == [0, 1]
    found = windows.values(windows.hits(np.array([[3, 4, 0], [4, 0, 0]]), wanted), wanted.counts, (1, 5))
    assert all(math.isnan(values[0]) for values in found.values())
    assert {name: values[1] for name, values in found.items()} == {
        'NDCG@1': 0, 'NDCG@5': 0, 'HR@1': 0, 'HR@5': 0, 'Recall@1': 0, 'Recall@5': 0, 'MRR': 0}


def test_one_target_has_the_values_of_its_rank(tmp_path):
    """With one item wanted of each user, lists and ranks say the same."""
    rng = np.random.default_rng(0)
    lists = np.stack([rng.permutation(30) + 1 for _ in range(50)])
    targets = rng.integers(1, 31, 50).astype(np.int32)
    ranks = (1 + np.argmax(lists == targets[:, None], 1)).astype(np.float32)
    plain = Ranks(np.arange(50, dtype=np.int32), targets, ranks, ranks)
    many = with_hits(plain, lists, windows.Wanted(np.ones(50, np.int32), np.arange(50) * 31 + targets, 31))
    found = summary(many, 'full', (1, 5, 10))
    assert {name: found[name] for name in summarise(ranks, (1, 5, 10))} == pytest.approx(summarise(ranks, (1, 5, 10)))
    assert found['Recall@5'] == pytest.approx(found['HR@5']) and 'Recall@5' not in summary(many, 'sampled', (5,))
    save_ranks(tmp_path, many)
    assert summary(load_ranks(tmp_path), 'full', (1, 5, 10)) == found
    assert load_ranks(tmp_path).hits.dtype == np.uint8
    half = np.arange(50) < 25
    assert summary(many, 'full', (5,), half)['NDCG@5'] == pytest.approx(many.values('full', (5,))['NDCG@5'][:25].mean())


def test_lists_of_baselines_hold_the_best_items_the_smaller_number_first():
    rng = np.random.default_rng(3)
    lengths = rng.integers(4, 12, 40)
    ends = np.stack([np.maximum(lengths // 2, 1), np.maximum(lengths // 2 + 1, 2)])
    known = Interactions(np.concatenate([[0], np.cumsum(lengths)]), rng.integers(1, 21, lengths.sum()).astype(np.int32),
                         20, ends)
    sample = baselines.ranked(known, np.zeros((40, 5), np.int32), depth=6)
    found = baselines.by_counts(known, sample)['popularity']
    counts, wanted = known.train_item_counts(), windows.wanted(known, sample.users, 'test')
    for row, history in enumerate(sample.histories):
        best = [item for item in sorted(range(1, 21), key=lambda item: (-counts[item], item)) if item not in history]
        truth = set(known.full_sequence(int(sample.users[row]))[len(history):]) - set(history)
        assert found.hits[row].tolist() == [item in truth for item in best[:6]] + [0] * (6 - len(best[:6]))
        assert found.wanted[row] == wanted.counts[row] == len(truth)
    vectors = rng.normal(size=(20, 4)).astype(np.float32)
    assert baselines.by_content(sample, vectors).hits.shape == (40, 6)


@pytest.mark.parametrize('settings, message', [
    ({'evaluate.targets': 'every', 'data.split': 'time'}, "evaluate.targets='every': choose one of next, all"),
    ({'evaluate.targets': 'all'}, 'under data.split=leave_one_out a user has one target'),
])
def test_targets_that_cannot_be(settings, message):
    with pytest.raises(UserError, match=message):
        check_config(changed(default(), {'model.method': 'none', **settings}))

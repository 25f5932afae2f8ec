"""Values beyond accuracy: RecTools' on random lists, plain definitions, tiny examples by hand, properties."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import scipy.spatial.distance

from grasp_jax.common.errors import UserError
from grasp_jax.data.interactions import Interactions
from grasp_jax.evaluation import beyond_accuracy
from grasp_jax.ranking.lists import LISTS_FILE, Lists, depth_of, load_lists, save_lists
from tests.evaluation.random_lists import DEPTH, ITEMS, KS, USERS, drawn

HERE = pathlib.Path(__file__).parent
# Three users; the last two items of each are held out of training, the last one of the test's input.
TINY = Interactions(np.array([0, 5, 9, 13]), np.array([1, 1, 2, 3, 4, 1, 2, 5, 3, 1, 3, 2, 6], np.int32), 6)
VECTORS = np.array([[0, 0], [1, 0], [0, 2], [-3, 0], [0, 0], [1, 1], [1, 0]], np.float32)


def random_known(vectors=True):
    lists, rows, table = drawn()
    owners = np.array([len(set(rows[rows[:, 1] == item, 0])) for item in range(ITEMS + 1)])
    counts = np.bincount(rows[:, 1], minlength=ITEMS + 1)
    return lists, beyond_accuracy.Known(counts, owners, len(set(rows[:, 0])), table if vectors else None)


def assert_those_of_rectools(recorded):
    found = beyond_accuracy.of_lists(random_known()[0], KS, random_known()[1])
    names = [f'{name}@{k}' for k in KS for name in ('Coverage', 'Popularity', 'Novelty', 'Diversity')]
    assert set(recorded) == {'version', *names}
    for name in names:
        assert found[name] == pytest.approx(recorded[name], abs=1e-6, rel=1e-9), name


def test_a_thousand_random_lists_have_the_values_that_were_recorded_of_rectools():
    assert_those_of_rectools(json.loads((HERE / 'rectools_values.json').read_text()))


def test_a_thousand_random_lists_have_the_values_of_rectools():
    python = os.environ.get('RECTOOLS_PYTHON', sys.executable)
    done = subprocess.run([python, HERE / 'record_rectools.py'], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f'RecTools is not in this environment ({done.stderr.strip().splitlines()[-1]}); name an '
                    'interpreter that has it in RECTOOLS_PYTHON')
    assert_those_of_rectools(json.loads(done.stdout))


def test_gini_is_half_the_relative_mean_difference():
    """RecTools has none: the definition by all pairs of items."""
    lists, known = random_known(vectors=False)
    found = beyond_accuracy.of_lists(lists, KS, known)
    for k in KS:
        counts = np.array([(lists[:, :k] == item).sum() for item in range(1, ITEMS + 1)], float)
        plain = np.abs(counts[:, None] - counts[None]).mean() / (2 * counts.mean())
        assert found[f'Gini@{k}'] == pytest.approx(plain, abs=1e-9)
        assert found[f'Diversity@{k}'] is None


def test_one_list_for_all_and_every_item_as_often():
    known = random_known(vectors=False)[1]
    same = np.broadcast_to(np.arange(1, 11), (50, 10))
    found = beyond_accuracy.of_lists(same, (5, 10), known)
    for k in (5, 10):
        assert found[f'Coverage@{k}'] == pytest.approx(k / ITEMS)
        assert found[f'Gini@{k}'] == pytest.approx(1 - k / ITEMS)
    even = np.roll(np.arange(1, ITEMS + 1)[:, None] + np.arange(10)[None], 0) % ITEMS + 1
    found = beyond_accuracy.of_lists(even, (1, 10), known)
    for k in (1, 10):
        assert found[f'Coverage@{k}'] == 1 and found[f'Gini@{k}'] == pytest.approx(0, abs=1e-12)


def test_the_order_of_users_the_names_of_items_and_the_order_inside_a_list_do_not_count():
    lists, known = random_known()
    rng = np.random.default_rng(0)
    rename = np.append(0, 1 + rng.permutation(ITEMS))
    back = np.argsort(rename)
    other = beyond_accuracy.Known(known.counts[back], known.owners[back], known.users, known.vectors[back])
    shuffled = lists[rng.permutation(USERS)]
    full = shuffled[(shuffled > 0).all(1)]
    inside = np.concatenate([rng.permuted(full, axis=1), shuffled[(shuffled == 0).any(1)]])
    for some, against in ((shuffled, known), (rename[lists], other), (inside, known)):
        found, whole = (beyond_accuracy.of_lists(each, (DEPTH,), measure) for each, measure in
                        ((some, against), (lists, known)))
        assert found == pytest.approx(whole)


def test_short_lists_count_the_items_that_they_have_and_empty_ones_do_not_count():
    known = beyond_accuracy.known_of(TINY, VECTORS)
    short = np.array([[1, 2, 0, 0], [2, 0, 0, 0]])
    found = beyond_accuracy.of_lists(short, (2, 4, 9), known)
    for name in beyond_accuracy.OF_ALL:  # nothing is behind the second place
        assert found[f'{name}@2'] == found[f'{name}@4'] == found[f'{name}@9']
    with_empty = np.append(short, np.zeros((3, 4), int), axis=0)
    assert beyond_accuracy.of_lists(with_empty, (2, 4, 9), known) == found
    groups = {'all': np.ones(2, bool)}
    calibration = beyond_accuracy.of_groups(short, np.arange(2), TINY, groups, (2, 4), known)['all']
    assert calibration['PopularityLift@2'] == calibration['PopularityLift@4']
    nothing = beyond_accuracy.of_lists(np.zeros((3, 4), int), (2,), known)
    assert set(nothing.values()) == {None} and set(nothing) == {f'{name}@2' for name in beyond_accuracy.OF_ALL}
    assert set(beyond_accuracy.of_groups(np.zeros((3, 4), int), np.arange(3), TINY, {'all': np.ones(3, bool)}, (2,),
                                         known)['all'].values()) == {None}


def test_a_tiny_example_by_hand():
    known = beyond_accuracy.known_of(TINY, VECTORS)  # training: 1 1 2 | 1 2 | 1 3
    assert known.counts.tolist() == [0, 4, 2, 1, 0, 0, 0] and known.owners.tolist() == [0, 3, 2, 1, 0, 0, 0]
    assert known.users == 3
    lists = np.array([[5, 6], [4, 6], [2, 3]])
    found = beyond_accuracy.of_lists(lists, (1, 2), known)
    rare = np.log2(3)  # one of three users has it, or none
    assert found['Coverage@1'] == 3 / 6 and found['Coverage@2'] == pytest.approx(5 / 6)
    assert found['Gini@1'] == pytest.approx(0.5) and found['Popularity@1'] == pytest.approx(2 / 3)
    assert found['Popularity@2'] == pytest.approx(1.5 / 3)
    assert found['Novelty@2'] == pytest.approx((rare + rare + (np.log2(1.5) + rare) / 2) / 3)
    # (1, 1) and (1, 0): 1 - cos 45; a zero vector: 1; at right angles: 1.
    assert found['Diversity@2'] == pytest.approx((1 - np.sqrt(0.5) + 1 + 1) / 3) and found['Diversity@1'] == 0
    groups = {'tail_user': np.array([False, True, True]), 'head_user': np.array([True, False, False]),
              'none': np.zeros(3, bool)}
    calibration = beyond_accuracy.of_groups(lists, np.arange(3), TINY, groups, (2,), known)
    # Histories of the test: 1 1 2 3, 1 2 5 and 1 3 2.
    assert calibration['head_user']['PopularityLift@2'] == -1
    before = 6 / 3 + 7 / 3
    assert calibration['tail_user']['PopularityLift@2'] == pytest.approx(1.5 / before - 1)
    assert set(calibration['none'].values()) == {None}


def test_kinds_of_popularity_and_their_divergence():
    # 100 interactions: 40 30 | 10 | 4 4 4 4 4, so that the rare make up a fifth, and one item the upper fifth.
    kinds = beyond_accuracy.popularity_kinds(np.array([0, 40, 30, 10, 4, 4, 4, 4, 4]))
    assert kinds.tolist() == [1, 0, 1, 1, 2, 2, 2, 2, 2]
    assert beyond_accuracy.popularity_kinds(np.array([0, 5, 5, 5])).tolist() == [1, 0, 0, 0]  # one kind, not by the ids
    assert beyond_accuracy.popularity_kinds(np.array([0, 0, 9])).tolist() == [1, 2, 0]
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 5, (2, 50, 3)) + np.array([1, 0, 0])
    plain = scipy.spatial.distance.jensenshannon(left, right, base=2, axis=1) ** 2
    np.testing.assert_allclose(beyond_accuracy.divergence(left, right), plain, atol=1e-12)
    apart = beyond_accuracy.divergence(np.array([[4, 0, 0], [2, 2, 0]]), np.array([[0, 1, 1], [1, 1, 0]]))
    np.testing.assert_allclose(apart, [1, 0], atol=1e-12)


def test_lists_that_repeat_the_histories_are_calibrated_and_popular_ones_are_not():
    rng = np.random.default_rng(3)
    lengths = np.full(60, 12)
    items = rng.zipf(1.4, lengths.sum()).clip(max=80).astype(np.int32)
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]), items, 80)
    known, users = beyond_accuracy.known_of(interactions), np.arange(60)
    groups = {'all': np.ones(60, bool)}
    own = np.stack([interactions.sequence(user, 'test') for user in users])
    found = beyond_accuracy.of_groups(own, users, interactions, groups, (11,), known)['all']
    assert found['PopularityLift@11'] == pytest.approx(0) and found['PopularityDeviation@11'] == pytest.approx(0)
    best = np.broadcast_to(1 + np.argsort(-known.counts[1:])[:3], (60, 3))
    found = beyond_accuracy.of_groups(best, users, interactions, groups, (3,), known)['all']
    assert found['PopularityLift@3'] > 0.2 and found['PopularityDeviation@3'] > 0.1


def test_lists_survive_the_disk_and_damage_is_named(tmp_path):
    assert load_lists(tmp_path) is None and depth_of(tmp_path) == 0
    lists = Lists(np.arange(3), np.arange(12).reshape(3, 4))
    save_lists(tmp_path, lists)
    for written, read in zip(lists, load_lists(tmp_path), strict=True):
        np.testing.assert_array_equal(written, read)
    assert depth_of(tmp_path) == 4 and [path.name for path in tmp_path.iterdir()] == [LISTS_FILE]
    save_lists(tmp_path, Lists(np.arange(2), np.arange(12).reshape(3, 4)))
    with pytest.raises(UserError, match=r'test_lists\.npz: holds no lists of its users; delete it'):
        load_lists(tmp_path)
    (tmp_path / LISTS_FILE).write_bytes(b'PK\x03\x04 cut off')
    with pytest.raises(UserError, match=r'test_lists\.npz: cannot be read .*; delete it and run again'):
        load_lists(tmp_path)

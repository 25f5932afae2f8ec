"""Trust in texts, how many are wrong, and what is made of those."""

import csv

import numpy as np
import pytest
from scipy.stats import rankdata

from grasp_jax.data.dataset import Dataset
from grasp_jax.retrieval import bought_together, wrong_texts
from grasp_jax.retrieval.exact import unit
from grasp_jax.vectors import vector_files
from tests.retrieval.test_bought_together import some_sequences, texts_of_kinds

ITEMS, KINDS = 400, 8


def a_shop():
    """Items of eight kinds, and who bought them."""
    return some_sequences(3000, ITEMS, KINDS), texts_of_kinds(ITEMS, KINDS)


def titled(bought):
    ids = [f'i{item}' for item in range(1, ITEMS + 1)]
    attributes = [{'title': f'kind {row % KINDS}'} for row in range(ITEMS)]
    return Dataset('shop', bought, [str(user) for user in range(bought.num_users)], ids, attributes,
                   [{}] * bought.num_users, {})


def swapped_texts(vectors, share, seed=3):
    """Vectors of which a share is those of others, and which rows have one of another kind."""
    rows = np.random.default_rng(seed).permutation(ITEMS)[:int(ITEMS * share)] + 1
    other = np.roll(rows, 1)
    wrong = vectors.copy()
    wrong[rows] = vectors[other]
    changed = np.zeros(ITEMS + 1, bool)
    changed[rows] = (rows - 1) % KINDS != (other - 1) % KINDS
    return wrong, changed


def trusts(bought, vectors):
    vectors = unit(vectors)
    return wrong_texts.trust(vectors, bought_together.neighbours_mean(bought_together.together(bought), vectors))[1:]


def area(found, wrong):
    """AUC: the chance that a right text is trusted more than a wrong one."""
    ranks, right = rankdata(found), (~wrong).sum()
    return (ranks[~wrong].sum() - right * (right + 1) / 2) / (right * wrong.sum())


@pytest.mark.parametrize(('share', 'wanted'), [(0.1, 0.95), (0.5, 0.9)])
def test_trust_tells_swapped_texts_from_right_ones(share, wanted):
    bought, vectors = a_shop()
    vectors, wrong = swapped_texts(vectors, share)
    assert wrong.sum() > ITEMS * share * 0.8
    assert area(trusts(bought, vectors), wrong[1:]) > wanted


def test_trust_of_equal_texts_says_nothing():
    assert trusts(some_sequences(), np.ones((41, 3), np.float32)).tolist() == [0.5] * 40


@pytest.mark.parametrize('share', [0.1, 0.25, 0.5, 0.75])
def test_the_share_of_wrong_texts_is_found_without_knowing_which(share):
    bought, vectors = a_shop()
    assert abs(wrong_texts.share_wrong(trusts(bought, swapped_texts(vectors, share)[0])) - share) < 0.12


def test_right_texts_are_left_as_they_are_and_texts_that_say_nothing_are_all_wrong():
    bought, vectors = a_shop()
    assert wrong_texts.share_wrong(trusts(bought, vectors)) == 0
    assert wrong_texts.share_wrong(trusts(bought, np.random.default_rng(0).standard_normal(vectors.shape))) > 0.85


def test_too_few_items_tell_no_share():
    assert wrong_texts.share_wrong(np.zeros(99)) == 0
    assert wrong_texts.share_wrong(np.zeros(100)) == 1


def test_chances_fall_with_trust_and_add_up_to_the_share():
    bought, vectors = a_shop()
    found = trusts(bought, swapped_texts(vectors, 0.5)[0])
    chance = wrong_texts.chance_wrong(found, np.ones(ITEMS, bool))
    assert np.all(np.diff(chance[np.argsort(found)]) <= 0)
    assert abs(chance.mean() - wrong_texts.share_wrong(found)) < 0.1


def written(folder, *arguments):
    facts = wrong_texts.write_mended(*arguments, folder)
    return facts, *(np.load(folder / name) for name in (vector_files.ITEMS_MENDED, vector_files.ITEMS_SMOOTHED))


def test_wrong_vectors_come_back_to_their_kind_and_right_ones_stay(tmp_path):
    bought, right = a_shop()
    wrong, changed = swapped_texts(right, 0.5)
    facts, whole, mixed = written(tmp_path, titled(bought), wrong, 1.0)
    centres = np.stack([unit(right)[1 + kind::KINDS].mean(0) for kind in range(KINDS)])

    def of_their_kind(vectors, rows):
        return np.mean((unit(vectors)[rows] @ centres.T).argmax(1) == (np.flatnonzero(rows) - 1) % KINDS)

    assert of_their_kind(wrong, changed) == 0
    assert of_their_kind(whole, changed) > 0.8 and of_their_kind(mixed, changed) > 0.9
    stayed = (unit(right) * whole).sum(1)[~changed][1:]
    assert np.median(stayed) > 0.99
    lines = list(csv.DictReader((tmp_path / 'doubtful_texts.csv').open(encoding='utf-8')))
    assert facts['items_with_neighbours'] == ITEMS and facts['doubtful'] == len(lines)
    assert abs(len(lines) - changed.sum()) < 0.1 * ITEMS
    assert np.mean([changed[int(line['item'][1:])] for line in lines[:50]]) > 0.9, 'the surest come first'
    kind = {line['title'] for line in lines if line['title'] == 'kind 3'}
    assert kind and all(set(line['bought_with'].split('; ')) == {line['title']} for line in lines)
    np.testing.assert_allclose(np.load(tmp_path / 'item_trust.npy')[1:], trusts(bought, wrong), atol=2e-3)


@pytest.mark.parametrize('rows', (3, 1000))
@pytest.mark.parametrize('share', (0.5, 2.0))
def test_tables_are_written_block_by_block_in_the_dtype_of_the_vectors(tmp_path, monkeypatch, rows, share):
    bought, vectors = a_shop()
    vectors = swapped_texts(vectors, 0.3)[0]
    table, own = bought_together.together(bought), unit(vectors)
    found = wrong_texts.trust(own, bought_together.neighbours_mean(table, own))
    chance = wrong_texts.chance_wrong(found, np.arange(ITEMS + 1) > 0)
    means = bought_together.neighbours_mean(table, own, 1 - chance)
    wanted = wrong_texts.mended(own, means, chance)
    monkeypatch.setattr(vector_files, '_BLOCK', rows * 16)
    for dtype, off in ((np.float32, 2e-5), (np.float16, 2e-2)):
        _, whole, mixed = written(tmp_path, titled(bought), vectors.astype(dtype), share)
        assert whole.dtype == mixed.dtype == dtype and not whole[0].any() and not mixed[0].any()
        np.testing.assert_allclose(whole, wanted, atol=off)
        np.testing.assert_allclose(mixed, bought_together.smoothed(wanted, means, share), atol=off)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        'doubtful_texts.csv', 'item_trust.npy', 'items_mended.npy', 'items_smoothed.npy']


def test_many_wrong_texts_are_warned_of(tmp_path, caplog):
    bought, vectors = a_shop()
    written(tmp_path, titled(bought), vectors, 1.0)
    assert not caplog.records
    facts = written(tmp_path, titled(bought), swapped_texts(vectors, 0.75)[0], 1.0)[0]
    assert facts['share_wrong'] > 0.6
    assert f'{facts["share_wrong"]:.0%} of the texts' in caplog.text

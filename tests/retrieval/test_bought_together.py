"""Neighbours in sequences, means of their vectors, and trust in texts."""

import numpy as np
import pytest
from scipy.stats import rankdata

from grasp_jax.data.interactions import Interactions
from grasp_jax.retrieval import bought_together
from grasp_jax.retrieval.exact import unit
from grasp_jax.vectors import vector_files


def some_sequences(users=300, items=40, kinds=4, seed=0):
    """Users who each stay among items of one kind; item i + 1 is of kind i % kinds."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 12, users)
    owner = np.repeat(rng.integers(0, kinds, users), lengths)
    bought = rng.integers(0, items // kinds, len(owner)) * kinds + owner + 1
    return Interactions(np.concatenate([[0], np.cumsum(lengths)]), bought.astype(np.int32), num_items=items)


def plain_table(interactions, window):
    """As `together`, pair by pair."""
    size = interactions.num_items + 1
    found = np.zeros((size, size))
    for user in range(interactions.num_users):
        begin, count = interactions.indptr[user], interactions.input_lengths('train')[user]
        items = interactions.items[begin:begin + count]
        for place, item in enumerate(items):
            for apart, other in enumerate(items[place + 1:place + 1 + window], start=1):
                if item != other:
                    found[item, other] += 1 / apart
                    found[other, item] += 1 / apart
    degree = np.maximum(found.sum(1), 1e-12)
    return found / np.sqrt(degree[:, None] * degree[None])


def texts_of_kinds(items=40, kinds=4, seed=1):
    """Vectors [m + 1, 16] that are alike within a kind."""
    rng = np.random.default_rng(seed)
    centres, noise = rng.standard_normal((kinds, 16)), rng.standard_normal((items, 16))
    vectors = centres[np.arange(items) % kinds] + 0.5 * noise
    return np.concatenate([np.zeros((1, 16)), vectors]).astype(np.float32)


@pytest.mark.parametrize('window', [1, 2, 5])
def test_the_table_counts_pairs_by_their_distance(window):
    bought = some_sequences()
    table = bought_together.together(bought, window)
    np.testing.assert_allclose(table.toarray(), plain_table(bought, window), rtol=1e-5)
    assert table.dtype == np.float32 and not table.diagonal().any()


def written(folder, bought, vectors, share=1.0):
    bought_together.write_smoothed(bought, vectors, share, folder / 'smoothed.npy')
    return np.load(folder / 'smoothed.npy')


def test_what_is_bought_after_training_changes_nothing(tmp_path):
    bought = some_sequences()
    later = bought.items.copy()
    ends = bought.indptr[1:]
    later[ends - 1], later[ends - 2] = 1, 2  # the test's and the validation's item of every user
    changed = Interactions(bought.indptr, later, bought.num_items)
    vectors = texts_of_kinds()
    np.testing.assert_array_equal(written(tmp_path, bought, vectors), written(tmp_path, changed, vectors))


@pytest.mark.parametrize('rows', (3, 1000))
@pytest.mark.parametrize('share', (0.5, 2.0))
def test_the_smoothed_table_is_written_block_by_block_in_the_dtype_of_the_vectors(tmp_path, monkeypatch, rows, share):
    monkeypatch.setattr(vector_files, '_BLOCK', rows * 16)
    bought, vectors = some_sequences(), texts_of_kinds()
    means = bought_together.neighbours_mean(bought_together.together(bought), vectors)
    wanted = bought_together.smoothed(vectors, means, share)
    np.testing.assert_allclose(written(tmp_path, bought, vectors, share), wanted, rtol=1e-5, atol=1e-7)
    half = written(tmp_path, bought, vectors.astype(np.float16), share)
    assert half.dtype == np.float16 and not half[0].any()
    np.testing.assert_allclose(half, wanted, atol=2e-3)


def test_an_item_without_neighbours_keeps_its_vector_and_nothing_is_known_of_its_text():
    bought = Interactions(np.array([0, 5]), np.array([1, 2, 1, 3, 4]), num_items=4)  # 3 and 4 come after training
    vectors = np.array([[0, 0], [2, 0], [0, 3], [1, 1], [0, 5]], np.float32)
    means = bought_together.neighbours_mean(bought_together.together(bought), vectors)
    np.testing.assert_array_equal(means, [[0, 0], [0, 1], [1, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(bought_together.smoothed(vectors, means)[3:], unit(vectors[3:]), rtol=1e-6)
    assert bought_together.trust(vectors, means)[[0, 3, 4]].tolist() == [bought_together.UNKNOWN] * 3


def test_smoothing_brings_wrong_texts_back_to_their_kind(tmp_path):
    bought, right = some_sequences(), texts_of_kinds()
    wrong = right.copy()
    swapped = np.random.default_rng(2).permutation(40)[:20] + 1
    wrong[swapped] = right[np.roll(swapped, 1)]

    def share_of_kind(vectors):
        scores = unit(vectors)[1:] @ unit(vectors)[1:].T
        np.fill_diagonal(scores, -9)
        return np.mean(scores.argmax(1) % 4 == np.arange(40) % 4)

    assert share_of_kind(wrong) < 0.7
    assert share_of_kind(written(tmp_path, bought, wrong)) > 0.85


@pytest.mark.parametrize(('share', 'wanted'), [(0.1, 0.95), (0.5, 0.8)])
def test_trust_tells_swapped_texts_from_right_ones(share, wanted):
    bought, vectors = some_sequences(), texts_of_kinds()
    table = bought_together.together(bought)
    swapped = np.random.default_rng(3).permutation(40)[:int(40 * share)] + 1
    vectors[swapped] = vectors[np.roll(swapped, 2)]
    kinds = np.arange(40) % 4
    wrong = np.zeros(40, bool)
    wrong[swapped - 1] = kinds[swapped - 1] != kinds[np.roll(swapped, 2) - 1]  # a text of its own kind is not wrong
    found = rankdata(bought_together.trust(vectors, bought_together.neighbours_mean(table, vectors))[1:])
    area = (found[~wrong].sum() - (~wrong).sum() * ((~wrong).sum() + 1) / 2) / ((~wrong).sum() * wrong.sum())
    assert area > wanted


def test_trust_of_equal_texts_says_nothing():
    bought = some_sequences()
    vectors = np.ones((41, 3), np.float32)
    means = bought_together.neighbours_mean(bought_together.together(bought), vectors)
    assert bought_together.trust(vectors, means).tolist() == [0.5] * 41

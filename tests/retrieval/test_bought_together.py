"""Neighbours in sequences, and means of their vectors."""

import numpy as np
import pytest

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


def plain_means(table, vectors, weight):
    """As `neighbours_mean`, item by item."""
    table, found = table.toarray().astype(np.float64), np.zeros(vectors.shape)
    for item, near in enumerate(table):
        far = near @ table
        far[item] = 0
        for counts in (near, far):
            if counts.sum() > 1e-5:
                found[item] += (counts * weight) @ vectors / counts.sum()
    return unit(found)


@pytest.mark.parametrize('rows', (3, 1000))
@pytest.mark.parametrize('weighed', (False, True))
def test_means_are_of_neighbours_and_of_their_neighbours_but_never_of_the_item_itself(monkeypatch, rows, weighed):
    monkeypatch.setattr(vector_files, '_BLOCK', rows * 16)
    bought, vectors = some_sequences(users=30), unit(texts_of_kinds())
    weight = np.random.default_rng(5).random(41).astype(np.float32) if weighed else None
    table = bought_together.together(bought)
    wanted = plain_means(table, vectors, np.ones(41) if weight is None else weight)
    np.testing.assert_allclose(bought_together.neighbours_mean(table, vectors, weight), wanted, atol=2e-5)


def test_what_is_bought_after_training_changes_nothing():
    bought = some_sequences()
    later = bought.items.copy()
    ends = bought.indptr[1:]
    later[ends - 1], later[ends - 2] = 1, 2  # the test's and the validation's item of every user
    changed = Interactions(bought.indptr, later, bought.num_items)
    assert (bought_together.together(bought) != bought_together.together(changed)).nnz == 0


def test_an_item_without_neighbours_has_no_mean_and_keeps_its_vector():
    bought = Interactions(np.array([0, 5]), np.array([1, 2, 1, 3, 4]), num_items=4)  # 3 and 4 come after training
    vectors = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 1]], np.float32)
    means = bought_together.neighbours_mean(bought_together.together(bought), vectors)
    np.testing.assert_array_equal(means, [[0, 0], [0, 1], [1, 0], [0, 0], [0, 0]])
    np.testing.assert_allclose(bought_together.smoothed(vectors, means)[3:], vectors[3:], rtol=1e-6)

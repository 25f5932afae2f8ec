"""What a run begins with where it starts from another one: items by their ids, new ones as their neighbours."""

import jax
import numpy as np
import pytest

from grasp_jax.training import warm_start
from grasp_jax.training.optimizer import make_optimizer
from grasp_jax.training.train_spec import train_spec

OLD, NEW = ('a', 'b', 'c', 'd'), ('c', 'x', 'a', 'y', 'd', 'z')


@pytest.fixture
def known():
    return warm_start.match_items(OLD, NEW)


@pytest.fixture
def matched_tables():
    rng = np.random.default_rng(0)
    return rng.normal(size=(128, 3)).astype(np.float32), rng.normal(size=(256, 3)).astype(np.float32)


def test_items_are_matched_by_their_ids(known):
    assert known.tolist() == [0, 3, 0, 1, 0, 4, 0], 'b is gone; 0 is padding, and what is new'
    assert warm_start.match_items(NEW, NEW).tolist() == list(range(7))


def test_a_new_item_is_the_mean_of_the_neighbours_that_were_known(known, matched_tables):
    before, fresh = matched_tables
    neighbours = np.array([[2, 3], [1, 5], [1, 2], [6, 3], [1, 3], [2, 0]], np.int32)
    table = warm_start.match_table(before, fresh, known, neighbours)
    for number, identity in enumerate(NEW, start=1):
        if identity in OLD:
            np.testing.assert_array_equal(table[number], before[1 + OLD.index(identity)])
    np.testing.assert_allclose(table[2], (before[3] + before[4]) / 2, rtol=1e-6)
    np.testing.assert_array_equal(table[4], before[1], 'z, its nearest, is new as well')
    np.testing.assert_array_equal(table[6], fresh[6], 'its only neighbour is new')
    np.testing.assert_array_equal(table[[0, *range(7, 256)]], fresh[[0, *range(7, 256)]], 'padding and filling')
    assert warm_start.lonely(known, neighbours) == 1 and table.dtype == np.float32


def test_without_vectors_new_items_begin_afresh(known, matched_tables):
    before, fresh = matched_tables
    table = warm_start.match_table(before, fresh, known, None)
    np.testing.assert_array_equal(table[[2, 4, 6]], fresh[[2, 4, 6]])
    np.testing.assert_array_equal(table[[1, 3, 5]], before[[3, 1, 4]])
    assert warm_start.lonely(known, None) == 3


def test_many_new_items_are_as_they_are_one_by_one(monkeypatch):
    """They are done in blocks."""
    rng = np.random.default_rng(1)
    before, fresh = rng.normal(size=(128, 4)).astype(np.float32), np.zeros((384, 4), np.float32)
    known = np.concatenate([[0], rng.permutation(np.arange(300) % 100 * (np.arange(300) < 100))])
    neighbours = rng.integers(0, 301, (300, 5)).astype(np.int32)
    monkeypatch.setattr('grasp_jax.vectors.vector_files._BLOCK', 7 * 5 * 4)
    table = warm_start.match_table(before, fresh, known, neighbours)
    alone = 0
    for item in range(1, 301):
        rows = [before[known[item]]] if known[item] else [before[known[near]] for near in neighbours[item - 1]
                                                          if known[near]]
        alone += not rows
        np.testing.assert_allclose(table[item], np.mean(rows, 0) if rows else 0, rtol=1e-5, atol=1e-7)
    assert warm_start.lonely(known, neighbours) == alone > 0


@pytest.mark.slow
@pytest.mark.parametrize('average', (0.0, 0.9))
def test_an_optimiser_begins_the_same_whatever_the_parameters(small_run, average):
    """So that of a fresh state the parameters alone need be replaced."""
    run = small_run(method='none', train={'ema_decay': average, 'weight_decay': 0.1})
    state = run.fresh_state(0)
    other = jax.tree.map(lambda leaf: leaf + 1, state.params)
    begun = make_optimizer(train_spec(run.config)).init(other)
    for one, two in zip(jax.tree.leaves(state.optimizer), jax.tree.leaves(begun), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_without_a_start_the_first_state_is_a_fresh_one(small_run, tmp_path):
    run = small_run(method='none')
    for one, two in zip(jax.tree.leaves(warm_start.first_state(run, 3, tmp_path)), jax.tree.leaves(run.fresh_state(3)),
                        strict=True):
        np.testing.assert_array_equal(one, two)

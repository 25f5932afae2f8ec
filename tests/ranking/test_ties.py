"""Ranks from scores: ties, constant scorers, histories left out."""

import jax.numpy as jnp
import numpy as np

from grasp_jax.ranking import ties


def test_ties_count_half_and_a_constant_scorer_lands_in_the_middle():
    exist = jnp.ones((3, 101), bool)
    np.testing.assert_array_equal(ties.rank_of_first(jnp.zeros((3, 101)), exist), [51.0] * 3)
    scores = jnp.array([[2.0, 3.0, 2.0, 1.0], [5.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(ties.rank_of_first(scores, scores > -1), [2.5, 1.0, 4.0])


def test_candidates_that_do_not_exist_never_count():
    scores = jnp.array([[1.0, 9.0, 1.0, 0.0]])
    np.testing.assert_array_equal(ties.rank_of_first(scores, jnp.array([[True, False, True, True]])), [1.5])


def test_a_score_that_is_no_number_is_no_win():
    assert ties.rank_of_first(jnp.array([[jnp.nan, 1.0, 2.0]]), jnp.ones((1, 3), bool))[0] == 3
    assert ties.rank_in_all(jnp.array([[jnp.nan, 1.0, 2.0]]), jnp.array([1]), jnp.array([[0]]), 3)[0] == 3


def test_full_ranking_leaves_the_history_out_but_never_the_target():
    scores = jnp.array([[0.1, 0.9, 0.8, 0.5, 0.5]])
    target = jnp.array([4])
    assert ties.rank_in_all(scores, target, jnp.array([[0, 0]]), 5)[0] == 3.5
    assert ties.rank_in_all(scores, target, jnp.array([[2, 0]]), 5)[0] == 2.5
    assert ties.rank_in_all(scores, target, jnp.array([[2, 5]]), 5)[0] == 2
    assert ties.rank_in_all(scores, target, jnp.array([[2, 4]]), 5)[0] == 2.5
    constant = ties.rank_in_all(jnp.zeros((1, 5)), target, jnp.array([[2, 0]]), 5)[0]
    assert constant == 2.5  # the middle of the four that are left

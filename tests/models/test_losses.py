"""Eq. 6: by hand, and masked = subset."""

import jax
import numpy as np

from grasp_jax.models.losses import binary_cross_entropy


def test_equals_the_equation_by_hand():
    positive, negative = np.array([[0.3]]), np.array([[[-0.2, 1.5]]])
    s = 1 / (1 + np.exp(-np.array([0.3, -0.2, 1.5])))
    by_hand = -(np.log(s[0]) + np.log(1 - s[1]) + np.log(1 - s[2])) / 3
    np.testing.assert_allclose(binary_cross_entropy(positive, negative, np.ones((1, 1))), by_hand, rtol=1e-6)


def test_masked_equals_subset_for_value_and_gradient():
    positive = jax.random.normal(jax.random.key(0), (2, 6))
    negative = jax.random.normal(jax.random.key(1), (2, 6, 3))
    weight = np.array([[1, 1, 0, 1, 0, 0], [0, 0, 0, 0, 0, 1.0]])
    kept = weight > 0
    loss, gradient = jax.value_and_grad(binary_cross_entropy)(positive, negative, weight)
    subset = binary_cross_entropy(positive[kept][None], negative[kept][None], np.ones((1, kept.sum())))
    np.testing.assert_allclose(loss, subset, rtol=1e-6)
    assert (np.asarray(gradient)[~kept] == 0).all() and (np.asarray(gradient)[kept] != 0).all()


def test_no_position_gives_zero_and_no_nan():
    loss, gradient = jax.value_and_grad(binary_cross_entropy)(np.ones((1, 2)), np.ones((1, 2, 1)), np.zeros((1, 2)))
    assert loss == 0 and (gradient == 0).all()

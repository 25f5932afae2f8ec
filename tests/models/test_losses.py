"""Losses: by hand, masked = subset, in blocks = plain."""

import jax
import numpy as np

from grasp_jax.models import losses
from grasp_jax.models.losses import binary_cross_entropy


def test_equals_the_equation_by_hand():
    positive, negative = np.float32([[0.3]]), np.float32([[[-0.2, 1.5]]])
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
    scores = jax.numpy.ones((1, 2)), jax.numpy.ones((1, 2, 1))
    loss, gradient = jax.value_and_grad(binary_cross_entropy)(*scores, np.zeros((1, 2)))
    assert loss == 0 and (gradient == 0).all()


def test_gbce_by_hand_and_its_two_ends():
    positive, negative, weight = np.float32([[0.3]]), np.float32([[[-0.2, 1.5]]]), np.ones((1, 1))
    s = 1 / (1 + np.exp(-np.array([0.3, -0.2, 1.5])))
    share = 2 / 9
    for calibration, beta in ((0.0, 1.0), (1.0, share), (0.75, share * (0.75 * (1 - 9 / 2) + 9 / 2))):
        by_hand = -(beta * np.log(s[0]) + np.log(1 - s[1]) + np.log(1 - s[2]))
        np.testing.assert_allclose(losses.generalised_bce(positive, negative, weight, share, calibration), by_hand,
                                   rtol=1e-6)


def test_sampled_softmax_by_hand_and_corrected_for_the_draw():
    positive, negative = np.array([[0.3, 9.0]]), np.array([[[-0.2, 1.5], [9.0, 9.0]]])
    weight, chance = np.array([[1.0, 0.0]]), np.log(np.array([0.5, 2.0]))
    plain = -np.log(np.exp(0.3) / np.exp([0.3, -0.2, 1.5]).sum())
    np.testing.assert_allclose(losses.sampled_softmax(positive, negative, weight), plain, rtol=1e-6)
    corrected = -np.log(np.exp(0.3) / (np.exp(0.3) + np.exp(-0.2) / 0.5 + np.exp(1.5) / 2))
    np.testing.assert_allclose(losses.sampled_softmax(positive, negative, weight, chance), corrected, rtol=1e-6)


def test_the_softmax_in_blocks_equals_the_plain_one(monkeypatch):
    queries, items = (jax.random.normal(jax.random.key(number), (size, 6)) for number, size in enumerate((7, 23)))
    monkeypatch.setitem(losses.SOFTMAX_BLOCKS, 'cpu', 5)  # four whole blocks and one that is filled up

    def total(form, queries, items):
        return (form(queries, items) * np.arange(1, 8)).sum()

    fast, plain = (jax.value_and_grad(total, (1, 2))(form, queries, items)
                   for form in (losses.log_sum_exp, losses.plain_log_sum_exp))
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5), fast, plain)


def test_the_softmax_of_rounded_factors_equals_the_plain_one_of_them(monkeypatch):
    queries, items = (jax.random.normal(jax.random.key(number), (size, 6)) for number, size in enumerate((7, 23)))
    monkeypatch.setitem(losses.SOFTMAX_BLOCKS, 'cpu', 5)
    rounded = [factor.astype('bfloat16').astype('float32') for factor in (queries, items)]

    def found(form, *factors):
        return jax.value_and_grad(lambda *both: form(*both).sum(), (0, 1))(*factors)

    fast, gradient = found(lambda *both: losses.log_sum_exp(*both, 'bfloat16'), queries, items)
    plain, by_plain = found(losses.plain_log_sum_exp, *rounded)
    np.testing.assert_allclose(fast, plain, rtol=1e-5)
    for one, two in zip(gradient, by_plain, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=0.01 * np.abs(two).max())
        assert (one != two).any(), 'chances are rounded'


def test_all_items_as_negatives_make_the_sampled_softmax_the_full_one():
    queries, items = (jax.random.normal(jax.random.key(number), (size, 6)) for number, size in enumerate((4, 9)))
    true = np.array([3, 0, 8, 3])
    scores = queries @ items.T
    others = np.array([[item for item in range(9) if item != mine] for mine in true])
    positive = np.take_along_axis(scores, true[:, None], 1)[:, 0]
    weight = np.array([1.0, 1.0, 0.0, 1.0])
    full = losses.full_softmax(queries[None], positive[None], items, weight[None])
    sampled = losses.sampled_softmax(positive[None], np.take_along_axis(scores, others, 1)[None], weight[None])
    np.testing.assert_allclose(full, sampled, rtol=1e-5)

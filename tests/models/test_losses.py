"""Losses: by hand, masked = subset, in blocks = plain."""

import jax
import numpy as np
import pytest

from grasp_jax.batching.sampling import cumulated, draw_shared_negatives
from grasp_jax.models import losses, plain_forms, products
from grasp_jax.models.losses import binary_cross_entropy


def test_equals_the_equation_by_hand():
    positive, negative = np.float32([[0.3]]), np.float32([[[-0.2, 1.5]]])
    s = 1 / (1 + np.exp(-np.array([0.3, -0.2, 1.5])))
    by_hand = -(np.log(s[0]) + np.log(1 - s[1]) + np.log(1 - s[2])) / 3
    np.testing.assert_allclose(binary_cross_entropy(positive, negative, np.ones((1, 1))), by_hand, rtol=1e-6)


@pytest.mark.slow
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


def test_sampled_softmax_by_hand():
    positive, negative = np.array([[0.3, 9.0]]), np.array([[[-0.2, 1.5], [9.0, 9.0]]])
    plain = -np.log(np.exp(0.3) / np.exp([0.3, -0.2, 1.5]).sum())
    np.testing.assert_allclose(losses.sampled_softmax(positive, negative, np.array([[1.0, 0.0]])), plain, rtol=1e-6)


def test_log_chance_is_relative_to_a_uniform_draw():
    chance = np.float32([0.5, 0.25, 0.125, 0.125])
    found = losses.log_chance(cumulated(chance), np.array([[1, 4], [3, 2]]))
    np.testing.assert_allclose(found, np.log(4 * np.array([[0.5, 0.125], [0.125, 0.25]])), rtol=1e-5)


@pytest.mark.slow
def test_corrected_for_the_draw_the_true_chances_are_learned():
    """Zipf's law over 60 items, negatives drawn by the square root of how frequent they are."""
    true = 1 / np.arange(1, 61)
    true /= true.sum()
    cumulative = jax.numpy.asarray(cumulated(np.sqrt(true)))

    def learned(corrected):
        def loss(scores, key):
            ours, theirs = jax.random.split(key)
            ids = jax.random.choice(ours, 60, (512,), p=true)
            drawn = draw_shared_negatives(theirs, 60, 20, cumulative) - 1
            positive, negative = scores[ids], jax.numpy.broadcast_to(scores[drawn][None], (512, 20))
            if corrected:
                positive -= losses.log_chance(cumulative, ids + 1)
                negative -= losses.log_chance(cumulative, drawn + 1)[None]
            negative = jax.numpy.where(ids[:, None] == drawn[None], losses.NEVER, negative)
            return losses.sampled_softmax(positive, negative, jax.numpy.ones(512))

        def step(scores, number):
            gradient = jax.grad(loss)(scores, jax.random.fold_in(jax.random.key(0), number))
            return scores - 20 / (1 + number / 100) * gradient, None

        return jax.nn.softmax(jax.lax.scan(step, jax.numpy.zeros(60), jax.numpy.arange(1500))[0])

    far, near = (float(np.sum(true * np.log(true / np.asarray(learned(how))))) for how in (False, True))
    assert near < 0.02 < 0.05 < far


@pytest.mark.slow
def test_the_softmax_in_blocks_equals_the_plain_one(monkeypatch):
    queries, items = (jax.random.normal(jax.random.key(number), (size, 6)) for number, size in enumerate((7, 23)))
    monkeypatch.setitem(losses.SOFTMAX_BLOCKS, 'cpu', 5)  # four whole blocks and one that is filled up

    def total(form, queries, items):
        return (form(queries, items) * np.arange(1, 8)).sum()

    fast, plain = (jax.value_and_grad(total, (1, 2))(form, queries, items)
                   for form in (losses.log_sum_exp, plain_forms.plain_log_sum_exp))
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5), fast, plain)


@pytest.mark.slow
@pytest.mark.parametrize('units', (True, False))
def test_the_softmax_of_rounded_factors_equals_the_plain_one_of_them(monkeypatch, units):
    monkeypatch.setattr(products, 'cpu_has_units', lambda: units)
    queries, items = (jax.random.normal(jax.random.key(number), (size, 6)) for number, size in enumerate((7, 23)))
    monkeypatch.setitem(losses.SOFTMAX_BLOCKS, 'cpu', 5)
    rounded = [factor.astype('bfloat16').astype('float32') for factor in (queries, items)]

    def found(form, *factors):
        return jax.value_and_grad(lambda *both: form(*both).sum(), (0, 1))(*factors)

    fast, gradient = found(lambda *both: losses.log_sum_exp(*both, 'bfloat16'), queries, items)
    plain, by_plain = found(plain_forms.plain_log_sum_exp, *rounded)
    np.testing.assert_allclose(fast, plain, rtol=1e-5)
    for one, two in zip(gradient, by_plain, strict=True):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=0.01 * np.abs(two).max())
        assert (one != two).any(), 'chances are rounded'


@pytest.mark.slow
def test_all_items_as_negatives_make_the_sampled_softmax_the_full_one():
    queries, items = (jax.random.normal(jax.random.key(number), (size, 6)) for number, size in enumerate((4, 9)))
    true = np.array([3, 0, 8, 3])
    scores = queries @ items.T
    others = np.array([[item for item in range(9) if item != mine] for mine in true])
    positive = np.take_along_axis(scores, true[:, None], 1)[:, 0]
    weight = np.array([1.0, 1.0, 0.0, 1.0])
    full = losses.full_softmax(queries[None], true[None], items, weight[None])
    sampled = losses.sampled_softmax(positive[None], np.take_along_axis(scores, others, 1)[None], weight[None])
    np.testing.assert_allclose(full, sampled, rtol=1e-5)


@pytest.mark.slow
def test_a_loss_of_rounded_factors_stays_above_zero():
    """An item far ahead of all others: its own score must be the one that is in the sum."""
    queries, items = 3 * jax.random.normal(jax.random.key(0), (2, 50, 64)) + 1
    true = np.argmax(queries @ items.T, -1)
    one_by_one = [losses.full_softmax(query[None, None], np.array([[row]]), items, np.ones((1, 1)), 'bfloat16')
                  for query, row in zip(queries, true, strict=True)]
    assert min(one_by_one) > -1e-4, 'but for the order of sums'

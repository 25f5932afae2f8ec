"""Eq. 3 to 5: the factorised forms equal the printed ones, for values and gradients."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.models import attention, equations
from grasp_jax.models.equations import Pair

D, H = 6, 4
GATES = ('paper', 'calibrated', 'softmax', 'none')


def pair(seed, *shape):
    keys = jax.random.split(jax.random.key(seed))
    return Pair(*(jax.random.normal(key, (*shape, D)) for key in keys))


def opened(scores, kind, weights):
    calibration = (weights['log_scale'], weights['bias']) if kind == 'calibrated' else (None, None)
    return attention.gates(scores, kind, *calibration)


@pytest.fixture
def weights():
    keys = jax.random.split(jax.random.key(7), 3)
    return {'kernel': jax.random.normal(keys[0], (4 * D, H)), 'log_scale': jax.random.normal(keys[1], (3,)),
            'bias': jax.random.normal(keys[2], (3,))}


def test_printed_equations_are_the_paper_gate_times_the_vectors(weights):
    user, item = pair(0, 5), pair(1, 5)
    gate = attention.gates(attention.aligned_scores(user, item), 'paper')
    printed = equations.holistic_attention(user, item) @ weights['kernel']
    np.testing.assert_allclose(equations.plain_fusion(gate, item, weights['kernel']), printed, rtol=1e-5, atol=1e-6)


def test_attention_weighs_a_vector_by_one_number():
    q, v = jnp.array([[1.0, 2.0, 3.0, 4.0]]), jnp.array([[0.5, 0.0, -1.0, 2.0]])
    by_hand = 1 / (1 + np.exp(-(0.5 - 3 + 8) / 2)) * np.asarray(v)
    np.testing.assert_allclose(equations.attention(q, v), by_hand, rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(('kind', 'similar', 'both'), list(itertools.product(GATES, (True, False), (True, False))))
def test_factorised_equals_plain_for_values_and_gradients(weights, kind, similar, both):
    user, item = pair(0, 3, 5), pair(1, 3, 5)
    switch = attention.level_switch(similar, both)[None, None]

    def gate(weights):
        return opened(attention.aligned_scores(user, item), kind, weights) * switch

    def plain(weights):
        return jnp.sum(jnp.sin(equations.plain_fusion(gate(weights), item, weights['kernel'])))

    def fast(weights):
        return jnp.sum(jnp.sin(attention.fuse(gate(weights), attention.project(item, weights['kernel']))))

    np.testing.assert_allclose(fast(weights), plain(weights), rtol=1e-5)
    for name, gradient in jax.grad(fast)(weights).items():
        np.testing.assert_allclose(gradient, jax.grad(plain)(weights)[name], rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.parametrize('switch', list(itertools.product((1.0, 0.0), repeat=3)))
def test_without_gates_adding_the_kernels_first_equals_the_plain_form(weights, switch):
    item, switch = pair(1, 3, 5), jnp.array(switch)

    def plain(kernel):
        return jnp.sum(jnp.sin(equations.plain_fusion(jnp.broadcast_to(switch, (3, 5, 3)), item, kernel)))

    def fast(kernel):
        return jnp.sum(jnp.sin(attention.project_ungated(item, kernel, switch)))

    (one, to_one), (two, to_two) = (jax.value_and_grad(form)(weights['kernel']) for form in (fast, plain))
    np.testing.assert_allclose(one, two, rtol=1e-5)
    np.testing.assert_allclose(to_one, to_two, rtol=1e-4, atol=1e-5)


def test_crossed_scores_are_all_pairs_of_aligned_ones():
    users, items = pair(0, 3), pair(1, 5)
    crossed = attention.crossed_scores(users, items)
    for b, n in itertools.product(range(3), range(5)):
        one = attention.aligned_scores(Pair(*(x[b] for x in users)), Pair(*(x[n] for x in items)))
        np.testing.assert_allclose(crossed[b, n], one, rtol=1e-5, atol=1e-6)


def test_softmax_gates_sum_to_one_over_what_is_there():
    scores = jax.random.normal(jax.random.key(0), (2, 5, 3))
    there = jnp.array([[True, True, False, True, False], [True] * 5])
    gate = attention.gates(scores, 'softmax', together=there)
    np.testing.assert_allclose(jnp.sum(gate * there[..., None], 1), np.ones((2, 3)), rtol=1e-5)
    np.testing.assert_allclose(jnp.sum(attention.gates(scores, 'softmax'), 1), np.ones((2, 3)), rtol=1e-5)


@pytest.mark.slow
def test_softmax_over_sets_per_item_looks_at_its_own_set_only():
    scores = jax.random.normal(jax.random.key(0), (1, 4, 3))
    past = jnp.tril(jnp.ones((1, 4, 4), bool))
    gate = attention.gates(scores, 'softmax', together=past)
    for place in range(4):
        alone = attention.gates(scores[:, :place + 1], 'softmax')[:, place]
        np.testing.assert_allclose(gate[:, place], alone, rtol=1e-5)


def test_with_unit_vectors_the_printed_gate_hardly_moves():
    width = 1536
    users, items = (Pair(*(v / jnp.linalg.norm(v, axis=-1, keepdims=True) for v in jax.random.normal(
        jax.random.key(seed), (2, 50, width)))) for seed in (0, 1))
    same = attention.gates(attention.aligned_scores(users, users), 'paper')
    other = attention.gates(attention.aligned_scores(users, items), 'paper')
    assert 0.5 < float(same.min()) and float(same.max()) < 0.515
    assert 0.49 < float(other.min()) and float(other.max()) < 0.51

"""Scores of every user with every item behind the gated layer: the chunks against the plain form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.models import equations, pair_scores
from grasp_jax.models.attention import Projected


def inputs(users=5, items=6, width=7, groups=None):
    """Queries, gates, projections and a bias; queries and gates of several groups where asked for."""
    def draw(number, *shape):
        return jax.random.normal(jax.random.key(number), shape)

    leading = () if groups is None else (groups,)
    gate = jax.nn.sigmoid(draw(1, *leading, users, items, 3))
    return draw(0, *leading, users, width), gate, Projected(*(draw(n, items, width) for n in (2, 3, 4))), draw(5, width)


def scores_and_gradients(form, given):
    """Scores, and the gradients of their squares to all inputs."""
    return form(*given), jax.grad(lambda *all_of: (form(*all_of) ** 2).sum(), (0, 1, 2, 3))(*given)


def assert_equal(one, two):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), one, two)


@pytest.mark.slow
@pytest.mark.parametrize('size', (1, 3, 6))
def test_chunks_equal_the_plain_form_also_in_the_gradient(monkeypatch, size):
    monkeypatch.setattr(pair_scores, '_chunk_size', lambda *_: size)
    given = inputs()
    assert_equal(scores_and_gradients(pair_scores.gated_scores, given),
                 scores_and_gradients(equations.plain_gated_scores, given))


@pytest.mark.slow
def test_groups_of_queries_share_the_items():
    query, gate, projected, bias = inputs(groups=2)

    def by_group(form):
        return lambda query, gate, projected, bias: jax.vmap(form, (0, 0, None, None))(query, gate, projected, bias)

    given = query, gate, projected, bias
    fast, plain = (scores_and_gradients(by_group(form), given)
                   for form in (pair_scores.gated_scores, equations.plain_gated_scores))
    assert_equal(fast, plain)


@pytest.mark.slow
def test_a_closed_layer_lets_no_gradient_through():
    query, gate, projected, bias = inputs()
    given = query, gate, projected, bias - 1e3
    scores, gradients = scores_and_gradients(pair_scores.gated_scores, given)
    assert not jnp.any(scores) and not any(jnp.any(leaf) for leaf in jax.tree.leaves(gradients))


def test_chunks_are_single_items_on_a_cpu_and_bounded_elsewhere(monkeypatch):
    assert pair_scores._chunk_size(1000, 256, 256) == 1
    monkeypatch.setattr(jax, 'default_backend', lambda: 'gpu')
    assert pair_scores._chunk_size(850, 256, 256) == 256
    assert pair_scores._chunk_size(100_000, 256, 256) == 2
    assert pair_scores._chunk_size(10 ** 9, 256, 256) == 1
    assert pair_scores._chunk_size(10, 7, 4) == 7, 'a divisor of any number of items'

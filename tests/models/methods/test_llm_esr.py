"""LLM-ESR's pieces: the adapter in one product, views that look at each other, distillation that teaches one way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.config import default
from grasp_jax.models import plain_forms
from grasp_jax.models.methods import llm_esr
from grasp_jax.models.spec import model_spec


@pytest.mark.slow
def test_the_adapter_in_one_product_equals_its_two_layers():
    rng = np.random.default_rng(0)
    given = [jnp.asarray(rng.normal(size=size), jnp.float32) for size in ((2, 5, 12), (12, 6), (6,), (6, 4), (4,))]

    def loss(form, *given):
        return jnp.sum(jnp.sin(form(*given)))

    for number in range(len(given)):
        fast, plain = (jax.grad(loss, number + 1)(form, *given)
                       for form in (llm_esr.adapter, plain_forms.plain_adapter))
        np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(llm_esr.adapter(*given), plain_forms.plain_adapter(*given), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_each_view_gets_what_it_asks_the_other_views_queries_for():
    """What is added to a view are its own values; the other view says where to look."""
    config = default()
    config.model.update({'method': 'llm_esr', 'hidden_size': 4, 'max_length': 5, 'dropout': 0.0})
    model = llm_esr.CrossViews(model_spec(config, num_items=9, llm_width=6))
    inputs, position = jax.random.normal(jax.random.key(0), (1, 5, 8)), jnp.arange(5)[None]
    everything = jnp.ones((1, 5, 5), bool)
    params = model.init(jax.random.key(1), inputs, position, everything, train=False)

    def added(inputs, visible):
        return model.apply(params, inputs, position, visible, train=False) - inputs

    for view, other in ((slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))):
        changed = inputs.at[..., other].add(jax.random.normal(jax.random.key(2), (1, 5, 4)))
        for visible, reached in ((everything, True), (jnp.eye(5, dtype=bool)[None], False)):
            gap = np.abs(added(changed, visible) - added(inputs, visible))
            assert (gap[..., view].max() > 1e-4) == reached, 'where only one place is seen there is nothing to ask'
            assert gap[..., other].max() > 1e-4


def test_distillation_by_hand():
    states = jnp.array([[1.0, 2.0], [0.0, 0.0], [5.0, 5.0], [9.0, 9.0]])
    similar = jnp.array([[[3.0, 2.0], [1.0, 4.0]], [[2.0, 0.0], [7.0, 7.0]], [[1.0, 1.0]] * 2, [[0.0, 0.0]] * 2])
    exist = jnp.array([[True, True], [True, False], [False, False], [True, True]])
    weight = jnp.array([1.0, 1.0, 1.0, 0.0])
    # User 0: mean (2, 3), distances 1 and 1. User 1: (2, 0), 4 and 0. User 2 has nobody, user 3 does not count.
    np.testing.assert_allclose(llm_esr.distillation(states, similar, exist, weight), (1.0 + 2.0) / 2)
    to_states, to_similar = jax.grad(llm_esr.distillation, (0, 1))(states, similar, exist, weight)
    assert np.abs(to_states[:2]).sum() > 0 and not np.any(to_states[2:]) and not np.any(to_similar)


def test_nobody_similar_gives_zero_and_no_nan():
    nothing = llm_esr.distillation(jnp.ones((2, 3)), jnp.ones((2, 1, 3)), jnp.zeros((2, 1), bool), jnp.ones(2))
    assert float(nothing) == 0

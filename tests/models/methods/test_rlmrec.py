"""RLMRec's InfoNCE."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.config import default
from grasp_jax.models.methods.rlmrec import Adapter, Alignment, info_nce, unit
from grasp_jax.models.spec import model_spec

pytestmark = pytest.mark.slow


def test_info_nce_by_hand():
    queries = np.array([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]])
    keys = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 4.0]])
    others = np.array([[False, True, True], [True, False, False], [True, True, False]])
    counts = np.array([True, True, False])
    cosines = (queries / np.linalg.norm(queries, axis=1)[:, None]) @ (keys / np.linalg.norm(keys, axis=1)[:, None]).T
    scores = np.exp(cosines / 0.5)
    first = -np.log(scores[0, 0] / scores[0].sum())
    second = -np.log(scores[1, 1] / (scores[1, 1] + scores[1, 0]))
    found = info_nce(*map(jnp.asarray, (queries, keys, others, counts)), temperature=0.5)
    np.testing.assert_allclose(found, (first + second) / 2, rtol=1e-6)


def test_it_falls_as_each_query_nears_its_own_key():
    keys = jax.random.normal(jax.random.key(0), (6, 8))
    others, counts = ~jnp.eye(6, dtype=bool), jnp.ones(6, bool)
    far = info_nce(jax.random.normal(jax.random.key(1), (6, 8)), keys, others, counts, 0.2)
    assert info_nce(keys, keys, others, counts, 0.2) < 0.2 * far


def alignment_of(**settings):
    config = default()
    config.model.update({'method': 'rlmrec', 'hidden_size': 4, **settings})
    return Alignment(model_spec(config, num_items=9, llm_width=6))


def test_users_that_do_not_count_are_told_from_nobody():
    model, rng = alignment_of(), np.random.default_rng(0)
    given = [rng.normal(size=size).astype(np.float32) for size in ((2, 4), (2, 6), (3, 4), (3, 6))]
    ids, counts = jnp.array([1, 2]), jnp.array([True, True, False])

    def loss(params, users):
        return model.apply(params, *given[:2], ids, given[2][:users], given[3][:users], counts[:users],
                           method=Alignment.contrastive)

    params = model.init(jax.random.key(0), *given[:2], ids, *given[2:], counts, method=Alignment.contrastive)
    np.testing.assert_allclose(loss(params, 3), loss(params, 2), rtol=1e-6)


def test_the_adapter_is_two_layers_with_a_leak_between_them():
    vectors = np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)
    params = Adapter(4).init(jax.random.key(0), vectors)['params']
    first, second = (params[name] for name in ('Dense_0', 'Dense_1'))
    assert first['kernel'].shape == (6, 5)
    inner = vectors @ first['kernel']
    expected = np.where(inner > 0, inner, 0.01 * inner) @ second['kernel']
    np.testing.assert_allclose(Adapter(4).apply({'params': params}, vectors), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('alignment', ('contrastive', 'generative'))
def test_an_item_that_stands_there_twice_is_no_negative_of_itself(alignment):
    """Nor is padding: with these negatives out, nobody is left to be told from."""
    model = alignment_of(alignment=alignment)
    ids, rng = jnp.array([7, 7, 0, 7]), np.random.default_rng(0)
    rows, vectors = rng.normal(size=(4, 4)), rng.normal(size=(4, 6))
    given = ((rows, vectors, ids, rows[:1], vectors[:1], jnp.ones(1, bool)) if alignment == 'contrastive' else
             (rows, vectors, ids, jnp.ones(4, bool)))
    form = getattr(Alignment, alignment)
    params = model.init(jax.random.key(0), *given, method=form)
    np.testing.assert_allclose(model.apply(params, *given, method=form), 0, atol=1e-6)
    other = model.apply(params, *given[:2], jnp.array([7, 7, 0, 3]), *given[3:], method=form)
    assert other > 0.01


def test_nothing_to_align_gives_zero_and_no_nan():
    gradient = jax.grad(lambda queries: info_nce(queries, jnp.ones((2, 3)), jnp.zeros((2, 2), bool),
                                                 jnp.zeros(2, bool), 0.2))(jnp.zeros((2, 3)))
    np.testing.assert_array_equal(gradient, np.zeros((2, 3)))
    np.testing.assert_allclose(np.linalg.norm(unit(jnp.array([[3.0, 4.0], [0.0, 0.0]])), axis=1), [1, 0])
    pull = jax.grad(lambda rows: jnp.sum(unit(rows) * jnp.array([[1.0, -1.0], [1.0, 1.0]])))
    gradient = pull(jnp.array([[3.0, 4.0], [0.0, 0.0]]))
    np.testing.assert_array_equal(gradient[1], 0)
    assert np.abs(gradient[0]).max() > 0.01

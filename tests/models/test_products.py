"""Products in full and in half precision."""

import jax
import numpy as np
import pytest

from grasp_jax.models import products


def found(form, *factors):
    """A product, and the gradients of its squares to both factors."""
    return form(*factors), *jax.grad(lambda *both: (form(*both) ** 2).sum(), (0, 1))(*factors)


@pytest.mark.slow
@pytest.mark.parametrize('rows', (1, 20, 23))
def test_a_product_of_rounded_factors_equals_the_plain_one_of_them(monkeypatch, rows):
    monkeypatch.setattr(products, '_BLOCK', 5)
    factors = [jax.random.normal(jax.random.key(number), shape) for number, shape in enumerate(((rows, 7), (7, 3)))]
    rounded = [factor.astype('bfloat16').astype('float32') for factor in factors]
    fast = found(lambda *both: products.product(*both, 'bfloat16'), *factors)
    plain = found(products.product, *rounded)
    np.testing.assert_allclose(fast[0], plain[0], rtol=1e-5, atol=1e-6)
    for one, two in zip(fast[1:], plain[1:], strict=True):
        assert one.dtype == np.float32 and one.shape == two.shape
        np.testing.assert_allclose(one, two, atol=0.02 * np.abs(two).max())
        assert (one != two).any(), 'what comes back is rounded as well'


def test_a_product_in_full_precision_takes_any_leading_axes():
    rows, kernel = np.ones((2, 3, 4), np.float32), np.ones((4, 5), np.float32)
    np.testing.assert_array_equal(products.product(rows, kernel), np.full((2, 3, 5), 4, np.float32))

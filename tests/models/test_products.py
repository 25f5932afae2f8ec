"""Products in full and in half precision."""

import jax
import numpy as np
import pytest

from grasp_jax.models import products


def found(form, *factors):
    """A product, and the gradients of its squares to both factors."""
    return form(*factors), *jax.grad(lambda *both: (form(*both) ** 2).sum(), (0, 1))(*factors)


@pytest.mark.slow
@pytest.mark.parametrize(('rows', 'units'), ((1, True), (20, True), (23, True), (23, False)))
def test_a_product_of_rounded_factors_equals_the_plain_one_of_them(monkeypatch, rows, units):
    monkeypatch.setattr(products, '_BLOCK', 5)
    monkeypatch.setattr(products, 'cpu_has_units', lambda: units)
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


def test_factors_have_the_same_values_whether_or_not_the_cpu_has_units(monkeypatch):
    values = jax.random.normal(jax.random.key(0), (1000,)) * np.logspace(-30, 30, 1000, dtype=np.float32)
    found = {}
    for units in (True, False):
        monkeypatch.setattr(products, 'cpu_has_units', lambda units=units: units)
        found[units] = jax.jit(lambda values: products.as_factor(values, 'bfloat16'))(values)
    assert found[True].dtype == 'bfloat16' and found[False].dtype == 'float32'
    np.testing.assert_array_equal(found[True].astype('float32'), found[False])
    assert (found[False] != values).any()


@pytest.mark.parametrize(('text', 'units'), (
    ('processor : 0\nflags : fpu avx2 avx512_bf16\n\nprocessor : 1\n', True), ('flags\t\t: amx_bf16 amx_tile', True),
    ('Features\t: fp asimd bf16', True), ('flags : fpu avx2 avx512f', False), ('flags : my_avx512_bf16_flag', False),
    ('model name : bf16', False), ('', False), (None, False)))
def test_the_units_of_a_cpu_are_read_from_its_flags(monkeypatch, tmp_path, text, units):
    if text is not None:
        (tmp_path / 'cpuinfo').write_text(text)
    monkeypatch.setattr(products, '_CPU_FLAGS', tmp_path / 'cpuinfo')
    assert products.cpu_has_units.__wrapped__() is units

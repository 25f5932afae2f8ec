"""Wrong vectors on purpose: who, how many, and that the rest stays as it is."""

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.pipeline.checks import check_config
from grasp_jax.vectors import corruption
from grasp_jax.vectors.encode import encode
from tests.texts.test_texts import make


@pytest.fixture
def dataset():
    return make([[1, 2, 3], [2, 3, 4, 5], [5, 4, 3, 1]] * 10, [{'title': f'word{i} thing{i % 3}'} for i in range(40)])


def table(dataset, folder, **dial):
    config = default()
    config.encode.width = 8
    config.encode.corrupt.update(dial)
    folder.mkdir(parents=True)
    encode(dataset, [f'word{i} thing{i % 3} more{i % 7}' for i in range(40)],
                    [f'user{i} thing{i % 3} word{i}' for i in range(30)], config, folder)
    return np.load(folder / 'users.npy'), np.load(folder / 'items.npy')


@pytest.mark.parametrize('kind', corruption.KINDS)
@pytest.mark.parametrize('who', corruption.TARGETS)
def test_the_share_that_is_asked_for_is_wrong_and_the_rest_is_not(dataset, tmp_path, kind, who):
    clean = table(dataset, tmp_path / 'clean')
    found = table(dataset, tmp_path / 'wrong', kind=kind, target=who, share=0.3)
    for name, offset, before, after in zip(('users', 'items'), (0, 1), clean, found, strict=True):
        moved = np.abs(before - after).max(1) > 1e-6
        mask = tmp_path / 'wrong' / corruption.CORRUPTED[name]
        if who not in (name, 'both'):
            assert not moved.any() and not mask.exists()
            continue
        np.testing.assert_array_equal(moved[offset:], np.load(mask))
        assert moved.sum() == np.ceil(0.3 * (len(before) - offset)) and not after[:offset].any()
        np.testing.assert_allclose(np.linalg.norm(after, axis=1), np.linalg.norm(before, axis=1), rtol=1e-5)
        if kind == 'swap':
            np.testing.assert_array_equal(np.sort(before.sum(1)), np.sort(after.sum(1)))


@pytest.mark.parametrize('kind', corruption.KINDS)
def test_items_are_as_wrong_alone_as_together_with_users(dataset, tmp_path, kind):
    # The hallucination curve takes one run for both, where a method reads no texts of users.
    alone, both = (table(dataset, tmp_path / who, kind=kind, target=who, share=0.3)[1] for who in ('items', 'both'))
    np.testing.assert_array_equal(alone, both)


def test_a_share_is_rounded_up_but_not_for_the_last_bit():
    assert [len(corruption.chosen(100, share, 0)) for share in (0.07, 0.55, 0.071)] == [7, 55, 8]


def test_a_larger_share_holds_a_smaller_one():
    few, many = (set(corruption.chosen(100, share, 3)) for share in (0.1, 0.5))
    assert len(few) == 10 and few < many and len(corruption.chosen(100, 1.0, 3)) == 100
    assert not len(corruption.chosen(100, 0.0, 3))


@pytest.mark.parametrize(('settings', 'message'), [
    ({'kind': 'lies'}, 'choose one of swap'), ({'target': 'me'}, 'choose one of users'),
    ({'share': 1.5}, 'from 0 to 1'),
    ({'seed': -1}, '0 or more')])
def test_wrong_settings_are_refused(settings, message):
    config = default()
    config.encode.corrupt.update(settings)
    with pytest.raises(UserError, match=message):
        check_config(config)

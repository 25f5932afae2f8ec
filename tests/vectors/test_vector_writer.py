"""Vectors as they are written: counted where they say nothing, refused where all of them do."""

import dataclasses

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.vectors.encode import encode
from tests.vectors.toy_vectors import USER_TEXTS, config_of, run


def test_vectors_of_zeros_are_said(dataset, files, tmp_path, caplog):
    folder, config = files
    table = np.load(folder / 'user.npy')
    table[[2, 5, 7]] = 0
    np.save(folder / 'user.npy', table)
    facts, _, _ = run(dataset, config, tmp_path / 'a')
    assert facts['zero_users'] == 3 and facts['zero_items'] == 0
    assert '3 of 25 users have a vector of zeros' in caplog.text and 'items have' not in caplog.text


@pytest.mark.parametrize(('make', 'zero', 'equal'), [
    (lambda table: table * 1e20, 0, 0), (lambda table: table * 1e12, 0, 0), (lambda table: table * 1e-3, 0, 0),
    (lambda table: np.concatenate([table[:20], np.full((20, 6), 0.1)]), 0, 20),
    (lambda table: np.concatenate([table[:20] * 0, table[20:]]), 20, 0),
    (lambda table: np.concatenate([table[:10], table[:10], table[20:]]), 0, 20),
    (lambda table: np.concatenate([table[:1] * 1e20, table[1:]]), 0, 39)])  # the others are as good as the mean
def test_vectors_are_counted_as_written(dataset, files, tmp_path, caplog, make, zero, equal):
    folder, config = files
    np.save(folder / 'item.npy', make(np.load(folder / 'item.npy')).astype(np.float32))
    facts, items, _ = run(dataset, config, tmp_path / 'a')
    assert (facts['zero_items'], facts['equal_items'], facts['equal_users']) == (zero, equal, 0)
    lengths = np.linalg.norm(items[1:], axis=1)
    np.testing.assert_allclose(lengths[lengths > 0], 1, rtol=1e-5)
    assert int((lengths == 0).sum()) == zero
    assert (f'{zero} of 40 items have a vector of zeros (50%)' in caplog.text) == bool(zero)
    assert (f'{equal} of 40 items have the vector of another one as well ({2.5 * equal:.0f}%;' in caplog.text) \
        == bool(equal)


@pytest.mark.parametrize('center', [True, False])
@pytest.mark.parametrize('make', [
    lambda table: np.full_like(table, 0.1), lambda table: np.tile(table[:1], (len(table), 1)),
    lambda table: np.full_like(table, 1e-30), lambda table: table * 1e-30, np.zeros_like])
def test_vectors_that_all_say_nothing_are_refused(dataset, files, tmp_path, make, center):
    folder, config = files
    config.encode.center = center
    np.save(folder / 'item.npy', make(np.load(folder / 'item.npy')))
    with pytest.raises(UserError, match=r'the vectors of all items are (zero|equal) \(40, as they were written\)'):
        run(dataset, config, tmp_path / 'a')


def test_vectors_of_users_that_all_say_nothing_are_refused_where_they_are_read(dataset, files, tmp_path, caplog):
    folder, config = files
    np.save(folder / 'user.npy', np.full((25, 6), 0.3, np.float32))
    config.model.update({'method': 'grasp', 'user_context': 'prefix'})
    assert run(dataset, config, tmp_path / 'a')[0]['zero_users'] == 25
    assert '25 of 25 users have a vector of zeros (100%)' in caplog.text
    config.model.user_context = 'text'
    with pytest.raises(UserError, match='the vectors of all users are zero'):
        run(dataset, config, tmp_path / 'b')


def test_items_whose_own_words_lsa_forgets_are_counted(dataset, tmp_path, caplog):
    """As two films of a thousand, known by words that stand in no other title, of one genre."""
    texts = [f'title{number} is a film of kind {number % 40}' for number in range(1200)]
    films = dataclasses.replace(dataset, item_ids=[f'i{number}' for number in range(1200)])
    facts = encode(films, texts, USER_TEXTS, config_of(width=64), tmp_path, users_read=False)
    assert facts['equal_items'] == 1200
    assert '1200 of 1200 items have the vector of another one as well (100%;' in caplog.text
    assert 'lsa forgets words that stand in one text alone' in caplog.text


@pytest.mark.parametrize('largest', [1e16, 1e20])
def test_numbers_whose_squares_no_float_holds_are_refused_as_they_are(dataset, files, tmp_path, largest):
    folder, config = files
    config.encode.center = False
    np.save(folder / 'item.npy', np.load(folder / 'item.npy') * np.float32(largest))
    with pytest.raises(UserError, match='items: vector 0 has numbers too large'):
        run(dataset, config, tmp_path / 'a')

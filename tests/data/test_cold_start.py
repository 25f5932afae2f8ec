"""What is set aside leaves training wholly, and nothing else changes."""

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.data import cold_start
from grasp_jax.data.filters import Sequences
from grasp_jax.data.interactions import Interactions


@pytest.fixture
def found():
    rng = np.random.default_rng(0)
    lengths = rng.integers(3, 12, 50)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    items = rng.integers(1, 31, lengths.sum()).astype(np.int32)
    return Sequences(Interactions(indptr, items, 30), np.arange(len(items)), [f'u{user}' for user in range(50)],
                     [f'i{item}' for item in range(1, 31)], {})


def shares(**settings):
    config = default().evaluate
    with config.unlocked():
        config.update(settings)
    return config


def by_name(found):
    """The sequences in ids."""
    known = found.interactions
    return {name: [found.item_ids[item - 1] for item in known.full_sequence(user)]
            for user, name in enumerate(found.user_ids)}


def test_cold_items_are_in_no_sequence_and_the_rest_stays_in_order(found):
    left, cold = cold_start.set_aside(found, shares(cold_items=0.2))
    assert len(cold.item_ids) == 6 and not set(cold.item_ids) & set(left.item_ids)
    assert left.interactions.num_items == 24 == len(left.item_ids)
    before, after = by_name(found), by_name(left)
    for name, items in before.items():
        assert after.get(name, []) == [item for item in items if item not in cold.item_ids]
    assert len(left.times) == len(left.interactions.items)


def test_users_whose_last_item_is_cold_are_asked_for_it(found):
    left, cold = cold_start.set_aside(found, shares(cold_items=0.2))
    before = by_name(found)
    asked = {left.user_ids[user]: cold.item_ids[target] for user, target in zip(cold.users, cold.targets, strict=True)}
    assert asked == {name: items[-1] for name, items in before.items()
                     if items[-1] in cold.item_ids and name in left.user_ids}


def test_cold_users_leave_with_their_sequences(found):
    left, cold = cold_start.set_aside(found, shares(cold_users=0.3))
    before = by_name(found)
    assert len(cold.user_ids) == 15 and not set(cold.user_ids) & set(left.user_ids)
    assert set(left.user_ids) | set(cold.user_ids) == set(found.user_ids)
    assert left.item_ids == found.item_ids  # the catalogue stays
    for number, name in enumerate(cold.user_ids):
        own = cold.items[cold.indptr[number]:cold.indptr[number + 1]]
        assert [left.item_ids[item - 1] for item in own] == before[name]


def test_both_at_once_share_nothing(found):
    left, cold = cold_start.set_aside(found, shares(cold_items=0.2, cold_users=0.3))
    assert cold.items.max() <= left.interactions.num_items
    assert not set(cold.user_ids) & {left.user_ids[user] for user in cold.users}


def test_the_draw_is_by_seed(found):
    once, again = (cold_start.set_aside(found, shares(cold_items=0.2))[1].item_ids for _ in range(2))
    other = cold_start.set_aside(found, shares(cold_items=0.2, seed=7))[1].item_ids
    assert once == again != other


def test_it_comes_back_from_disk(found, tmp_path):
    _, cold = cold_start.set_aside(found, shares(cold_items=0.2, cold_users=0.3))
    counts = cold_start.write(tmp_path, cold, [{'title': name} for name in cold.item_ids])
    read, attributes = cold_start.load(tmp_path)
    assert counts == {'cold_items': 6, 'cold_item_cases': len(cold.users), 'cold_users': len(cold.user_ids)}
    assert list(read.item_ids) == cold.item_ids and list(read.user_ids) == cold.user_ids
    assert [each['title'] for each in attributes] == cold.item_ids
    np.testing.assert_array_equal(read.items, cold.items)
    (tmp_path / cold_start.CASES).write_bytes(b'damaged')
    with pytest.raises(UserError, match='cannot be read'):
        cold_start.load(tmp_path)


@pytest.mark.parametrize(('settings', 'words'), [
    ({'cold_items': 1.0}, 'below 1'), ({'cold_items': 0.97}, 'leaves no user'),
    ({'cold_users': 0.005}, 'nothing to ask for')])
def test_shares_that_cannot_be_are_refused(found, settings, words):
    with pytest.raises(UserError, match=words):
        cold_start.set_aside(found, shares(**settings))

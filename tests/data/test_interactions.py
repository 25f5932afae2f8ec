"""Leave-one-out, stored negatives, head and tail."""

import numpy as np
import pytest

from grasp_jax.data.interactions import Interactions, draw_negatives, head_mask, numbers_of_negatives


def make(rows, num_items) -> Interactions:
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    return Interactions(indptr, np.concatenate(rows).astype(np.int32), num_items)


@pytest.fixture
def interactions() -> Interactions:
    rng = np.random.default_rng(0)
    return make([rng.integers(1, 41, length) for length in rng.integers(1, 12, 200)], 40)


def test_leave_one_out_splits_every_sequence(interactions):
    users = interactions.evaluated_users()
    assert 0 < len(users) < interactions.num_users
    for row, user in enumerate(users):
        whole = interactions.items[interactions.indptr[user]:interactions.indptr[user + 1]]
        train, valid, test = (interactions.sequence(user, split) for split in ('train', 'valid', 'test'))
        np.testing.assert_array_equal(train, valid)
        np.testing.assert_array_equal(np.append(valid, interactions.targets('valid')[row]), test)
        np.testing.assert_array_equal(np.append(test, interactions.targets('test')[row]), whole)


def test_short_users_train_with_all_they_have():
    sequences = make([[1], [2, 3], [1, 2, 3]], 3)
    np.testing.assert_array_equal(sequences.evaluated_users(), [2])
    np.testing.assert_array_equal(sequences.input_lengths('train'), [1, 2, 1])
    np.testing.assert_array_equal(sequences.train_item_counts(), [0, 2, 1, 1])


def test_negatives_are_distinct_and_never_in_the_history(interactions):
    drawn = draw_negatives(interactions, 25, seed=3)
    assert drawn.dtype == np.int32 and drawn.min() >= 1 and drawn.max() <= 40
    for row, user in enumerate(interactions.evaluated_users()):
        own = interactions.items[interactions.indptr[user]:interactions.indptr[user + 1]]
        assert len(set(drawn[row])) == 25 and not set(drawn[row]) & set(own)
    np.testing.assert_array_equal(drawn, draw_negatives(interactions, 25, seed=3))
    assert (drawn != draw_negatives(interactions, 25, seed=4)).any()


def test_negatives_are_uniform_over_what_is_left():
    sequences = make([[3, 1, 7]] * 6000, 10)
    counts = np.bincount(draw_negatives(sequences, 2, seed=0).ravel(), minlength=11)
    assert (counts[[0, 1, 3, 7]] == 0).all()
    expected = 12000 / 7
    chi_squared = ((counts[[2, 4, 5, 6, 8, 9, 10]] - expected) ** 2 / expected).sum()
    assert chi_squared < 22.5  # the 99.9% point with 6 degrees of freedom


def test_few_left_takes_all_of_them_and_fills_with_zero():
    drawn = draw_negatives(make([[1, 2, 3, 4], [1, 1, 1], [1, 2, 3, 4, 5]], 5), 3, seed=0)
    assert drawn[0].tolist() == [5, 0, 0]
    assert set(drawn[1]) <= {2, 3, 4, 5} and len(set(drawn[1])) == 3
    assert drawn[2].tolist() == [0, 0, 0]


def test_head_is_the_top_fifth_with_ties_or_a_threshold():
    counts = np.array([9, 1, 5, 5, 2, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(np.flatnonzero(head_mask(counts, 0)), [0, 2, 3])
    np.testing.assert_array_equal(np.flatnonzero(head_mask(counts, 2)), [0, 2, 3, 4])
    assert not head_mask(np.zeros(5, int), 0).any()
    assert head_mask(np.zeros(0, int), 0).shape == (0,)


@pytest.mark.slow
@pytest.mark.parametrize(('users', 'items', 'mean', 'count'), [
    (300, 25_000, 10, 100), (300, 300, 60, 100), (300, 90, 10, 100), (300, 3000, 5, 20), (5, 50_000, 2000, 100),
    (100, 20_000, 5, 2000), (0, 10, 5, 3)])
def test_the_draw_is_that_of_one_user_after_the_other(monkeypatch, users, items, mean, count):
    """Stored candidates of earlier runs have to come out again."""
    monkeypatch.setattr('grasp_jax.data.interactions._BLOCK', 70)
    rng = np.random.default_rng(0)
    lengths = rng.geometric(1 / mean, users)
    sequences = Interactions(np.concatenate([[0], np.cumsum(lengths)]),
                             rng.integers(1, items + 1, lengths.sum()).astype(np.int32), items)
    drawn = draw_negatives(sequences, count, seed=3)
    assert drawn.dtype == np.int32 and drawn.shape == (len(sequences.evaluated_users()), count)
    again = np.random.default_rng(3)
    for row, user in zip(drawn, sequences.evaluated_users(), strict=True):
        allowed = np.setdiff1d(np.arange(1, items + 1), sequences.full_sequence(user))
        wanted = min(count, len(allowed))
        assert row[:wanted].tolist() == allowed[again.choice(len(allowed), wanted, False, shuffle=False)].tolist()
        assert not row[wanted:].any()


def test_numbers_of_negatives_are_what_the_draw_gives():
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, 9, 30)
    items = np.concatenate([rng.integers(1, 13, length) for length in lengths])
    lengths, items = np.append(lengths, 12), np.append(items, np.arange(1, 13)).astype(np.int32)  # who has them all
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]), items, 12)
    fewest, most = numbers_of_negatives(interactions)
    assert fewest < most
    for count in (3, 8, 50):
        drawn = (draw_negatives(interactions, count, seed=0) > 0).sum(1)
        drawn = drawn[drawn > 0]
        assert (drawn.min(), drawn.max()) == (min(count, fewest), min(count, most))


@pytest.mark.parametrize('split', ('train', 'valid', 'test'))
@pytest.mark.parametrize('by_time', (False, True))
def test_a_sequence_is_as_long_as_the_lengths_of_all_say(split, by_time):
    lengths = np.array([1, 2, 3, 4, 7])
    ends = np.stack([lengths // 2, np.maximum(lengths - 1, 1)]) if by_time else None
    known = Interactions(np.concatenate([[0], np.cumsum(lengths)]), np.arange(1, lengths.sum() + 1), 17, ends)
    for user, (start, length) in enumerate(zip(known.indptr, known.input_lengths(split), strict=False)):
        np.testing.assert_array_equal(known.sequence(user, split), known.items[start:start + length])

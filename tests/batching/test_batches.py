"""Packing: every item lands exactly once where it belongs, and a batch is a function of (seed, step)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches

WIDTH = 11


def one(plan, step):
    return jax.tree.map(lambda field: jnp.asarray(field[step]), plan.placement)


def test_first_fit_keeps_everybody_apart_and_inside():
    lengths = np.random.default_rng(0).integers(0, WIDTH + 1, (5, 30))
    rows, columns, needed = batches.first_fit(lengths, WIDTH)
    for step in range(5):
        taken = np.zeros((needed, WIDTH), int)
        for row, column, length in zip(rows[step], columns[step], lengths[step], strict=True):
            assert column + length <= WIDTH
            taken[row, column:column + length] += 1
        assert taken.max() == 1
    assert needed <= 1.25 * lengths.sum(1).max() / WIDTH + 1


@pytest.mark.slow
def test_rows_hold_the_newest_items_of_every_user_once(sequences):
    flat = np.arange(1, sequences.lengths.sum() + 1)
    plan = batches.epoch_plan(sequences, 32, seed=1, epoch=0)
    seen = []
    for step in range(len(plan)):
        place = one(plan, step)
        packed = batches.pack_rows(jnp.asarray(flat), place, plan.num_rows, WIDTH)
        for b in range(32):
            mine = np.asarray(packed.items[packed.segment == b + 1])
            if int(place.length[b]):
                user = int(place.user[b])
                whole = flat[sequences.starts[user - 7]:][:sequences.lengths[user - 7]]
                np.testing.assert_array_equal(mine, whole[-WIDTH:])
                np.testing.assert_array_equal(packed.position[packed.segment == b + 1], np.arange(len(mine)))
                seen.append(user)
            else:
                assert not len(mine)
        np.testing.assert_array_equal(packed.items > 0, packed.segment > 0)
    assert sorted(seen) == list(range(7, 207))


def test_appended_positions_belong_to_the_user_and_hold_no_item(sequences):
    flat = np.arange(1, sequences.lengths.sum() + 1)
    known = batches.Sequences(sequences.users, sequences.starts, sequences.lengths, WIDTH, mask_slots=1)
    plan = batches.ordered_plan(known, np.arange(50), 50)
    packed = batches.pack_rows(jnp.asarray(flat), one(plan, 0), plan.num_rows, WIDTH, mask_slots=1)
    place = one(plan, 0)
    masks = np.asarray((packed.items == 0) & (packed.segment > 0))
    assert masks.sum() == 50
    assert masks[place.row, place.column + place.length].all()
    assert int(place.length.max()) == WIDTH - 1


def test_epochs_repeat_by_seed_and_differ_from_each_other(sequences):
    first, again, next_epoch, other_seed = (
        batches.epoch_plan(sequences, 32, seed, epoch).placement.user
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0)))
    np.testing.assert_array_equal(first, again)
    assert (first != next_epoch).mean() > 0.5 and (first != other_seed).mean() > 0.5


def test_users_of_equal_length_meet_others_in_every_epoch():
    equal = batches.Sequences(np.arange(64), 4 * np.arange(64), np.full(64, 4), WIDTH)
    met = [{frozenset(np.asarray(one(batches.epoch_plan(equal, 8, seed=1, epoch=epoch), step).user).tolist())
            for step in range(8)} for epoch in range(3)]
    assert not met[0] & met[1] and not met[1] & met[2]


def test_every_batch_gets_long_and_short_sequences(sequences):
    plan = batches.epoch_plan(sequences, 20, seed=0, epoch=3)
    total = plan.placement.length.sum(1)
    assert total.max() < 1.2 * total.min()


def test_the_usual_rows_serve_later_epochs(sequences):
    rows = batches.usual_shape(sequences, 32, seed=0, groups=1).rows
    later = [batches.epoch_plan(sequences, 32, 0, epoch, rows).num_rows for epoch in range(100, 120)]
    assert np.mean([found == rows for found in later]) > 0.9

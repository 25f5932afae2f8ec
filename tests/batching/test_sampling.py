"""What a step draws: negatives outside the sequence, cloze masks, and the places of targets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches, sampling
from grasp_jax.models.losses import log_chance

WIDTH = 11


def one(plan, step):
    return jax.tree.map(lambda field: jnp.asarray(field[step]), plan.placement)


def packed_batch(sequences, num_items):
    flat = np.random.default_rng(3).integers(1, num_items + 1, sequences.lengths.sum())
    plan = batches.epoch_plan(sequences, 64, seed=0, epoch=0)
    return batches.pack_rows(jnp.asarray(flat), one(plan, 0), plan.num_rows, WIDTH)


@pytest.mark.slow
def test_training_negatives_are_outside_the_sequence_and_uniform(sequences):
    packed = packed_batch(sequences, 60)
    negatives = np.asarray(sampling.draw_training_negatives(jax.random.key(0), packed, 60, 40))
    assert negatives.min() >= 1 and negatives.max() <= 60
    items, segment = np.asarray(packed.items), np.asarray(packed.segment)
    inside = 0
    for b in range(1, 65):
        mine = segment == b
        inside += np.isin(negatives[mine], items[mine]).sum()
    # Four draws: at most (11 / 60)^4 of them are expected to be in the sequence.
    assert inside < 3 * (11 / 60) ** 4 * negatives[segment > 0].size
    counts = np.bincount(negatives.ravel(), minlength=61)[1:]
    assert counts.min() > 0.75 * counts.mean() and counts.max() < 1.25 * counts.mean()


def test_a_negative_has_four_draws_to_miss_the_users_own_items():
    packed = batches.PackedRows(jnp.arange(1, 16)[None], jnp.ones((1, 15), jnp.int32), jnp.arange(15)[None])
    negatives = sampling.draw_training_negatives(jax.random.key(0), packed, 20, 2000)
    assert abs(np.mean(np.asarray(negatives) <= 15) - (15 / 20) ** 4) < 0.015


@pytest.mark.slow
def test_cloze_masks_hide_the_asked_share_or_the_last_item(sequences):
    packed = packed_batch(sequences, 60)
    there = np.asarray(packed.segment > 0)
    some = np.asarray(sampling.draw_cloze_mask(jax.random.key(0), packed, 0.3, 0.0))
    assert not some[~there].any() and 0.2 < some[there].mean() < 0.4
    last = np.asarray(sampling.draw_cloze_mask(jax.random.key(0), packed, 0.3, 1.0))
    assert last.sum() == len(np.unique(packed.segment)) - 1
    segment, position = np.asarray(packed.segment), np.asarray(packed.position)
    for row, column in zip(*np.nonzero(last), strict=True):
        assert position[row, column] == position[segment == segment[row, column]].max()


@pytest.mark.slow
def test_a_user_has_the_last_item_hidden_alone_or_any_and_never_both(sequences):
    packed = packed_batch(sequences, 60)
    segment, position = np.asarray(packed.segment), np.asarray(packed.position)
    hidden = np.asarray(sampling.draw_cloze_mask(jax.random.key(3), packed, 0.9, 0.5))
    alone = []
    for user in np.unique(segment)[1:]:
        mine = segment == user
        length = position[mine].max() + 1
        if length >= 5:  # of so many, 0.9 hides more than one
            alone.append(hidden[mine].sum() == 1 and hidden[mine][position[mine] == length - 1].all())
            assert alone[-1] or hidden[mine].sum() > 1
    assert 0.2 < np.mean(alone) < 0.8


@pytest.mark.parametrize('groups', (1, 2, 4))
def test_targets_are_listed_once_each_and_in_order(groups):
    counts = jax.random.bernoulli(jax.random.key(0), 0.3, (8, WIDTH))
    field = jnp.arange(8 * WIDTH).reshape(8, WIDTH)
    targets = sampling.find_targets(counts, groups, 64)
    wanted = np.asarray(field)[np.asarray(counts)]
    np.testing.assert_array_equal(np.asarray(targets.pick(field))[np.asarray(targets.exist)], wanted)
    everywhere = sampling.targets_everywhere(counts, groups)
    np.testing.assert_array_equal(np.asarray(everywhere.pick(field))[np.asarray(everywhere.exist)], wanted)


@pytest.mark.slow
def test_targets_beyond_the_last_place_are_left_out():
    targets = sampling.find_targets(jnp.ones((2, 8), bool), 1, 5)
    assert targets.exist.all()
    np.testing.assert_array_equal(targets.pick(jnp.arange(16).reshape(2, 8))[0], np.arange(5))


@pytest.mark.slow
def test_the_gradient_of_picking_targets_is_that_of_plain_indexing():
    counts = jax.random.bernoulli(jax.random.key(1), 0.3, (4, WIDTH))
    values = jax.random.normal(jax.random.key(2), (4, WIDTH, 3))
    targets = sampling.find_targets(counts, 2, 32)

    def picked(values):
        return jnp.sum(jnp.sin(targets.pick(values)) * targets.exist[..., None])

    def plain(values):
        return jnp.sum(jnp.sin(values[np.nonzero(np.asarray(counts))]))

    np.testing.assert_allclose(picked(values), plain(values), rtol=1e-5)
    np.testing.assert_allclose(jax.grad(picked)(values), jax.grad(plain)(values), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_places_for_cloze_targets_suffice_and_are_not_many_too_many(sequences):
    for epoch in range(3):
        plan = batches.epoch_plan(sequences, 64, 0, epoch, row_multiple=2)
        places = sampling.cloze_targets(plan, 2, 0.3, 0.2)
        most = 0
        for step in range(len(plan)):
            packed = batches.pack_rows(jnp.zeros(10_000, jnp.int32), one(plan, step), plan.num_rows, WIDTH)
            for seed in range(20):
                masked = sampling.draw_cloze_mask(jax.random.key(seed), packed, 0.3, 0.2)
                most = max(most, int(masked.reshape(2, -1).sum(1).max()))
        assert most <= places <= 2 * most + 64


@pytest.mark.parametrize('last', (0, 2))
def test_places_for_next_items_suffice_exactly(sequences, last):
    plan = batches.epoch_plan(sequences, 64, 0, 0, row_multiple=2)
    places = sampling.next_item_targets(plan, 2, last)
    most = 0
    for step in range(len(plan)):
        packed = batches.pack_rows(jnp.zeros(10_000, jnp.int32), one(plan, step), plan.num_rows, WIDTH)
        is_target = (packed.segment > 0) & ~sampling.is_last(packed)
        if last:
            is_target &= sampling.from_the_end(packed) <= last
        most = max(most, int(is_target.reshape(2, -1).sum(1).max()))
    assert most <= places <= min(most + 63, plan.num_rows // 2 * WIDTH)


def test_shared_negatives_follow_their_chances():
    chance = np.array([0.5, 0.0, 0.3, 0.2])
    for given, expected in ((sampling.cumulated(chance), chance), (None, np.full(4, 0.25))):
        drawn = np.asarray(sampling.draw_shared_negatives(jax.random.key(0), 4, 20000, given))
        assert drawn.min() >= 1 and drawn.max() <= 4
        np.testing.assert_allclose(np.bincount(drawn, minlength=5)[1:] / 20000, expected, atol=0.015)


def test_chances_hold_for_the_tail_of_a_large_catalogue():
    chance = np.minimum(np.random.default_rng(0).zipf(1.6, 1_200_000), 20_000).astype(float)
    found = sampling.cumulated(chance)
    for each in (found, sampling.cumulated(np.array([1.0, 0.0, 1e9]))):
        assert (np.diff(each.astype(np.int64), prepend=-1) > 0).all() and each[-1] == 2 ** 32 - 1
    ids = np.concatenate([[1, len(chance)], np.argsort(chance)[[0, -1]] + 1])
    np.testing.assert_allclose(log_chance(jnp.asarray(found), ids),
                               np.log(chance[ids - 1] / chance.sum() * len(chance)), atol=0.02)


def test_a_share_of_the_items_is_hidden(sequences):
    packed = packed_batch(sequences, 60)
    hidden = np.asarray(sampling.draw_hidden(jax.random.key(0), packed, 0.3))
    assert not hidden[np.asarray(packed.items) == 0].any()
    assert 0.2 < hidden.sum() / (np.asarray(packed.items) > 0).sum() < 0.4


def test_how_far_a_position_is_from_the_end(sequences):
    packed = packed_batch(sequences, 60)
    left = np.asarray(sampling.from_the_end(packed))
    position, segment = np.asarray(packed.position), np.asarray(packed.segment)
    for user in range(1, 65):
        mine = segment == user
        if mine.any():
            np.testing.assert_array_equal(left[mine], position[mine].max() - position[mine])

"""Where the similar users of a batch go."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches
from grasp_jax.config import default
from grasp_jax.models.spec import model_spec
from grasp_jax.training.similar_users import SimilarUsers


@pytest.mark.slow
def test_each_place_holds_the_training_sequence_of_its_similar_user(small_data):
    interactions, _, _ = small_data
    config = default()
    config.model.max_length = 12
    spec = model_spec(config, interactions.num_items)
    similar = (np.arange(90)[:, None] + np.array([1, 7])) % 90
    similar[5] = [9, -1]
    lengths = interactions.input_lengths('train')
    known = batches.Sequences(np.arange(90), interactions.indptr[:-1], lengths, spec.row_width)
    plan = batches.epoch_plan(known, 16, seed=0, epoch=0)
    known = SimilarUsers(interactions, similar, spec)
    theirs = known.plan(plan, groups=2, min_rows=(5, 3))
    assert known.widths == (4, 13) and [each.num_rows >= rows for each, rows in zip(theirs, (5, 3), strict=True)]
    assert all(each.num_rows % 2 == 0 and len(each) == len(plan) for each in theirs)
    flat = jnp.asarray(interactions.items)
    used = set()
    for step in range(len(plan)):
        packed, ends = [], []
        for each, width in zip(theirs, known.widths, strict=True):
            placement = jax.tree.map(lambda field, at=step: jnp.asarray(field[at]), each.placement)
            packed.append(batches.pack_rows(flat, placement, each.num_rows, width))
            ends.append(batches.ends(placement))
        mine = zip(plan.placement.user[step], plan.placement.length[step], strict=True)
        for place, (user, length) in enumerate(mine):
            for number in range(2):
                at = 2 * place + number
                if not length or similar[user, number] < 0:
                    assert not any(each.exist[at] for each in ends)
                    continue
                wanted = interactions.sequence(similar[user, number], 'train')
                which = int(len(wanted) > known.widths[0])
                assert [int(each.exist[at]) for each in ends] == [1 - which, which]
                row, column = int(ends[which].row[at]), int(ends[which].column[at])
                found = packed[which].items[row, column + 1 - len(wanted):column + 1]
                np.testing.assert_array_equal(found, wanted)
                used.add(which)
    assert used == {0, 1}

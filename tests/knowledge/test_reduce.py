"""The stage `reduce`."""

import numpy as np
import pytest

from grasp_jax.errors import UserError
from grasp_jax.knowledge.reduce import START_SCALE, load_reduced, reduce_items


def test_directions_that_matter_are_kept_in_their_proportions(tmp_path):
    rng = np.random.default_rng(0)
    plane = rng.normal(size=(50, 2)) * [4.0, 1.0]
    turn = np.linalg.qr(rng.normal(size=(6, 6)))[0][:2]
    items = np.concatenate([np.zeros((1, 6)), plane @ turn]).astype(np.float16)
    facts = reduce_items(items, 2, tmp_path)
    reduced = load_reduced(tmp_path)
    assert reduced.shape == (51, 2) and reduced.dtype == np.float32 and not reduced[0].any()
    assert facts['variance_kept'] > 0.999
    np.testing.assert_allclose(reduced[1:].std(), START_SCALE, rtol=1e-4)
    distances = [np.linalg.norm(table[:, None] - table[None], axis=-1) for table in (plane, reduced[1:])]
    ratio = distances[1][~np.eye(50, dtype=bool)] / distances[0][~np.eye(50, dtype=bool)]
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=0.1)


def test_more_components_than_there_are_is_an_error(tmp_path):
    with pytest.raises(UserError, match='cannot be reduced to it; use at most 5'):
        reduce_items(np.ones((20, 5), np.float32), 6, tmp_path)

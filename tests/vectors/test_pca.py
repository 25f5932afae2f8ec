"""The stage `reduce`."""

import numpy as np
import threadpoolctl

from grasp_jax.vectors.pca import START_SCALE, load_reduced, reduce_items


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


def test_columns_beyond_the_components_are_as_in_a_fresh_table(tmp_path):
    """Vectors 64 wide, as those of the demo, for a model of width 128, as in the recipe `strong`."""
    items = np.concatenate([np.zeros((1, 64)), np.random.default_rng(0).normal(size=(500, 64))]).astype(np.float32)
    facts = reduce_items(items, 128, tmp_path)
    reduced = load_reduced(tmp_path)
    assert reduced.shape == (501, 128) and not reduced[0].any() and facts['components'] == 64
    np.testing.assert_allclose([reduced[1:, :64].std(), reduced[1:, 64:].std()], START_SCALE, rtol=0.02)
    assert facts['variance_kept'] > 0.999
    again = tmp_path / 'again'
    again.mkdir()
    reduce_items(items, 128, again)
    np.testing.assert_array_equal(reduced, load_reduced(again))


def test_the_number_of_processors_changes_nothing(tmp_path):
    """Sums that several threads share are rounded otherwise."""
    items = np.random.default_rng(0).normal(size=(3001, 384)).astype(np.float32)
    found = []
    for threads in (1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        with threadpoolctl.threadpool_limits(threads):
            reduce_items(items, 64, folder)
        found.append(load_reduced(folder))
    np.testing.assert_array_equal(*found)

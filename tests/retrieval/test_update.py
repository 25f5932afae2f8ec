"""Neighbours after a change equal those of a search from the beginning."""

import numpy as np
import pytest

from grasp_jax.retrieval import exact
from grasp_jax.retrieval.update import GONE, update


@pytest.mark.parametrize('grouped', [False, True])
@pytest.mark.parametrize('duplicates', [False, True])
@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 1.0])
def test_update_equals_a_full_search(grouped, duplicates, share):
    rng = np.random.default_rng(7)
    old = rng.normal(size=(300, 12)).astype(np.float32)
    if duplicates:  # ties between rows that changed and rows that did not
        old[100:200] = old[:100]
    old_groups = rng.integers(0, 40, 300) if grouped else None
    lists = exact.nearest(old, 5, old_groups)
    stay = np.flatnonzero(rng.random(300) >= 0.05)
    number = np.full(301, GONE)
    number[-1] = exact.NONE
    place = np.sort(rng.choice(len(stay) + 30, len(stay), replace=False))
    number[stay] = place
    new = rng.normal(size=(len(stay) + 30, 12)).astype(np.float32)
    new[place] = old[stay]
    changed = np.ones(len(new), bool)
    changed[place] = rng.random(len(stay)) < share
    if duplicates:
        new[changed] = old[rng.integers(0, 300, changed.sum())]
    groups = None
    if grouped:
        groups = rng.integers(0, 40, len(new))
        groups[place] = old_groups[stay]
    before = np.full((len(new), 5), exact.NONE)
    before[place] = number[lists[stay]]
    done = update(new, before, changed, 5, groups)
    np.testing.assert_array_equal(done.found, exact.nearest(new, 5, groups))
    assert done.searched >= changed.sum()
    assert done.moved == (done.found != before).any(axis=1).sum()


def test_nothing_is_searched_where_nothing_changed():
    vectors = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    lists = exact.nearest(vectors, 3)
    done = update(vectors, lists, np.zeros(50, bool), 3)
    assert (done.found == lists).all() and done.searched == done.moved == 0


def test_search_among_some_rows():
    vectors = np.random.default_rng(1).normal(size=(40, 4)).astype(np.float32)
    some = np.array([3, 5, 20])
    found = exact.nearest(vectors, 4, among=some)
    assert (found[:, 3] == exact.NONE).all()
    assert set(found[0, :3]) == {3, 5, 20} and set(found[3]) == {5, 20, exact.NONE}
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert found[0, 0] == some[np.argmax(unit[some] @ unit[0])]

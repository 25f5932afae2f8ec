"""Approximate search over very many items: what is found is scored exactly, and new items stand beside the index."""

import numpy as np
import pytest

import grasp_jax
from grasp_jax.benchmark.retrieval import clustered
from grasp_jax.serving import engine as engines
from grasp_jax.serving.index import Index

pytest.importorskip('scann', reason='ScaNN is not installed')


def test_it_finds_the_largest_products_and_leaves_out_what_it_is_told():
    rng = np.random.default_rng(0)
    items = clustered(3000, 16)  # as vectors of real items are; its clusters are others in each build
    states = items[rng.integers(len(items), size=4)]
    gone = [1 + np.argsort(-(items @ state))[:5] for state in states[:3]]
    found = Index(items).search(states, gone, 50)
    for row, state in enumerate(states):
        scores = items @ state
        if row < 3:
            scores[gone[row] - 1] = -np.inf
            assert not set(found[row]) & set(gone[row])
            best = 1 + np.argsort(-scores)[:50]
            assert len(np.intersect1d(found[row], best)) >= 40
    assert Index(items).search(states[:1], [np.arange(1, 2990)], 50) is None


@pytest.mark.slow
@pytest.mark.parametrize('name', ['gated', 'plain'])
def test_lists_by_an_index_hold_new_items_too(name, request, monkeypatch):
    workdir = request.getfixturevalue(name)
    monkeypatch.setattr(engines, 'ITEMS_FROM', 10)
    monkeypatch.setattr(engines, 'CANDIDATES', 20)
    model = grasp_jax.Recommender.load(workdir)
    assert model.approximate
    new = [{'item': 'new', 'title': 'thing03 of shelf0 and row3', 'brand': 'brand0'}]
    model.recommend(users=['u00'], k=5)  # builds the index
    model.add_items(new)
    mine = model.recommend(users=list(model.user_ids), k=8)
    theirs = model.recommend(users=list(model.user_ids), k=8, exact=True)
    assert ('new' in set(mine.item_id)) == ('new' in set(theirs.item_id))
    both = mine.merge(theirs, on=['user_id', 'item_id'])
    np.testing.assert_allclose(both.score_x, both.score_y, rtol=1e-4, atol=1e-5)
    assert len(both) > 0.8 * len(theirs)

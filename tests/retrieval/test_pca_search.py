"""Neighbours by way of few directions: exact where all are candidates, near it where few are, and found again."""

import numpy as np
import pytest
import threadpoolctl

from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.pipeline.checks import check_config
from grasp_jax.retrieval import exact, neighbours, pca_search


def vectors_of(rows=900, width=96, dtype=np.float32):
    """Clusters whose directions fall off, as those of texts do."""
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(rows // 15, 30))[rng.integers(0, rows // 15, rows)] + 0.7 * rng.normal(size=(rows, 30))
    return (latent / np.arange(1, 31) ** 0.5 @ rng.normal(size=(30, width))
            + 0.1 * rng.normal(size=(rows, width))).astype(dtype)


def settings_of(**values):
    settings = default().retrieve
    settings.update({'k': 5, 'method': 'exact', 'pca_dim': 8, 'candidates': 40, **values})
    return settings


@pytest.mark.parametrize('dtype', (np.float32, np.float16))
@pytest.mark.parametrize('grouped', (False, True))
def test_few_directions_find_nearly_all_of_the_nearest(tmp_path, dtype, grouped):
    vectors = vectors_of(dtype=dtype)
    groups = np.arange(900) // 50 % 3 if grouped else None
    found, facts = neighbours._search(vectors, settings_of(), groups, tmp_path / 'kept')
    assert facts['width'] == 8 and facts['recall'] > 0.95 and facts['recall_rows'] == 900
    if grouped:
        assert (groups[found] == groups[:, None]).all()
    # The order is that of the whole vectors: not even equally many candidates in that few directions give it.
    narrow = exact.nearest(pca_search.project(vectors, 8, tmp_path / 'kept')[0], 5, groups)
    assert neighbours.recall(vectors, narrow, 900, groups) < 0.8


@pytest.mark.slow
def test_with_everybody_as_candidates_it_is_the_exact_search(tmp_path):
    vectors = np.concatenate([vectors_of(300), vectors_of(300)[:60]])  # with twins
    found, _ = neighbours._search(vectors, settings_of(candidates=359), None, tmp_path / 'kept')
    # Twins differ by rounding, so either may come first.
    np.testing.assert_array_equal(found % 300, exact.nearest(vectors, 5) % 300)
    assert all(len(set(row)) == 5 and number not in row for number, row in enumerate(found.tolist()))


@pytest.mark.slow
def test_large_and_small_groups_and_lonely_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(neighbours, 'SCANN_FROM', 100)
    vectors, groups = vectors_of(600), np.zeros(600, np.int64)
    groups[:40] = np.arange(40) // 3 + 1  # thirteen groups of three, one row alone
    groups[100:250] = 99
    found, facts = neighbours._search(vectors, settings_of(candidates=200), groups, tmp_path / 'kept')
    truth = exact.nearest(vectors, 5, groups)
    np.testing.assert_array_equal(found[:40], truth[:40])
    assert (found[39] == exact.NONE).all() and facts['rows_without_neighbours'] == 1
    assert (found == truth).mean() > 0.99


def test_a_killed_search_goes_on_where_it_was(tmp_path, monkeypatch):
    monkeypatch.setattr(pca_search, '_QUERIES', 512)
    vectors = vectors_of(1200)
    expected, _ = neighbours._search(vectors, settings_of(), None, tmp_path / 'through')
    real, calls = pca_search.in_exact_order, []

    def killed_in_the_second_block(*given):
        calls.append(given[2][0])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(pca_search, 'in_exact_order', killed_in_the_second_block)
    with pytest.raises(KeyboardInterrupt):
        neighbours._search(vectors, settings_of(), None, tmp_path / 'kept')
    found, _ = neighbours._search(vectors, settings_of(), None, tmp_path / 'kept')
    np.testing.assert_array_equal(found, expected)
    assert calls == [0, 512, 512, 1024]
    calls.clear()
    neighbours._search(vectors, settings_of(), None, tmp_path / 'kept')
    assert not calls


def test_the_number_of_processors_changes_no_direction(tmp_path):
    vectors, found = vectors_of(3000, 384), []
    for threads in (1, 2):
        (tmp_path / str(threads)).mkdir()
        with threadpoolctl.threadpool_limits(threads):
            found.append(pca_search.project(vectors, 64, tmp_path / str(threads))[0])
    np.testing.assert_array_equal(*found)


def test_too_few_candidates_are_refused():
    with pytest.raises(UserError, match='retrieve.candidates=4: must be at least k, 5'):
        check_config(changed(default(), {'retrieve.k': 5, 'retrieve.pca_dim': 8, 'retrieve.candidates': 4}))

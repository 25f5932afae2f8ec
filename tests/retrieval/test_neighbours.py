"""Neighbours: self left out by number, groups kept, fast forms equal to plain ones."""

import sys

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.retrieval import exact, neighbours, scann_index
from grasp_jax.vectors import vector_files

needs_scann = pytest.mark.skipif(not scann_index.installed(), reason='ScaNN has no wheel for this machine')


def random_vectors(rows, width=16, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)


def clustered(rows, width=32):
    """Vectors around centres, as texts of similar products are; every tenth row has a twin."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(rows // 20, width))[rng.integers(0, rows // 20, rows)] + rng.normal(size=(rows, width))
    vectors[1::10] = vectors[0::10]
    return vectors.astype(np.float32)


@pytest.mark.parametrize('queries, keys, cached', [(2048, 8192, 1 << 30), (7, 11, 1 << 30), (7, 11, 0), (50, 3, 0)])
@pytest.mark.parametrize('num_groups', [1, 4, 30])
@pytest.mark.parametrize('k', [1, 5])
def test_blocked_equals_plain(monkeypatch, queries, keys, cached, num_groups, k):
    monkeypatch.setattr(exact, '_QUERIES', queries)
    monkeypatch.setattr(exact, '_KEYS', keys)
    monkeypatch.setattr(exact, '_CACHED', cached)
    vectors = random_vectors(60)
    groups = np.random.default_rng(1).integers(0, num_groups, 60) * 7
    expected = exact.nearest_plain(vectors, k, groups)
    assert np.array_equal(exact.nearest(vectors, k, groups), expected)
    rows = np.array([59, 3, 30, 4])
    assert np.array_equal(exact.nearest(vectors, k, groups, rows=rows), expected[rows])
    if num_groups == 1:
        assert np.array_equal(exact.nearest(vectors, k), expected)


@pytest.mark.parametrize('method', ['exact', pytest.param('scann', marks=needs_scann)])
def test_self_is_left_out_even_among_equal_vectors(method):
    vectors = np.repeat(random_vectors(120), 25, axis=0)  # 25 twins of each, more than k
    found = neighbours.neighbours(vectors, 10, method)
    rows = np.arange(len(vectors))
    assert not (found == rows[:, None]).any() and (found >= 0).all()
    assert (found // 25 == rows[:, None] // 25).all()
    assert all(len(set(row)) == 10 for row in found.tolist())


@pytest.mark.parametrize('method', ['exact', pytest.param('scann', marks=needs_scann)])
def test_groups_are_kept_and_short_ones_padded(method):
    vectors = clustered(2600)
    groups = np.full(2600, 5)
    groups[:3], groups[3], groups[100:400] = 0, 1, 2
    groups = np.random.default_rng(0).permutation(groups)
    found = neighbours.neighbours(vectors, 4, method, groups)
    known = found >= 0
    assert (groups[found] == groups[:, None])[known].all()
    sizes = np.bincount(groups)[groups]
    assert np.array_equal(known.sum(axis=1), np.minimum(4, sizes - 1))
    assert not (found == np.arange(2600)[:, None]).any()
    assert np.array_equal(np.sort(~known, axis=1), ~known)  # padding comes last


def test_zero_vectors_and_scale_do_no_harm():
    vectors = random_vectors(20)
    scaled = vectors * np.linspace(0.1, 50, 20, dtype=np.float32)[:, None]
    assert np.array_equal(exact.nearest(scaled, 3), exact.nearest(vectors, 3))
    vectors[4] = 0
    assert (exact.nearest(vectors, 19) >= 0).all()


@needs_scann
@pytest.mark.parametrize('rows, tree_above, least', [(500, 10**6, 1.0), (3000, 10**6, 0.98), (3000, 1000, 0.7)])
def test_scann_finds_what_exact_finds(rows, tree_above, least):
    vectors = clustered(rows)
    found = scann_index.nearest(vectors, 10, tree_above)
    assert not (found == np.arange(rows)[:, None]).any()
    assert neighbours.recall(vectors, found, sample=rows) >= least


@pytest.mark.slow
@needs_scann
def test_scann_recall_on_beauty(real_data):
    vectors = np.load(real_data('amazon_beauty_5core') / 'item_embeddings_minilm.npy')
    found = neighbours.neighbours(vectors, 10, 'scann')
    assert neighbours.recall(vectors, found, sample=500) >= 0.98
    assert not (found == np.arange(len(vectors))[:, None]).any()


@needs_scann
@pytest.mark.parametrize('width', [1, 2, 7])
def test_scann_takes_narrow_vectors(width):
    found = neighbours.neighbours(random_vectors(2100, width), 3, 'scann')
    assert found.shape == (2100, 3) and (found >= 0).all()


def test_recall_counts_hits():
    vectors = random_vectors(50)
    truth = exact.nearest(vectors, 4)
    assert neighbours.recall(vectors, truth, sample=50) == 1
    half = truth.copy()
    half[:, 2:] = -1
    assert neighbours.recall(vectors, half, sample=20) == 0.5


@pytest.mark.parametrize('block', [1 << 24, 40])
def test_pool_equals_a_loop(monkeypatch, block):
    monkeypatch.setattr(vector_files, '_BLOCK', block)
    vectors = random_vectors(30, 4).astype(np.float16)
    ids = np.random.default_rng(0).integers(-1, 30, (30, 5))
    ids[7] = -1
    pooled = neighbours.pool(vectors, ids)
    for row in range(30):
        chosen = [vectors[i].astype(np.float32) for i in ids[row] if i >= 0]
        expected = np.mean(chosen, axis=0) if chosen else vectors[row]
        np.testing.assert_allclose(pooled[row], expected, rtol=1e-5, atol=1e-6)
    assert pooled.dtype == np.float32


def make_stage(tmp_path, items=2100, users=300):
    rng = np.random.default_rng(0)
    interactions = Interactions(np.arange(users + 1, dtype=np.int64), np.ones(users, np.int32), items)
    attributes = [{'category': ['A', 'B'][i % 2]} if i % 7 else {} for i in range(items)]
    dataset = Dataset('toy', interactions, [str(u) for u in range(users)], [str(i) for i in range(items)], attributes,
                      [{} for _ in range(users)], {})
    encode = tmp_path / 'encode'
    encode.mkdir()
    table = rng.normal(size=(items + 1, 8)).astype(np.float16)
    table[0] = 0
    np.save(encode / vector_files.ITEMS, table)
    np.save(encode / vector_files.USERS, rng.normal(size=(users, 8)).astype(np.float16))
    return dataset, encode


@pytest.mark.parametrize('method', ['exact', pytest.param('auto', marks=needs_scann)])
def test_stage_writes_tables_and_is_deterministic(tmp_path, method):
    dataset, encode = make_stage(tmp_path)
    config = default()
    config.retrieve.update({'k': 5, 'method': method})
    facts = []
    for name in ('a', 'b'):
        (tmp_path / name).mkdir()
        facts.append(neighbours.retrieve(dataset, encode, config, tmp_path / name))
    for file in sorted((tmp_path / 'a').iterdir()):
        assert file.read_bytes() == (tmp_path / 'b' / file.name).read_bytes(), file.name
    loaded = vector_files.load_tables(encode, tmp_path / 'a', 300, 2100)
    ids = np.load(tmp_path / 'a' / neighbours.ITEM_NEIGHBOURS)
    assert ids.shape == (2100, 5) and ids.min() >= 1 and ids.max() <= 2100
    assert loaded.items_similar.dtype == np.float16
    expected = loaded.items[ids[41]].astype(np.float32).mean(axis=0)  # row 41 is item 42
    np.testing.assert_allclose(loaded.items_similar[42], expected, atol=2e-3)
    users = np.load(tmp_path / 'a' / neighbours.USER_NEIGHBOURS)
    assert users.shape == (300, 5) and users.min() >= 0 and users.max() < 300
    assert facts[0]['users'] | {'seconds': 0} == {
        'method': 'exact', 'width': 8, 'seconds': 0, 'rows': 300, 'rows_without_neighbours': 0, 'recall': None,
        'recall_rows': 0}
    if method == 'auto':
        assert facts[0]['items']['method'] == 'scann' and facts[0]['items']['recall'] >= 0.98
        assert facts[0]['items']['recall_rows'] == 1000


def test_stage_groups_by_attribute(tmp_path):
    dataset, encode = make_stage(tmp_path, items=100, users=20)
    config = default()
    config.retrieve.item_group = 'category'
    (tmp_path / 'out').mkdir()
    facts = neighbours.retrieve(dataset, encode, config, tmp_path / 'out')
    category = [str(attributes.get('category')) for attributes in dataset.item_attributes]
    for row, ids in enumerate(np.load(tmp_path / 'out' / neighbours.ITEM_NEIGHBOURS)):
        assert {category[i - 1] for i in ids} == {category[row]}
    assert facts['items']['groups'] == 3


@pytest.mark.parametrize('setting, value, complaint', [
    ('k', 0, 'retrieve.k'), ('method', 'faiss', 'retrieve.method'), ('item_group', 'brand', 'item_group.*category'),
    ('user_group', 'age', 'user_group.*no attributes')])
def test_wrong_settings_are_refused(tmp_path, setting, value, complaint):
    dataset, encode = make_stage(tmp_path, items=30, users=20)
    config = default()
    config.retrieve[setting] = value
    with pytest.raises(UserError, match=complaint):
        neighbours.retrieve(dataset, encode, config, tmp_path)


def test_without_scann_auto_is_exact_and_scann_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, 'scann', None)
    monkeypatch.setattr(scann_index, 'installed', lambda: False)
    assert neighbours.resolve('auto', 10**6) == 'exact'
    for call in (lambda: neighbours.neighbours(random_vectors(30), 3, 'scann'),
                 lambda: scann_index.nearest(random_vectors(30), 3)):
        with pytest.raises(UserError, match='not installed'):
            call()

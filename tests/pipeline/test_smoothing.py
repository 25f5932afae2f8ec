"""Items' vectors that are smoothed over what is bought together before neighbours are searched for."""

import json

import numpy as np
import pytest

from grasp_jax.evaluation.against_baselines import FOLDER
from grasp_jax.pipeline.stages import prepare_knowledge, refresh_knowledge, run_pipeline, settled
from grasp_jax.retrieval import bought_together, exact, neighbours, wrong_texts
from grasp_jax.serving import bundle
from grasp_jax.serving.assets import open_folder
from grasp_jax.serving.recommender import Recommender
from grasp_jax.vectors.pca import load_reduced, reduce_items
from tests.tiny_runs import tiny_config, write_table

pytestmark = pytest.mark.slow
SETTINGS = {'model__method': 'grasp_id', 'model__gate': 'none', 'model__id_init': 'text'}


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')
    write_table(folder)
    return folder


def test_neighbours_their_means_and_starts_are_of_smoothed_vectors(data, tmp_path):
    raw = prepare_knowledge(tiny_config(data, **SETTINGS), tmp_path / 'raw')
    config = tiny_config(data, retrieve__smoothing=0.5, **SETTINGS)
    known = prepare_knowledge(config, tmp_path / 'smooth')
    plain = np.asarray(raw.tables.items)
    table = bought_together.together(raw.dataset.interactions)
    wanted = bought_together.smoothed(plain, bought_together.neighbours_mean(table, exact.unit(plain)), 0.5)
    smooth = np.load(tmp_path / 'smooth' / 'retrieve' / 'items_smoothed.npy')
    np.testing.assert_allclose(smooth, wanted, rtol=1e-5, atol=1e-6)
    ids = exact.nearest(smooth[1:], config.retrieve.k)
    np.testing.assert_array_equal(np.load(tmp_path / 'smooth' / 'retrieve' / neighbours.ITEM_NEIGHBOURS), ids + 1)
    np.testing.assert_allclose(known.tables.items_similar[1:], neighbours.pool(wanted[1:], ids), rtol=1e-5, atol=1e-6)
    reduce_items(smooth, config.model.hidden_size, tmp_path)
    np.testing.assert_array_equal(known.pretrained.start, load_reduced(tmp_path))
    np.testing.assert_allclose(known.tables.items, exact.unit(plain), rtol=1e-5, atol=1e-6)  # too few to mend any
    for table in ('users', 'users_similar'):
        np.testing.assert_array_equal(getattr(known.tables, table), getattr(raw.tables, table))
    assert known.fingerprint != raw.fingerprint


def test_without_smoothing_the_stage_is_what_it_was_before_there_was_such_a_setting(data, tmp_path):
    prepare_knowledge(tiny_config(data, **SETTINGS), tmp_path)
    manifest = json.loads((tmp_path / 'retrieve' / 'manifest.json').read_text())
    assert 'smoothing' not in manifest['config']
    assert not (tmp_path / 'retrieve' / 'items_smoothed.npy').exists()


@pytest.mark.parametrize(('method', 'asked', 'smoothed'), [
    ('grasp_mixture', -1.0, True), ('grasp_mixture', 0.0, False), ('grasp_id', -1.0, False), ('grasp_id', 1.0, True)])
def test_the_method_says_whether_vectors_are_smoothed_unless_the_config_does(method, asked, smoothed):
    config = tiny_config('.', **{**SETTINGS, 'model__method': method}, retrieve__smoothing=asked)
    assert neighbours.stage_settings(settled(config).retrieve).get('smoothing', 0.0) == smoothed
    assert config.retrieve.smoothing == asked


def test_a_run_on_smoothed_vectors_is_served_bundled_and_refreshed(data, tmp_path, monkeypatch):
    monkeypatch.setattr(wrong_texts, '_FEW', 5)  # so that texts of this small shop are mended too
    config = tiny_config(data, retrieve__smoothing=1.0, train__max_epochs=1, **SETTINGS)
    run_pipeline(config, tmp_path / 'run')
    plain = tiny_config(data, train__max_epochs=1, **SETTINGS)
    run_pipeline(plain, tmp_path / 'plain')
    content = [next((tmp_path / name / FOLDER).glob('encode-*')).read_bytes() for name in ('run', 'plain')]
    assert content[0] == content[1], 'the baseline of the texts alone reads them as they are'
    best = Recommender.load(tmp_path / 'run').recommend(['u00', 'u01'], k=5)
    bundle.write_bundle(open_folder(tmp_path / 'run'), tmp_path / 'bundle')
    assert Recommender.load(tmp_path / 'bundle').recommend(['u00', 'u01'], k=5).equals(best)
    # Other purchases: vectors move though no text did, and neighbours are what a search among all finds.
    rows = (data / 'interactions.csv').read_text().splitlines()
    write_table(tmp_path / 'later')
    (tmp_path / 'later' / 'interactions.csv').write_text('\n'.join(
        [*rows, *(f'u{user:02d},i{7 * user % 30 + 1:03d},{99 + place}' for user in range(20) for place in range(3))]))
    later = tiny_config(tmp_path / 'later', retrieve__smoothing=1.0, train__max_epochs=1, **SETTINGS)
    refresh_knowledge(later, tmp_path / 'next', tmp_path / 'run')
    known = prepare_knowledge(later, tmp_path / 'next')
    anew = tmp_path / 'anew'
    anew.mkdir()
    neighbours.retrieve(known.dataset, tmp_path / 'next' / 'encode', later, anew)
    for name in ('items_mended.npy', 'items_smoothed.npy', 'items_similar.npy', neighbours.ITEM_NEIGHBOURS):
        np.testing.assert_array_equal(np.load(tmp_path / 'next' / 'retrieve' / name), np.load(anew / name))
    assert known.stages['retrieve']['items']['changed'] > 10, 'vectors follow purchases'

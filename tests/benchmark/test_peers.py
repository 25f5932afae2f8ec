"""Other programs beside this one: what they are given, what becomes of what they leave, and rows that are kept."""

import dataclasses
import hashlib
import json
import os
import pathlib
import sys

import numpy as np
import pytest

from grasp_jax.benchmark import markdown, timing
from grasp_jax.benchmark.peers import compare
from grasp_jax.benchmark.peers import job as jobs
from grasp_jax.common.errors import UserError
from tests.conftest import ROOT

SEQUENCES = ([1, 2, 3, 4], [5, 1, 2], [3, 2, 1, 5, 12, 4])
ENVIRONMENTS = os.environ.get('PEERS_ENVIRONMENTS')  # a folder that `benchmark peers` made


@pytest.fixture
def split(tmp_path):
    np.savez(tmp_path / 'split.npz', indptr=np.cumsum([0, *map(len, SEQUENCES)]), items=np.concatenate(SEQUENCES))
    return tmp_path / 'split.npz'


def row(program='grasp_jax', **changed):
    return {'program': program, 'backbone': 'sasrec', 'settings': 'same', 'epochs': 3, 'bound': True, 'epoch_s': 2.0,
            'train_s': 60.0, 'list_s': 1.0, 'users': 3, 'peak_bytes': 2 * 10**9, 'ndcg10': 0.05, 'hr10': 0.09,
            'versions': {'numpy': '2'}, 'matmul_flops_per_s': [2e11, 3e11]} | changed


def test_training_lacks_the_two_newest_items_and_a_list_the_newest(split):
    known = jobs.Split(str(split))
    for held_out in (0, 1, 2):
        users, items, places = known.rows(held_out)
        kept = [sequence[:len(sequence) - held_out] for sequence in SEQUENCES]
        assert [items[users == user].tolist() for user in range(3)] == kept
        assert [places[users == user].tolist() for user in range(3)] == [list(range(len(one))) for one in kept]
    assert [known.history(user).tolist() for user in range(3)] == [sequence[:-1] for sequence in SEQUENCES]
    assert (known.num_users, known.num_items) == (3, 12)
    assert known.targets_a_batch() == round(128 * (7 / 3 - 1))


def test_lists_leave_out_the_history_and_begin_with_the_best(split):
    scores = np.tile(np.arange(13, dtype=float), (2, 1))  # items 1 to 13
    found = jobs.unseen(scores, jobs.Split(str(split)), np.array([0, 1]))
    assert found.tolist() == [[13, 12, 11, 10, 9, 8, 7, 6, 5, 4], [13, 12, 11, 10, 9, 8, 7, 6, 4, 3]]


def test_a_row_tells_the_quality_of_lists(split, tmp_path):
    (tmp_path / 'result.json').write_text(json.dumps(
        {'epoch_s': [9.0, 2.0, 4.0], 'list_s': 1.0, 'train_s': 60.0, 'versions': {}}))
    lists = np.zeros((3, 10), np.int32)
    lists[0, 0], lists[1, 2] = 4, 2  # first, third, and the last user's target is on no list
    np.save(tmp_path / 'lists.npy', lists)
    found = compare._judged(tmp_path, split, epochs=3)
    assert found['ndcg10'] == pytest.approx((1 + 1 / 2) / 3) and found['hr10'] == pytest.approx(2 / 3)
    assert (found['epoch_s'], found['epochs'], found['bound']) == (4.0, 3, True)
    assert not compare._judged(tmp_path, split, epochs=4)['bound']


def test_padding_of_a_list_is_no_hit():
    assert compare.ranks_in_lists(np.array([[0, 0], [7, 3]]), np.array([5, 3])).tolist() == [np.inf, 2.0]


def test_rows_are_those_that_there_are():
    there = {(name, backbone, settings) for name in jobs.NAMES for backbone in jobs.BACKBONES
             for settings in jobs.SETTINGS if compare._exists(name, backbone, settings)}
    assert ('rectools', 'gru4rec', 'same') not in there and ('recbole', 'gru4rec', 'defaults') in there
    assert ('grasp_jax_texts', 'sasrec', 'same') not in there  # the others read no texts
    assert ('grasp_jax_texts', 'sasrec', 'defaults') in there


def test_a_program_that_fails_says_why_and_is_tried_again(split, tmp_path, monkeypatch):
    monkeypatch.setattr(compare, 'environment', lambda *_: pathlib.Path(sys.executable))  # which lacks RecTools
    options = compare.Options('configs/demo.py', tmp_path)
    for _ in range(2):
        found = compare._row('rectools', 'sasrec', 'same', split, options)
        assert found['why'].startswith('exit code 1: ModuleNotFoundError: No module named')
    assert not list(tmp_path.rglob('row.json'))
    assert 'Traceback' in (tmp_path / 'rows' / 'rectools_sasrec_same_100' / 'log.txt').read_text()


def test_a_kept_row_is_not_measured_again_but_for_other_data(split, tmp_path, monkeypatch):
    folder = tmp_path / 'rows' / 'cornac_sasrec_same_3'
    folder.mkdir(parents=True)
    kept = row('cornac', split=hashlib.sha256(split.read_bytes()).hexdigest())
    (folder / 'row.json').write_text(json.dumps(kept))
    options = compare.Options('configs/demo.py', tmp_path, epochs=3)
    assert compare._row('cornac', 'sasrec', 'same', split, options) == kept
    monkeypatch.setattr(compare, 'environment', lambda *_: pathlib.Path(sys.executable))  # which lacks Cornac
    np.savez(split, indptr=[0, 3], items=[1, 2, 3])
    assert 'ModuleNotFoundError' in compare._row('cornac', 'sasrec', 'same', split, options)['why'], 'of other data'


@pytest.mark.slow
def test_an_environment_that_cannot_be_made_is_an_error_with_a_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(compare, 'PROGRAMS', {'recbole': compare.Program(('grasp-jax-no-such==1',), ('sasrec',))})
    with pytest.raises(UserError, match='could not install.*--programs=grasp_jax,grasp_jax_texts,rectools,cornac$'):
        compare.environment('recbole', tmp_path)


@pytest.mark.slow
def test_this_project_takes_part_as_anybody_starts_it(tmp_path):
    config = str(ROOT / 'configs' / 'demo.py')
    options = compare.Options(config, tmp_path / 'out', epochs=1)
    found = [one for name, settings in (('grasp_jax', 'same'), ('grasp_jax_texts', 'defaults')) for one in
             compare.measure(dataclasses.replace(options, programs=(name,), settings=(settings,)))]
    assert [(one['program'], one['settings'], one['epochs']) for one in found] == [
        ('grasp_jax', 'same', 1), ('grasp_jax_texts', 'defaults', 1)]
    for one in found:
        assert one['users'] == 1500 and one['epoch_s'] > 0 and one['peak_bytes'] > 2e8 and one['ndcg10'] > 0.03
        folder = tmp_path / 'out' / 'rows' / f'{one["program"]}_sasrec_{one["settings"]}_1'
        with np.load(folder / 'run' / 'seed42' / 'test_ranks.npz') as ranks:
            np.testing.assert_allclose(one['hr10'], (ranks['full'] <= 10).mean(), atol=1e-3)
    written = {'command': 'peers', 'machine': {**timing.machine(), 'command': 'a test'}, 'matmul_flops_per_s': 1e11,
               'results': [*found, {'program': 'cornac', 'backbone': 'sasrec', 'settings': 'same', 'why': 'broken'}]}
    markdown.write(written, tmp_path, compare.plot)
    page = (tmp_path / 'peers.md').read_text()
    assert '| grasp_jax, with texts | SASRec |' in page and '| cornac | sasrec | same | broken |' in page
    assert (tmp_path / 'peers.png').read_bytes().startswith(b'\x89PNG')


def test_a_table_holds_a_program_against_ours_with_its_own_backbone():
    rows = [row(), row('cornac', epoch_s=30.0), row(backbone='gru4rec', epoch_s=1.0),
            row('cornac', backbone='gru4rec', epoch_s=4.0, bound=False)]
    found = {'command': 'peers', 'machine': {**timing.machine(), 'command': 'a test'}, 'matmul_flops_per_s': 1e11,
             'results': rows}
    page = markdown.render(found, as_markdown=True)
    assert '| cornac | SASRec | 30.0 | 15.0 | 3 (bound) | 1.0 | 1.0 | 2.0 | 5.00 | 9.00 | 200, 300 |' in page
    assert '| cornac | GRU4Rec | 4.0 | 4.0 | 3 |' in page


@pytest.mark.slow
@pytest.mark.skipif(not ENVIRONMENTS, reason='PEERS_ENVIRONMENTS names no folder with environments of other programs')
@pytest.mark.parametrize('name', jobs.OTHERS)
def test_the_others_learn_a_pattern(name, tmp_path):
    """Each user walks through the catalogue by steps of one or two."""
    rng = np.random.default_rng(0)
    steps = [rng.integers(1, 3, rng.integers(12, 16)) for _ in range(600)]
    walks = [(rng.integers(60) + np.cumsum(step)) % 60 + 1 for step in steps]
    np.savez(tmp_path / 'split.npz', indptr=np.cumsum([0, *map(len, walks)]), items=np.concatenate(walks))
    (tmp_path / 'row').mkdir()
    job = jobs.Job(str(tmp_path / 'split.npz'), str(tmp_path / 'row'), 'sasrec', jobs.SAME, 10)
    status, _ = compare.run(compare.environment(name, pathlib.Path(ENVIRONMENTS)), name, job)
    assert status == 0, (tmp_path / 'row' / 'log.txt').read_text()[-1000:]
    assert compare._judged(tmp_path / 'row', tmp_path / 'split.npz', 10)['hr10'] > 0.7
    assert dataclasses.asdict(job) == json.loads((tmp_path / 'row' / 'job.json').read_text())

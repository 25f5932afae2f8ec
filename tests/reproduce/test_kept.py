"""Runs that are kept in four files come back as they were."""

import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.ranking.metrics import Ranks, load_ranks, save_ranks
from grasp_jax.reproduce import kept
from tests.reproduce.test_reproduce import finished

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def runs(tmp_path):
    """Three runs in two work folders, one of which has other users."""
    folder = tmp_path / 'runs'
    finished(folder / 'beauty' / 'paper', 'one', 1, seeds=(1, 2))
    finished(folder / 'beauty' / 'paper', 'two', 1, seeds=(1,))
    users = np.arange(7, dtype=np.int32)
    sampled = np.where(users < 6, users + 1.5, np.nan)  # one has no rank
    save_ranks(folder / 'beauty/paper/two/seed1', Ranks(users, users, sampled, users * 300 + 1.0))
    windows = {'hits': np.arange(21, dtype=np.uint8).reshape(7, 3) % 2, 'wanted': np.arange(7, dtype=np.int32)}
    save_ranks(folder / 'beauty/paper/one/seed2', Ranks(users, users, users + 1.0, users + 2.0, **windows))
    (folder / 'beauty/paper/changes.json').write_text('{"retrieve.k": 3}\n')
    for run in folder.rglob('seed*'):
        (run / 'metrics.jsonl').write_text(f'{{"epoch": 1, "of": "{run}"}}\n{{"epoch": 2}}\n', encoding='utf-8')
        (run / 'checkpoints').mkdir()
        (run / 'checkpoints' / 'large').write_bytes(b'x' * 1000)
    (folder / 'beauty/paper/unfinished/seed1').mkdir(parents=True)
    (folder / 'beauty/paper/unfinished/seed1/manifest.json').write_text('{}')
    return folder


def same(one, other):
    """Whether two folders hold the same runs."""
    files = {path.relative_to(one) for path in one.rglob('*') if path.is_file() and path.suffix != '.npz'
             and 'checkpoints' not in path.parts and 'unfinished' not in path.parts}
    assert files == {path.relative_to(other) for path in other.rglob('*') if path.is_file() and path.suffix != '.npz'}
    assert all((one / path).read_bytes() == (other / path).read_bytes() for path in files) and files
    for path in one.rglob('test_ranks.npz'):
        for left, right in zip(load_ranks(path.parent), load_ranks(other / path.parent.relative_to(one)), strict=True):
            assert left is right is None or (
                np.array_equal(left, right, equal_nan=True) and left.dtype == right.dtype)


def test_what_is_unpacked_is_what_was_packed(runs, tmp_path):
    assert len(kept.pack(runs, tmp_path / 'kept')) == 3
    assert sorted(path.name for path in (tmp_path / 'kept').iterdir()) == sorted(
        [kept.INDEX, kept.RANKS, kept.METRICS, kept.RECORDS])
    before = {path: path.read_bytes() for path in (tmp_path / 'kept').iterdir()}
    assert kept.unpack(tmp_path / 'kept', tmp_path / 'back') == 3
    same(runs, tmp_path / 'back')
    assert kept.pack(tmp_path / 'back', tmp_path / 'kept') == []
    assert {path: path.read_bytes() for path in (tmp_path / 'kept').iterdir()} == before


def test_a_run_more_is_added_and_one_that_was_made_anew_takes_its_place(runs, tmp_path):
    kept.pack(runs, tmp_path / 'kept')
    new = tmp_path / 'new'
    finished(new / 'beauty' / 'paper', 'three', 1, seeds=(5,))
    shutil.copytree(runs / 'beauty/paper/two', new / 'beauty/paper/two')
    ranks = load_ranks(new / 'beauty/paper/two/seed1')
    save_ranks(new / 'beauty/paper/two/seed1', ranks._replace(full=ranks.full + 1))
    assert kept.pack(new, tmp_path / 'kept') == ['beauty/paper/three/seed5', 'beauty/paper/two/seed1']
    kept.unpack(tmp_path / 'kept', tmp_path / 'back')
    assert np.array_equal(load_ranks(tmp_path / 'back/beauty/paper/two/seed1').full, ranks.full + 1)
    assert (tmp_path / 'back/beauty/paper/one/seed2/test_ranks.npz').exists()


def test_some_runs_alone(runs, tmp_path):
    kept.pack(runs, tmp_path / 'kept')
    assert kept.unpack(tmp_path / 'kept', tmp_path / 'back', 'beauty/paper/one') == 2
    assert [path.name for path in (tmp_path / 'back/beauty/paper').iterdir()] == ['one']


def test_what_lies_there_stays(runs, tmp_path):
    kept.pack(runs, tmp_path / 'kept')
    mine = runs / 'beauty/paper/one/seed1/metrics.jsonl'
    mine.write_text('mine')
    kept.unpack(tmp_path / 'kept', runs)
    assert mine.read_text() == 'mine'


def test_damage_is_one_line(runs, tmp_path):
    folder = tmp_path / 'kept'
    kept.pack(runs, folder)
    index = folder / kept.INDEX
    index.write_text(index.read_text().replace(next(kept.read(folder).rows())['ranks_sha256'], 'f' * 64))
    with pytest.raises(UserError, match=r'runs.csv: does not state what ranks.npz and .* of beauty/paper/one/seed1; b'):
        kept.unpack(folder, tmp_path / 'back')
    (folder / kept.RECORDS).write_bytes(b'\x1f\x8bno')
    with pytest.raises(UserError, match=r'records.json.gz: cannot be read'):
        kept.read(folder)
    with pytest.raises(UserError, match='no run is done there'):
        kept.pack(tmp_path / 'nothing', folder)
    with pytest.raises(UserError, match=r'leads out of'):
        kept._inside(tmp_path, '../../etc/passwd')
    save_ranks(runs / 'beauty/paper/two/seed1', load_ranks(runs / 'beauty/paper/two/seed1')._replace(
        full=np.full(7, 1.25, np.float32)))
    with pytest.raises(UserError, match='no multiples of one half'):
        kept.pack(runs, tmp_path / 'other')


def test_the_runs_of_the_documents_are_whole():
    """As the index states them; that they are claimed is tested where they are read."""
    found = kept.read(ROOT / 'docs' / 'results')
    assert len(found.ranks) >= 194
    assert all(f'{path.rpartition("/")[0]}/manifest.json' in found.texts for path in found.ranks)


@pytest.mark.slow
def test_the_command(runs, tmp_path):
    for command in (['pack', runs, tmp_path / 'kept'], ['unpack', tmp_path / 'kept', tmp_path / 'back']):
        done = subprocess.run([sys.executable, '-m', 'grasp_jax.reproduce.kept', *map(str, command)], text=True,
                              capture_output=True, check=False, cwd=ROOT)
        assert done.returncode == 0 and '3 runs are' in done.stdout, done.stderr
    done = subprocess.run([sys.executable, '-m', 'grasp_jax.reproduce.kept', 'unpack', str(tmp_path), 'x'], text=True,
                          capture_output=True, check=False, cwd=ROOT)
    assert done.returncode == 2 and done.stderr.count('\n') == 1

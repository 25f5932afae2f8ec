"""The runs of a grid: what is left, what a report is about, what is not set side by side."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.pipeline import stages as pipeline
from grasp_jax.reproduce import grid, runs
from grasp_jax.training.seeds import claim_run
from tests.reproduce.test_reproduce import finished

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SMALL = {'train.max_epochs': 1, 'data.shop.customers': 100, 'model.num_layers': 1}


@pytest.fixture
def run(tmp_path):
    """Runs seeds of the first cell of a table on the shop; returns its folder."""
    cell, base = grid.overall('demo')[0], runs.load_config(str(ROOT / 'configs/demo.py'))

    def start(*seeds):
        runs.run_cells([cell], base, 'paper', seeds, SMALL, tmp_path / 'paper')
        return tmp_path / 'paper' / cell.name

    return start


def test_changes_leave_alone_what_a_row_is_about():
    base = runs.load_config(str(ROOT / 'configs/beauty.py:minilm'))
    cell = grid.curves()[0]
    with pytest.raises(UserError, match=r"--changes: retrieve.k is what the row 'k = 1' is about"):
        runs.config_of(cell, base, 'paper', (42,), {'retrieve.k': 7})
    assert runs.config_of(cell, base, 'strong', (42,), {'train.loss': 'gbce'}).train.loss == 'gbce'


def test_runs_on_other_vectors_are_not_mixed(tmp_path):
    """A run's own config is of its model and training alone."""
    cells, lsa = grid.overall('beauty')[:2], {'encode.kind': 'lsa', 'retrieve.k': 3}
    folder = tmp_path / 'new'
    runs.claim_changes(cells, lsa, folder, note=False)
    assert not folder.exists()
    runs.claim_changes(cells, {}, folder)  # of a call that ended before a run began
    for changes in (lsa, lsa, {**lsa, 'data.source': 'elsewhere', 'train.max_epochs': 2}):
        runs.claim_changes(cells, changes, folder)
        (folder / cells[0].name / 'seed1').mkdir(parents=True, exist_ok=True)
        (folder / cells[0].name / 'seed1/manifest.json').touch()
    with pytest.raises(UserError, match=r'were made with --changes={"encode.kind": "lsa".*, not {}; choose another'):
        runs.claim_changes(cells, {}, folder)
    (folder / 'changes.json').write_text('{')
    with pytest.raises(UserError, match=r'changes.json: cannot be read; write into it which --changes to data, text,'):
        runs.claim_changes(cells, lsa, folder)
    (folder / cells[0].name / 'seed1/test_ranks.npz').touch()
    with pytest.raises(UserError, match=r'seed1: its manifest.json is missing or damaged.*runs this seed again'):
        runs.require_same(cells, runs.load_config(str(ROOT / 'configs/demo.py')), 'paper', (1,), {}, folder)
    finished(tmp_path / 'handed_on', cells[0].name, 1)
    runs.claim_changes(cells, {}, tmp_path / 'handed_on')
    with pytest.raises(UserError, match=r'were made with --changes={} \(there is no changes.json; if .*\), not'):
        runs.claim_changes(cells, lsa, tmp_path / 'handed_on')


def test_a_seed_that_no_report_is_about_is_left(tmp_path):
    """As after a kill between a run's ranks and the report."""
    finished(tmp_path, 'cell', 1, seeds=(1, 2))
    shutil.copytree(tmp_path / 'cell/seed1', tmp_path / 'cell/seed1_old')  # somebody's copy is nobody's seed
    assert runs.seeds_left(tmp_path / 'cell', (1, 2, 3)) == [3]
    path = tmp_path / 'cell/report.json'
    report = json.loads(path.read_text())
    path.write_text(json.dumps({**report, 'runs': report['runs'][:1]}))
    assert runs.seeds_left(tmp_path / 'cell', (1, 2)) == [2]


@pytest.mark.slow
def test_a_report_is_about_the_seeds_that_another_grid_finishes_meanwhile_too(run, monkeypatch):
    """It began before this one's seed was done, so that it knows nothing of it."""
    written, begun, train_and_test, write_report = [], [], pipeline.train_and_test, pipeline.write_report

    def train_late(trained, seed, *rest):
        begun.append(seed)
        if begun == [1]:
            run(2)
        return train_and_test(trained, seed, *rest)

    def note(workdir, config, *rest):
        written.append(tuple(config.train.seeds))
        return write_report(workdir, config, *rest)

    monkeypatch.setattr(pipeline, 'train_and_test', train_late)
    monkeypatch.setattr(pipeline, 'write_report', note)
    folder = run(1)
    assert written == [(2,), (1, 2)], 'no report leaves out a seed that was done when it was written'
    assert json.loads((folder / 'report.json').read_text())['seeds'] == [1, 2]
    assert runs.seeds_left(folder, (1, 2)) == []


@pytest.mark.slow
def test_a_report_keeps_what_it_says_of_how_its_seeds_were_made(run):
    """As where results were handed on: the stages have to be made again."""
    folder = run(1)
    path, manifest = folder / 'report.json', folder / 'seed1/manifest.json'
    report = json.loads(path.read_text())
    report['stages']['prepare']['seconds'] = 77.0
    path.write_text(json.dumps(report))
    made = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**made, 'versions': {**made['versions'], 'jax': '0.1'}}))
    shutil.rmtree(folder.parent.parent / 'stages')
    before = path.read_bytes()
    run(1)
    assert path.read_bytes() == before, 'nothing was left to do'
    run(2)
    report = json.loads(path.read_text())
    assert report['seeds'] == [1, 2] and report['stages']['prepare']['seconds'] == 77.0
    assert report['versions']['jax'] == f'0.1 and {made["versions"]["jax"]}'
    for seed in (1, 2):
        shutil.rmtree(folder / f'seed{seed}')
    run(1)
    assert json.loads(path.read_text())['stages']['prepare']['seconds'] != 77.0, 'its seeds were made anew'


@pytest.mark.parametrize(('section', 'field', 'usual', 'other'), [
    ('protocol', 'candidates', 'a', 'b'), ('protocol', 'negatives', 100, 99), ('protocol', 'negatives_seed', 42, 43),
    ('data', 'interactions', 500, 499)])
def test_runs_among_other_candidates_are_not_set_side_by_side(tmp_path, section, field, usual, other):
    cells = grid.overall('beauty')[:4]
    for cell, stated in zip(cells, (None, other, usual, usual), strict=True):
        finished(tmp_path, cell.name, 1)
        path = tmp_path / cell.name / 'report.json'
        report = json.loads(path.read_text())
        path.write_text(json.dumps({**report, section: {} if stated is None else {field: stated}}))
    assert len(runs.reports(cells[:2], (1, 2), tmp_path)) == 2, 'a report from before it was noted'
    with pytest.raises(UserError) as caught:
        runs.reports(cells, (1, 2), tmp_path)
    odd, first = (tmp_path / cells[number].name for number in (1, 2))
    assert str(caught.value).startswith(f'{odd}: was ranked among other candidates than {first} ({section}.{field} '
                                        f'{other}, not {usual})'), 'the odd one is named'
    assert 'move it away' in str(caught.value) and '\n' not in str(caught.value)


def claimed(folder, cell, inputs, config, seed=1):
    """A run that is done, made of some inputs."""
    finished(folder, cell.name, 1, (seed,))
    claim_run(folder / cell.name / f'seed{seed}', config, [inputs])


def test_runs_on_other_inputs_are_not_set_side_by_side(tmp_path):
    """Runs that read the same stages; what stands before an id table that starts from texts is another stage."""
    base = runs.load_config(str(ROOT / 'configs/beauty.py:minilm'))
    shared = base, 'paper', (1,), {}
    cells = {cell.name: cell for cell in (*grid.overall('beauty'), *grid.robustness('beauty', ['users_swap'], [50]))}
    for name, inputs in (('sasrec_none', 'data'), ('gru4rec_none', 'data'), ('sasrec_llm_init', 'reduced'),
                         ('sasrec_rlmrec', 'vectors'), ('sasrec_grasp_printed', 'vectors'),
                         ('sasrec_grasp_printed_users_swap_50', 'wrong vectors')):
        claimed(tmp_path, cells[name], inputs, runs.config_of(cells[name], *shared))
    runs.require_same(list(cells.values()), *shared, tmp_path)
    claimed(tmp_path, cells['sasrec_grasp'], 'others', runs.config_of(cells['sasrec_grasp'], *shared))
    with pytest.raises(UserError, match=r'sasrec_grasp/seed1: was made of other data, texts or vectors than '
                                        r'.*/sasrec_rlmrec/seed1 \(inputs others, not vectors\); move it away'):
        runs.require_same(list(cells.values()), *shared, tmp_path)


@pytest.mark.slow
def test_what_is_run_now_is_not_set_beside_runs_on_other_data(module, tmp_path):
    changes = {'train.max_epochs': 1, 'model.num_layers': 1}
    base, cell = runs.load_config(str(ROOT / 'configs/demo.py')), grid.overall('demo')[0]
    folder = tmp_path / 'demo/paper'
    claimed(folder, cell, 'other data', runs.config_of(cell, base, 'paper', (1,), changes))
    found = module('reproduce', '--table=2', '--dataset=demo', '--backbones=gru4rec', '--methods=none', '--seeds=1',
                   f'--workdir={tmp_path}', f'--changes={json.dumps(changes)}')
    assert found.returncode == 2 and (folder / 'gru4rec_none/report.json').exists(), found.stderr
    assert 'was made of other data, texts or vectors than' in found.stderr.splitlines()[-1]
    assert not list(tmp_path.glob('table2*'))


def _has(name, folder):
    """Whether a file lies below a folder whose subfolders come and go meanwhile, which `rglob` cannot bear."""
    return any(name in files for _, _, files in os.walk(folder))


def stopped_in_training(folder, name, *flags):
    """Exit code and last line of `python -m grasp_jax.NAME FLAGS...` after SIGTERM once an epoch is done below
    `folder`."""
    environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE']}
    with subprocess.Popen([sys.executable, '-m', f'grasp_jax.{name}', *flags], cwd=ROOT, env=environment,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            until = time.monotonic() + 120
            while not _has('metrics.jsonl', folder) and time.monotonic() < until and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    return process.returncode, said.splitlines()[-1]


@pytest.mark.slow
def test_a_grid_that_is_stopped_ends_with_the_code_that_is_asked_for(tmp_path):
    code, said = stopped_in_training(
        tmp_path, 'reproduce', '--table=2', '--dataset=demo', '--methods=none', '--seeds=1', f'--workdir={tmp_path}',
        '--changes={"train.max_epochs": 10000, "train.patience": 10000, "data.shop.customers": 100}',
        '--stopped_code=75')
    assert code == 75 and 'the same command goes on from there' in said, said

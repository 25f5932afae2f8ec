"""What launch/multiprocess.sh does with the exit codes of its processes; a script stands in for the interpreter."""

import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest

from grasp_jax.commands import command
from grasp_jax.common.errors import RunInterrupted

ROOT = pathlib.Path(__file__).resolve().parent.parent
INTERPRETER = """#!/usr/bin/env bash
if [[ $1 == -c ]]; then echo 12345; exit; fi # a free port
echo started >>"$NOTES"
{then}
"""


@pytest.fixture
def launch(tmp_path):
    """Starts `multiprocess.sh COUNT` with processes that do `then`; returns it, and the file they write a line to."""
    running = []

    def start(count, then, *flags):
        stand_in, notes = tmp_path / 'python', tmp_path / 'notes'
        stand_in.write_text(INTERPRETER.replace('{then}', then))
        stand_in.chmod(0o755)
        environment = {**os.environ, 'PYTHON': str(stand_in), 'NOTES': str(notes), 'RESTARTS': '2'}
        running.append(subprocess.Popen(['bash', 'launch/multiprocess.sh', str(count), *flags], cwd=ROOT,
                                        env=environment, stderr=subprocess.PIPE, text=True))
        return running[-1], notes

    yield start
    for process in running:
        with process:
            process.kill()


def test_without_arguments_it_says_how_it_is_called():
    found = subprocess.run(['bash', 'launch/multiprocess.sh'], cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 2 and found.stderr.startswith('error: bash launch/multiprocess.sh N')


@pytest.mark.parametrize('flag', ['--workdir=here', '-workdir=here', '-workdir'])
def test_a_tpu_slice_has_its_work_folder_in_the_bucket(flag):
    found = subprocess.run(['bash', 'launch/tpu_vm.sh', 'n', 'z', 'gs://b/f', flag], cwd=ROOT, capture_output=True,
                           text=True, check=False, env={**os.environ, 'DRY_RUN': '1'})
    assert found.returncode == 2 and 'the work folder is BUCKET/runs/n' in found.stderr


@pytest.mark.parametrize(('flags', 'code', 'again'), [
    ((), 0, True), ((), 143, True), ((), 2, False), (('--stopped_code=75',), 75, True),
    (('-stopped_code', '75'), 75, True), (('--stopped_code=75',), 0, False)])
def test_slurm_puts_a_saved_job_back_and_nothing_else(tmp_path, flags, code, again):
    """Scripts stand in for SLURM; the step ends with its code once it is told to stop."""
    notes = tmp_path / 'notes'
    scripts = {'srun': f'trap "exit {code}" USR1; echo $$ >"$NOTES.step"; while :; do sleep 0.05; done',
               'scancel': 'kill -USR1 "$(cat "$NOTES.step")"', 'scontrol': 'echo "$@" >"$NOTES"'}
    for name, text in scripts.items():
        (tmp_path / name).write_text(f'#!/usr/bin/env bash\n{text}\n')
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, 'PATH': f'{tmp_path}:{os.environ["PATH"]}', 'NOTES': str(notes), 'SLURM_JOB_ID': '7'}
    with subprocess.Popen(['bash', 'launch/slurm.sbatch', *flags], cwd=ROOT, env=environment,
                          stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / 'notes.step').exists():
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=30)
    assert process.returncode == code and (notes.read_text() == 'requeue 7\n' if notes.exists() else False) == again


def starts(notes):
    return len(notes.read_text().splitlines()) if notes.exists() else 0


@pytest.mark.parametrize(('then', 'code', 'runs'), [('exit 0', 0, 1), ('exit 2', 2, 1), ('exit 1', 1, 3),
                                                    ('kill -KILL $$', 137, 3), ('kill -TERM $$', 143, 1)])
def test_crashes_are_started_again_and_nothing_else(launch, then, code, runs):
    process, notes = launch(1, then)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code and starts(notes) == runs
    assert said.count('all start again from the last checkpoint') == runs - 1


@pytest.mark.parametrize('other', ['exit 75', 'sleep 1; echo saved >>"$NOTES"; exit 75'])
@pytest.mark.parametrize('form', [['--stopped_code=75'], ['-stopped_code', '75']])
def test_a_run_that_was_stopped_and_saved_is_not_started_again(launch, other, form):
    process, notes = launch(2, f'if [[ $* == *--process=0* ]]; then exit 75; fi; {other}', *form)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and 'start again' not in said
    assert ('saved' in other) == ('saved' in notes.read_text()), 'nobody is killed'


def test_one_that_dies_while_others_are_started_is_not_overlooked(launch):
    process, _ = launch(40, 'if [[ $* == *--process=0* ]]; then kill -KILL $$; fi; exec sleep 60')
    said = process.communicate(timeout=50)[1]
    assert process.returncode == 137 and said.count('all start again from the last checkpoint') == 2


@pytest.mark.parametrize(('then', 'code'), [
    ('exec sleep 60', 143), ("trap 'kill $!; exit 0' TERM; sleep 60 & echo ready >>\"$NOTES\"; wait", 0)])
def test_a_signal_to_the_script_ends_all_for_good(launch, then, code):
    process, notes = launch(2, then)
    signal_after(process, notes, 2 + 2 * ('ready' in then))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == code and 'start again' not in said
    assert notes.read_text().splitlines().count('started') == 2


def test_a_signal_while_they_are_started_reaches_those_that_come_after_it(launch):
    process, notes = launch(40, 'exec sleep 60')
    signal_after(process, notes, 1)
    process.communicate(timeout=30)
    assert process.returncode == 143


def test_one_that_ends_by_a_signal_leaves_the_others_time_to_end(launch):
    process, notes = launch(2, '''
        if [[ $* == *--process=1* ]]; then until grep -q ready "$NOTES"; do sleep 0.05; done; kill -TERM $$; fi
        trap 'kill $!; sleep 1; echo saved >>"$NOTES"; exit 143' TERM
        sleep 60 & echo ready >>"$NOTES"; wait''')
    process.communicate(timeout=30)
    assert process.returncode == 143 and 'saved' in notes.read_text()


@pytest.mark.slow
def test_who_waits_is_told_once(launch):
    process, notes = launch(2, '''
        if [[ $* == *--process=1* ]]; then echo ready >>"$NOTES"; exec sleep 60; fi
        trap 'echo told >>"$NOTES"' TERM
        sleep 2 & echo ready >>"$NOTES"
        wait; wait
        exit 143''')
    signal_after(process, notes, 4)
    process.communicate(timeout=30)
    assert process.returncode == 143 and notes.read_text().splitlines().count('told') == 1


def test_one_that_does_not_end_is_killed(launch, monkeypatch):
    monkeypatch.setenv('GRACE', '1')
    process, _ = launch(2, '''
        if [[ $* == *--process=1* ]]; then until grep -q ready "$NOTES"; do sleep 0.05; done; kill -TERM $$; fi
        trap '' TERM
        echo ready >>"$NOTES"
        exec sleep 100''')
    process.communicate(timeout=60)
    assert process.returncode == 143


@pytest.mark.parametrize(('visible', 'seen'), [(None, ['0', '1']), ('2,GPU-a', ['2', 'GPU-a'])])
def test_gpus_are_those_that_are_visible(launch, tmp_path, monkeypatch, visible, seen):
    (tmp_path / 'nvidia-smi').write_text('#!/usr/bin/env bash\nfor gpu in 0 1 2 3; do echo "GPU $gpu"; done\n')
    (tmp_path / 'nvidia-smi').chmod(0o755)
    monkeypatch.setenv('PATH', f'{tmp_path}:{os.environ["PATH"]}')
    monkeypatch.delenv('CUDA_VISIBLE_DEVICES', raising=False)
    if visible:
        monkeypatch.setenv('CUDA_VISIBLE_DEVICES', visible)
    process, notes = launch(2, 'echo "$CUDA_VISIBLE_DEVICES" >>"$NOTES"')
    process.communicate(timeout=30)
    assert process.returncode == 0 and sorted(set(notes.read_text().split()) - {'started'}) == seen


def signal_after(process, notes, lines):
    until = time.monotonic() + 60
    while starts(notes) < lines and time.monotonic() < until:
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)


SETUP = """#!/usr/bin/env bash
if [[ $2 == *sys.version\\)* ]]; then echo {version}; fi
if [[ $2 == venv ]]; then rm -rf .venv; mkdir -p .venv/bin; cp "$0" .venv/bin/python; echo venv {version} >>notes; fi
if [[ $2 == pip ]]; then echo "pip ${{@: -1}}" >>notes; fi
"""


def test_setup_installs_what_is_missing_and_heeds_python(tmp_path):
    """A script stands in for the interpreter and for what it installs."""
    (tmp_path / 'launch').mkdir()
    (tmp_path / 'setup.py').touch()
    shutil.copy(ROOT / 'launch' / 'setup.sh', tmp_path / 'launch')
    for version in ('one', 'two'):
        (tmp_path / version).write_text(SETUP.format(version=version))
        (tmp_path / version).chmod(0o755)

    def done(extras, python):
        (tmp_path / 'notes').write_text('')
        result = subprocess.run(['bash', '-euo', 'pipefail', '-c', 'source launch/setup.sh "$1"', '-', extras],
                                cwd=tmp_path, env={**os.environ, 'PYTHON': python}, capture_output=True, text=True)
        return (tmp_path / 'notes').read_text().splitlines() if result.returncode == 0 else result.stderr

    one, two = './one', './two'
    assert done('', one) == ['venv one', 'pip .'] and done('', one) == []
    assert done('[test]', one) == ['pip .[test]']
    assert done('', one) == done('[test]', '') == [], 'both are there'
    assert done('', two) == ['venv two', 'pip .'] and done('[test]', two) == ['pip .[test]']
    assert 'no-such' in done('', './no-such') and done('', two) == [], 'what is there stays'
    (tmp_path / 'setup.py').write_text('# another')
    assert done('', two) == ['pip .'] and done('[test]', two) == ['pip .[test]']


def test_a_run_that_was_stopped_ends_with_the_code_asked_for(monkeypatch, capsys):
    def stopped(_):
        raise RunInterrupted('saved')

    monkeypatch.setattr(command, '_log_own_progress', lambda: None)
    monkeypatch.setattr(command.app, 'run', lambda program, flags_parser: program(flags_parser([])))
    for code in (0, 75):
        with pytest.raises(SystemExit) as ended:
            command.run_app(stopped, list, resumable=True, stopped_code=lambda code=code: code)
        assert ended.value.code == code and capsys.readouterr().err == 'stopped; saved\n'

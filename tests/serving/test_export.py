"""The command: what it prints, what it refuses in one line, and what is left when it dies."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from grasp_jax.serving import bundle, opening
from tests.conftest import ROOT
from tests.serving.bundled import export, files

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, '-m', 'grasp_jax.export']


@pytest.fixture
def plain(untrained):
    return untrained(model__method='grasp_id', model__gate='none')


@pytest.fixture
def gated(untrained):
    return untrained()


def environment(**more):
    return {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], **more}


def test_a_run_is_exported_once_and_the_bundle_checked(plain, module, tmp_path):
    out = tmp_path / 'bundle'
    ended = module('export', f'--workdir={plain}', f'--out={out}')
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.strip()
    assert said.startswith(f'{out}: written, ') and 'grasp_id + sasrec on tiny, seed 42, epoch ' in said
    before = files(out)
    again = module('export', f'--workdir={plain}', f'--out={out}', '--seed=42')
    assert (again.returncode, files(out)) == (0, before) and ': up to date; ' in again.stdout
    checked = module('export', f'--check={out}')
    assert checked.returncode == 0 and 'the program gives the scores of the model' in checked.stdout, checked.stderr


def test_a_program_of_another_model_does_not_pass_the_check(plain, gated, module, tmp_path):
    mine, other = export(plain, tmp_path / 'mine'), export(gated, tmp_path / 'other')
    (mine / opening.SCORER).write_bytes((other / opening.SCORER).read_bytes())
    manifest = json.loads((mine / 'bundle.json').read_text())
    manifest['files'][opening.SCORER] = opening.read_manifest(other)['files'][opening.SCORER]
    (mine / 'bundle.json').write_text(json.dumps(manifest))
    ended = module('export', f'--check={mine}')
    assert (ended.returncode, ended.stderr.count('\n')) == (2, 1) and 'does not take what the model' in ended.stderr


@pytest.mark.parametrize(('flags', 'words'), [
    (['--workdir=runs/demo'], 'name a run and a folder'), (['--check=a', '--out=b'], '--out: goes not with --check'),
    (['--check=configs'], 'holds no bundle.json'), (['--workdir=nowhere', '--out=b'], 'there is no such folder'),
    (['--workdir=a', '--out=b', '--seed=x'], '--seed')])
def test_what_is_wrong_is_one_line(module, flags, words):
    ended = module('export', *flags)
    assert (ended.returncode, ended.stdout, ended.stderr.count('\n')) == (2, '', 1) and words in ended.stderr


def test_when_the_disk_is_full_the_old_bundle_stays_whole(plain, gated, tmp_path):
    out = export(plain, tmp_path / 'bundle')
    before = files(out)
    # As if the disk were full in the middle: no file may grow beyond 8 kB.
    limited = ['bash', '-c', 'ulimit -f 8; exec "$@"', 'bash', *COMMAND, f'--workdir={gated}', f'--out={out}',
               '--replace']
    ended = subprocess.run(limited, capture_output=True, text=True, cwd=ROOT, check=False,
                           env=environment(JAX_ENABLE_COMPILATION_CACHE='false'))
    assert ended.returncode == 2 and ended.stderr.count('\n') == 1 and 'the room on its disk' in ended.stderr
    assert files(out) == before and [path.name for path in tmp_path.iterdir()] == ['bundle']


def test_a_kill_leaves_no_half_bundle(plain, tmp_path):
    out = tmp_path / 'bundle'
    with subprocess.Popen([*COMMAND, f'--workdir={plain}', f'--out={out}'], cwd=ROOT, env=environment(),
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as writer:
        while writer.poll() is None and not any(tmp_path.iterdir()):
            time.sleep(0.0005)
        writer.send_signal(signal.SIGKILL)
    if out.exists():  # it was as quick as that
        assert bundle.open_bundle(out).seed == 42
    export(plain, out)
    assert bundle.open_bundle(out).seed == 42 and [path.name for path in tmp_path.iterdir()] == ['bundle']

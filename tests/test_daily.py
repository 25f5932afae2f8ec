"""The daily job: new data, a warm start, a bundle, a swap; safe to repeat, and nothing is exported that fell."""

import contextlib
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import urllib.request

import pytest

import grasp_jax
from grasp_jax import daily
from grasp_jax.common.errors import UserError
from tests.conftest import ROOT
from tests.tiny_runs import ODD

CONFIG = """
from tests.tiny_runs import tiny_config
def get_config():
    return tiny_config({folder!r}).lock()
"""
TOKEN = 'only for this test'


def report(value, protocol='sampled'):
    return {'validation': {'NDCG@10': value}, 'protocol': {'select_by': protocol}}


def test_a_run_that_fell_is_not_exported():
    daily.require_no_fall(report(0.30), report(0.28), most=0.1)
    with pytest.raises(UserError, match='fell from 30.00 to 20.00.*--max_fall=0.33'):
        daily.require_no_fall(report(0.30), report(0.20), most=0.1)
    with pytest.raises(UserError, match='selection_protocol=full'):
        daily.require_no_fall(report(0.30), report(0.30, 'full'), most=0.1)


@pytest.mark.parametrize(('service', 'words'), [
    ('127.0.0.1:8000', 'is no address'), ('http://127.0.0.1:1', 'cannot be reached')])
def test_a_service_that_is_not_there_is_one_line(service, words, tmp_path):
    with pytest.raises(UserError, match=words):
        daily.swap(service, tmp_path, '')


@pytest.mark.parametrize(('flags', 'words'), [
    (('--config=configs/demo.py', '--workdir=x'), '--previous is missing'),
    (('--config=configs/demo.py', '--previous=x'), '--workdir is missing'),
    (('--config=configs/demo.py', '--previous=nowhere', '--workdir=x'), 'nowhere: there is no report'),
    (('--config=configs/demo.py', '--previous=x', '--workdir=y', '--service=http://h'), '--service needs --out'),
    (('--config=configs/demo.py', '--previous=x', '--workdir=y', '--service=h:8000', '--out=z'), 'h:8000: is no addr'),
    (('--previous=x', '--workdir=y'), '--config is missing')])
def test_what_is_wrong_is_one_line(module, flags, words):
    found = module('daily', *flags)
    assert found.returncode == 2 and words in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1 and 'Traceback' not in found.stderr


def tuesday(source, folder):
    """Monday's table, and more: everybody buys once again, a user and an item are new."""
    shutil.copytree(source, folder)
    with (folder / 'interactions.csv').open(newline='', encoding='utf-8') as file:
        rows = list(csv.reader(file))[1:]
    with (folder / 'interactions.csv').open('a', newline='', encoding='utf-8') as file:
        more = csv.writer(file)
        more.writerows([user, 'i002', 100] for user in {row[0] for row in rows} if user != 'u05')
        more.writerows(['newcomer', item, time] for time, item in enumerate(('i001', 'i002', 'i004', 'brand-new', ODD)))
    with (folder / 'items.jsonl').open('a', encoding='utf-8') as file:
        file.write(json.dumps({'item': 'brand-new', 'title': 'thing02 of shelf0 and row2', 'brand': 'brand0'}) + '\n')


@contextlib.contextmanager
def serving(workdir, models):
    """A real service; gives its address."""
    command = [sys.executable, '-m', 'grasp_jax.serve', f'--workdir={workdir}', f'--models={models}', '--port=0',
               '--max_batch=1', '--max_k=10']
    environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], 'GRASP_JAX_TOKEN': TOKEN}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            address = next(word for line in process.stderr for word in line.split() if word.startswith('http://'))
            yield address.rstrip('/,;')
        finally:
            process.terminate()
            process.stderr.close()


def health(address):
    for _ in range(600):
        with contextlib.suppress(OSError), urllib.request.urlopen(f'{address}/health', timeout=5) as answer:
            return json.loads(answer.read())
        time.sleep(0.1)
    raise AssertionError('the service does not answer')


def daily_command(gated, folder, *more):
    """The job of a tiny Tuesday; `more` names where its bundle goes."""
    config = folder / 'tuesday.py'
    config.write_text(CONFIG.format(folder=str(folder / 'data')))
    return [sys.executable, '-m', 'grasp_jax.daily', f'--config={config}', f'--previous={gated}',
            f'--workdir={folder / "tuesday"}', '--max_fall=0.9', '--epochs=1', *more]


def run(command, **variables):
    environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], **variables}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_the_service_would_refuse_is_said_before_anything_is_made(gated, tmp_path):
    """Its own folder of models, the place of the bundle and the token are asked for at once."""
    (tmp_path / 'models').mkdir()
    allowed, elsewhere = tmp_path / 'models' / 'tuesday', tmp_path / 'elsewhere' / 'tuesday'
    (tmp_path / 'taken').mkdir()
    (tmp_path / 'taken' / 'mine.txt').write_text('mine')
    with serving(gated, tmp_path / 'models') as address:
        health(address)
        for out, token, words in (
                (elsewhere, TOKEN, f'with 403 (only folders below the folder of --models may be loaded); start the '
                                   f'service with --models={elsewhere.parent}, or a folder above it'),
                (tmp_path / 'models', TOKEN, f'start the service with --models={tmp_path}, or'),
                (allowed, 'no', 'with 401 (show the token of the service, as Authorization: Bearer TOKEN); set '
                                'GRASP_JAX_TOKEN to the token that the service was started with'),
                (allowed, '', 'with 401'), (tmp_path / 'taken', TOKEN, 'taken: is there and no bundle')):
            done = run(daily_command(gated, tmp_path, f'--out={out}', f'--service={address}'), GRASP_JAX_TOKEN=token)
            assert done.returncode == 2 and words in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
            assert not (tmp_path / 'tuesday').exists() and TOKEN not in done.stderr
        done = run(daily_command(gated, tmp_path, f'--out={allowed}', '--config.evaluate.selection_protocol=full'))
        words = 'evaluate.selection_protocol=full: the run before was picked by sampled'
        assert done.returncode == 2 and words in done.stderr
        assert not (tmp_path / 'tuesday').exists()
        before = health(address)
        daily.require_willing(address, allowed, TOKEN)
        assert health(address) == before
        with pytest.raises(UserError, match='with 403 .*start the service with --models=.*give the same command again'):
            daily.swap(address, elsewhere, TOKEN)
        with pytest.raises(UserError, match='with 409 .*look at its log.*The old model goes on serving'):
            daily.swap(address, allowed, TOKEN)


def test_a_service_that_is_down_is_asked_again_at_the_end(tmp_path, caplog):
    daily.require_willing('http://127.0.0.1:1', tmp_path / 'tuesday', TOKEN)
    line, = caplog.messages
    assert 'http://127.0.0.1:1: cannot be reached' in line and 'asked again when the bundle is there' in line


@pytest.mark.slow
def test_one_command_from_new_data_to_a_service_that_knows_it(gated, tiny_table, tmp_path):
    tuesday(tiny_table, tmp_path / 'data')
    command = daily_command(gated, tmp_path, f'--out={tmp_path / "models" / "tuesday"}')
    (tmp_path / 'models').mkdir()
    with serving(gated, tmp_path / 'models') as address:
        before = health(address)
        done = run([*command, f'--service={address}'], GRASP_JAX_TOKEN=TOKEN)
        assert done.returncode == 0, done.stderr[-2000:]
        after = health(address)
        assert after['model'] != before['model'] and after['items'] == before['items'] + 1
        again = run([*command, f'--service={address}'], GRASP_JAX_TOKEN=TOKEN)
        assert again.returncode == 0 and '(up to date)' in again.stdout, again.stderr[-2000:]
        assert health(address)['model'] == after['model']
    model = grasp_jax.Recommender.load(tmp_path / 'models' / 'tuesday')
    assert 'newcomer' in model.user_ids and 'brand-new' in model.item_ids
    note = json.loads(pathlib.Path(tmp_path / 'tuesday' / 'report.json').read_text())
    assert note['start_from'] == str(gated) and note['training']['epochs'] == 1
    assert TOKEN not in done.stdout + done.stderr

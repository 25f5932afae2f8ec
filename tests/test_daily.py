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
    with pytest.raises(UserError, match='select_by=full'):
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


def test_one_command_from_new_data_to_a_service_that_knows_it(gated, tmp_path):
    tuesday(gated.parent / 'data', tmp_path / 'data')
    config = tmp_path / 'tuesday.py'
    config.write_text(CONFIG.format(folder=str(tmp_path / 'data')))
    command = [sys.executable, '-m', 'grasp_jax.daily', f'--config={config}', f'--previous={gated}',
               f'--workdir={tmp_path / "tuesday"}', f'--out={tmp_path / "models" / "tuesday"}', '--max_fall=0.9',
               '--epochs=1']
    environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], 'GRASP_JAX_TOKEN': TOKEN}
    (tmp_path / 'models').mkdir()
    with serving(gated, tmp_path / 'models') as address:
        before = health(address)
        done = subprocess.run([*command, f'--service={address}'], cwd=ROOT, env=environment, capture_output=True,
                              text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        after = health(address)
        assert after['model'] != before['model'] and after['items'] == before['items'] + 1
        again = subprocess.run([*command, f'--service={address}'], cwd=ROOT, env=environment, capture_output=True,
                               text=True, check=False)
        assert again.returncode == 0 and '(up to date)' in again.stdout, again.stderr[-2000:]
        assert health(address)['model'] == after['model']
    model = grasp_jax.Recommender.load(tmp_path / 'models' / 'tuesday')
    assert 'newcomer' in model.user_ids and 'brand-new' in model.item_ids
    note = json.loads(pathlib.Path(tmp_path / 'tuesday' / 'report.json').read_text())
    assert note['start_from'] == str(gated) and note['training']['epochs'] == 1
    assert TOKEN not in done.stdout + done.stderr

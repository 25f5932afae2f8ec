"""Lists in files: the same in every form, by any number of processes, and after a kill."""

import json
import os
import signal
import subprocess
import sys
import time

import pandas as pd
import pytest

import grasp_jax
from grasp_jax.common.errors import UserError
from grasp_jax.serving import lists
from tests.conftest import ROOT

pytestmark = pytest.mark.slow


@pytest.fixture(scope='module')
def model(plain):
    return grasp_jax.Recommender.load(plain)


def order(model, out, **settings):
    return lists.Order(out, list(model.user_ids), **{'k': 5, 'part_size': 9, **settings})


def read(path):
    if path.suffix == '.csv':
        return pd.read_csv(path, dtype={'user_id': str, 'item_id': str})
    return pd.read_parquet(path) if path.suffix == '.parquet' else pd.read_json(path, lines=True, dtype=False)


@pytest.mark.parametrize('ending', lists.ENDINGS)
def test_a_file_holds_what_the_interface_gives(model, tmp_path, ending):
    out = tmp_path / f'lists{ending}'
    assert lists.write(model, order(model, out))
    expected = model.recommend(users=model.user_ids, k=5)
    found = read(out)
    assert list(found.columns) == list(expected.columns)
    pd.testing.assert_frame_equal(found.astype({'score': 'float32', 'rank': 'int64'}).astype(object),
                                  expected.astype(object), check_dtype=False, rtol=1e-5)
    assert not (tmp_path / f'lists{ending}.parts').exists()


def test_a_folder_of_parts_is_one_table(model, tmp_path):
    assert lists.write(model, order(model, tmp_path / 'lists'))
    assert len(list((tmp_path / 'lists').glob('*.parquet'))) == 5
    assert len(read_folder(tmp_path / 'lists')) == 5 * len(model.user_ids)


def read_folder(folder):
    return pd.concat([pd.read_parquet(path) for path in sorted(folder.glob('*.parquet'))])


def test_parts_of_several_processes_are_those_of_one(model, tmp_path):
    lists.write(model, order(model, tmp_path / 'one.parquet'))
    assert not lists.write(model, order(model, tmp_path / 'two.parquet', process=0, processes=2))
    assert lists.write(model, order(model, tmp_path / 'two.parquet', process=1, processes=2))
    assert (tmp_path / 'one.parquet').read_bytes() == (tmp_path / 'two.parquet').read_bytes()


def test_what_is_there_is_not_made_again_and_not_overwritten(model, tmp_path, monkeypatch):
    out = tmp_path / 'lists.parquet'
    lists.write(model, order(model, out))
    before = out.stat().st_mtime_ns
    assert lists.write(model, order(model, out)) and out.stat().st_mtime_ns == before
    with pytest.raises(UserError, match='is there already'):
        lists.write(model, order(model, out, k=6))
    lists.write(model, order(model, tmp_path / 'parts'))
    with pytest.raises(UserError, match='of other users or other settings'):
        lists.write(model, order(model, tmp_path / 'parts', k=6))
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'mine.txt').write_text('mine')
    with pytest.raises(UserError, match='holds something else'):
        lists.write(model, order(model, tmp_path / 'other'))


def test_lists_with_other_new_items_are_other_lists(plain, tmp_path):
    def with_new(title):
        found = grasp_jax.Recommender.load(plain)
        found.add_items([{'item': 'new', 'title': title, 'brand': 'brand0'}])
        return found

    out = tmp_path / 'lists.parquet'
    first = with_new('thing03 of shelf0 and row3')
    assert lists.write(first, order(first, out)) and lists.write(first, order(first, out))
    for other in (with_new('thing33 of shelf5 and row3'), grasp_jax.Recommender.load(plain)):
        with pytest.raises(UserError, match='is there already'):
            lists.write(other, order(other, out))


@pytest.mark.parametrize(('name', 'words'), [('lists.txt', 'ends in .parquet'), ('no/lists.csv', 'is not there')])
def test_names_that_cannot_be_are_refused(tmp_path, name, words):
    with pytest.raises(UserError, match=words):
        lists.check(lists.Order(tmp_path / name, [], 5))


def test_ids_come_from_a_file(tmp_path):
    path = tmp_path / 'users.txt'
    path.write_text('\ufeffu01\n\n u02 \n')
    assert lists.read_ids(path) == ['u01', 'u02']
    path.write_text('\n')
    with pytest.raises(UserError, match='holds no id'):
        lists.read_ids(path)


def test_a_killed_command_ends_with_the_same_bytes(plain, tmp_path):
    environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE']}
    command = [sys.executable, '-m', 'grasp_jax.recommend', f'--workdir={plain}', '--k=30', '--part_size=1']
    subprocess.run([*command, f'--out={tmp_path / "whole.parquet"}'], cwd=ROOT, env=environment, check=True,
                   capture_output=True)
    out = tmp_path / 'killed.parquet'
    running = subprocess.Popen([*command, f'--out={out}'], cwd=ROOT, env=environment, stderr=subprocess.DEVNULL,
                               stdout=subprocess.DEVNULL)
    while not list(tmp_path.glob('killed.parquet.parts/*-of-*.parquet')):
        assert running.poll() is None
        time.sleep(0.002)
    running.send_signal(signal.SIGKILL)
    running.wait()
    done = len(list(tmp_path.glob('killed.parquet.parts/*-of-*.parquet')))
    subprocess.run([*command, f'--out={out}'], cwd=ROOT, env=environment, check=True, capture_output=True)
    assert done and out.read_bytes() == (tmp_path / 'whole.parquet').read_bytes()


def test_the_command_prints_lists_as_people_read_them(gated, module, tmp_path):
    found = module('recommend', f'--workdir={gated}', '--n=1', '--k=2')
    assert found.returncode == 0 and 'user u00' in found.stdout and 'thing' in found.stdout
    new = tmp_path / 'new.jsonl'
    new.write_text(json.dumps({'item': 'new', 'title': 'thing03 of shelf0 and row3', 'brand': 'brand0'}) + '\n')
    similar = module('recommend', f'--workdir={gated}', '--similar=new', f'--new_items={new}', '--k=3')
    assert '(i003)' in similar.stdout and 'warning' not in similar.stderr, similar.stderr


@pytest.mark.parametrize(('asks', 'given', 'most'), [
    (['--history=i001'], 36, 36), (['--history=i001'], 37, 36), (['--similar=i001'], 36, 35), (['--out'], 500, 36)])
def test_more_items_than_there_are_are_said(plain, module, tmp_path, asks, given, most):
    asks = [f'--out={tmp_path / "lists.jsonl"}' if each == '--out' else each for each in asks]
    found = module('recommend', f'--workdir={plain}', f'--k={given}', *asks)
    lines = [line for line in found.stderr.splitlines() if '--k=' in line]
    assert found.returncode == 0
    assert lines == [f'--k={given}: there are {most} items to recommend, so no list is longer, and lists that leave '
                     f'out what is in the history are shorter; give at most --k={most}'] * (given > most)


@pytest.mark.parametrize(('flags', 'words'), [
    ((), '--workdir is missing'), (('--workdir=nowhere',), 'nowhere: there is no such folder'),
    (('--workdir=x', '--k=0'), '--k=0'), (('--workdir=x', '--out=a.txt'), '--out=a.txt'),
    (('--workdir=x', '--users=nowhere.txt'), 'nowhere.txt: cannot be read'),
    (('--workdir=x', '--history=a', '--similar=b'), 'give one of them'),
    (('--workdir=x', '--what=1'), "Unknown command line flag 'what'")])
def test_what_is_wrong_is_one_line(module, flags, words):
    found = module('recommend', *flags)
    assert found.returncode == 2 and words in found.stderr
    assert len(found.stderr.strip().splitlines()) == 1 and 'Traceback' not in found.stderr

"""The command as people use it: what is wrong from outside gives one line and exit code 2, no traceback."""

import gzip
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent
MISSPELT = """
from grasp_jax.config import default
def get_config():
    config = default()
    config.train.{}
    return config
"""
HOME = tempfile.TemporaryDirectory()  # without a download cache
ITEMS = [f'B{number:03d}' for number in range(8)]
USERS = [f'A{number:03d}' for number in range(12)]
SMALL = ('--config.data.min_user=3', '--config.data.min_item=1', '--config.encode.width=4',
         '--config.model.hidden_size=4', '--config.train.max_epochs=1', '--config.model.max_length=8',
         '--config.evaluate.negatives=3')


@pytest.fixture
def call(forks):
    """Runs the command; returns its exit code and what it said on standard output and error."""
    def run(*flags, data=None):
        done = forks.run('grasp_jax.main', flags, environment(data))
        return done.returncode, done.stdout, done.stderr

    return run


def in_new_process(*flags, data=None):
    """Does the same in a process that begins with nothing."""
    done = subprocess.run([sys.executable, '-m', 'grasp_jax.main', *flags], cwd=ROOT, env=environment(data),
                          capture_output=True, text=True, timeout=300, check=False)
    return done.returncode, done.stdout, done.stderr


def environment(data=None):
    found = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], 'HOME': HOME.name}
    found.pop('GRASP_JAX_DATA', None)
    return {**found, 'GRASP_JAX_DATA': str(data)} if data else found


def refuses(code, stderr, *words):
    """Checks for exit code 2 and one line of error that holds the words."""
    lines = [line for line in stderr.replace('\r', '\n').splitlines() if line.startswith('error: ')]
    assert code == 2 and len(lines) == 1, stderr
    assert 'Traceback' not in stderr
    for word in words:
        assert word in lines[0], lines[0]


@pytest.fixture
def shop(tmp_path):
    """A small review dump in the 2014 layout, MiniLM-style vectors with it; returns its folder to spoil."""
    rng = np.random.default_rng(0)
    folder = tmp_path / 'data' / 'amazon_beauty_5core'
    folder.mkdir(parents=True)
    reviews = [{'reviewerID': user, 'asin': ITEMS[item], 'unixReviewTime': int(1_000_000 + time)}
               for user in USERS for time, item in enumerate(rng.choice(8, 4, replace=False))]
    write(folder / 'reviews.jsonl.gz', reviews)
    write(folder / 'meta.jsonl.gz', [{'asin': item, 'title': f'Soap number {item}'} for item in ITEMS])
    for kind, ids in (('item', ITEMS), ('user', USERS)):
        np.save(folder / f'{kind}_embeddings_minilm.npy', rng.normal(size=(len(ids), 6)).astype(np.float32))
        (folder / f'{kind}_ids.txt').write_text('\n'.join(ids) + '\n')
    return folder


def write(path, rows):
    path.write_bytes(gzip.compress(''.join(
        (row if isinstance(row, str) else json.dumps(row)) + '\n' for row in rows).encode()))


def read(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).decode().splitlines()]


def beauty(call, shop, tmp_path, *flags, variant=':minilm'):
    return call(f'--config=configs/beauty.py{variant}', f'--workdir={tmp_path / "work"}', *SMALL, *flags,
                data=shop.parent)


@pytest.mark.slow
def test_a_whole_run_and_a_second_call_that_redoes_nothing(call, shop, tmp_path):
    code, first, said = beauty(in_new_process, shop, tmp_path)
    assert code == 0, said
    epochs = [line for line in said.splitlines() if 'valid NDCG@10 (sampled)' in line]
    assert len(epochs) == 1 and epochs[0].startswith('seed 42: 1 of 1 epochs [')
    report = json.loads((tmp_path / 'work' / 'report.json').read_text())
    assert set(report['test']['sampled']) >= {f'{name}@{k}' for name in ('NDCG', 'HR') for k in (1, 3, 5, 10, 20)}
    assert set(report['test']['groups']) == {'tail_user', 'head_user', 'tail_item', 'head_item', 'new_target', 'repeat'}
    assert {path.name for path in (tmp_path / 'work' / 'plots').iterdir()} >= {'training_curve.png'}
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / 'work').rglob('*.npy')}
    code, second, said = beauty(call, shop, tmp_path)
    assert code == 0 and second == first and said.count('up to date') == 5
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / 'work').rglob('*.npy')}
    # The same folder with another config is refused, and says which setting differs.
    code, _, said = beauty(call, shop, tmp_path, '--config.model.gate=paper')
    refuses(code, said, 'work/seed42', 'model.gate: calibrated -> paper', 'another --workdir')
    code, _, said = beauty(call, shop, tmp_path, '--config.retrieve.k=3')
    refuses(code, said, 'work/retrieve', 'k: 10 -> 3')


def test_missing_data_names_the_ways_that_there_are(call, tmp_path):
    code, _, said = call('--config=configs/fashion.py', f'--workdir={tmp_path}')
    refuses(code, said, 'config.data.source', 'GRASP_JAX_DATA')
    assert 'download' not in said  # it has no public address


@pytest.mark.parametrize(('flags', 'words'), [
    (['--config=configs/demo.py', '--config.model.backbnoe=sasrec'], ['backbnoe']),
    (['--config=configs/demo.py', '--config.model.backbone=lstm'], ['config.model.backbone', 'lstm', 'gru4rec']),
    (['--config=configs/demo.py', '--config.train.batch_size=many'], ['many']),
    (['--config=configs/demo.py', '--n=x'], ["--n=x: invalid literal for int() with base 10: 'x' (see"]),
    (['--config=configs/demo.py', '--config.train.recipe=strong'], ['train.recipe=strong', '--recipe=strong']),
    (['--config=configs/demo.py', '--config.train.batch_size=0'], ['config.train.batch_size=0']),
    (['--config=configs/demo.py', '--config.train.vector_placement=disk'],
     ['config.train.vector_placement', 'disk', 'host']),
    (['--config=configs/demo.py', '--config.train.vector_dtype=int8'], ['config.train.vector_dtype', 'bfloat16']),
    (['--config=configs/demo.py', '--config.train.softmax_dtype=float16'], ['config.train.softmax_dtype', 'bfloat16']),
    (['--config=configs/nothing.py'], ['nothing.py']),
    (['--config=configs/beauty.py:glove'], ['glove', 'minilm', 'a recipe comes behind it, as lsa,strong']),
    (['--config=configs/demo.py', '--config.model.nope=3'], ["there is no setting 'nope'"]),
    (['--config=configs/demo.py', 'extra'], ['extra']),
    (['--config=configs/demo.py', '--mode=audit', '--dry_run'], ['--dry_run', '--mode=audit']),
    (['--config=configs/demo.py', '--mode=audit', '--n=7'], ['--n', '--mode=audit']),
    (['--config=configs/demo.py', '--mode=refresh', '--previous='], ['--previous=DIR']),
    (['--config=configs/demo.py', '--batch=answers'], ['--batch', '--mode=run']),
    (['--config=configs/demo.py', '--processes=4'], ['--processes', '--coordinator']),
    (['--config=configs/demo.py', '--stages=README.md'], ['README.md', 'File exists']),
    (['--config=tests/third_party/not_a_config.py'], ['not_a_config.py', 'no such file']),
    ([], ['--config'])], ids=' '.join)
def test_what_is_wrong_on_the_command_line(call, flags, words, tmp_path):
    code, _, said = call(*flags, f'--workdir={tmp_path}')
    refuses(code, said, *words)


@pytest.mark.parametrize(('content', 'words'), [
    ('def get_config(:\n', ['invalid syntax']), ('import nothing_of_this_name\n', ['nothing_of_this_name']),
    ('def get_config():\n    return {}\n', ['my.py', 'no ConfigDict']),
    ('def get_config():\n    raise ValueError("")\n', ['ValueError']),
    (MISSPELT.format('update({"max_epoch": 3})'), ['max_epoch', 'Did you mean', 'max_epochs']),
    (MISSPELT.format('lr = 0.1'), ['lr'])])
def test_a_config_file_that_is_wrong_is_one_line(module, content, words, tmp_path):
    (tmp_path / 'my.py').write_text(content)
    for name in ('main', 'tune'):
        done = module(name, f'--config={tmp_path / "my.py"}', f'--workdir={tmp_path / "work"}')
        refuses(done.returncode, done.stderr, *words)
        assert len(done.stderr) < 300  # and not a whole section of the config


def test_help_is_no_error(call):
    code, out, _ = call('--help')
    assert code == 0 and '--workdir' in out and 'Traceback' not in out


def test_a_command_starts_without_what_few_stages_need():
    program = 'import sys, grasp_jax.pipeline; print({"sklearn", "scipy.stats", "torch", "openai"} & {*sys.modules})'
    assert subprocess.check_output([sys.executable, '-c', program], cwd=ROOT, text=True) == 'set()\n'


def spoil_gzip(folder):
    path = folder / 'reviews.jsonl.gz'
    path.write_bytes(path.read_bytes()[:-40])
    return ['reviews.jsonl.gz']


def drop_user(folder):
    rows = read(folder / 'reviews.jsonl.gz')
    del rows[6]['reviewerID']
    write(folder / 'reviews.jsonl.gz', rows)
    return ['reviews.jsonl.gz', '7', 'reviewerID']


def spoil_time(folder):
    rows = read(folder / 'reviews.jsonl.gz')
    rows[2]['unixReviewTime'] = 'yesterday'
    write(folder / 'reviews.jsonl.gz', rows)
    return ['reviews.jsonl.gz', '3', 'yesterday']




def plant_nan(folder):
    vectors = np.load(folder / 'item_embeddings_minilm.npy')
    vectors[3, 1] = np.nan
    np.save(folder / 'item_embeddings_minilm.npy', vectors)
    return ['item_embeddings_minilm.npy', 'row 3']


def other_width(folder):
    np.save(folder / 'user_embeddings_minilm.npy', np.ones((len(USERS), 5), np.float32))
    return ['user_embeddings_minilm.npy', '5', '6']


def missing_id(folder):
    (folder / 'item_ids.txt').write_text('\n'.join(['B999', *ITEMS[1:]]) + '\n')
    return ['item_ids.txt', ITEMS[0]]


def missing_user(folder):
    (folder / 'user_ids.txt').write_text('\n'.join([*USERS[1:], 'A999']) + '\n')
    return ['user_ids.txt', USERS[0]]


def pickled(folder):
    np.save(folder / 'item_embeddings_minilm.npy', np.array([{'a': 1}], object), allow_pickle=True)
    return ['item_embeddings_minilm.npy']


@pytest.mark.parametrize('spoil', [spoil_gzip, drop_user, spoil_time, plant_nan, other_width, missing_id,
                                   missing_user, pickled], ids=lambda spoil: spoil.__name__)
def test_what_is_wrong_in_the_data(call, shop, tmp_path, spoil):
    words = spoil(shop)
    code, _, said = beauty(call, shop, tmp_path)
    refuses(code, said, *words)
    assert not (tmp_path / 'work' / 'report.json').exists()

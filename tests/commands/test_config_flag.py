"""The flags --config and --recipe: one recipe in one place, and of a setting that is given twice the last holds."""

import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = '''
import logging, sys
from grasp_jax.commands import config_flag
from grasp_jax.commands.command import reading_flags
from grasp_jax.common.errors import UserError
logging.basicConfig(format='%(message)s')
holder = config_flag.define_config('A config.')
try:
    with reading_flags('--help'):
        config_flag.parse(sys.argv)
        config_flag.require_config_file(holder, 'configs/demo.py')
except UserError as error:
    sys.exit(f'error: {error}')
config = holder.value
for section, name in (('train', 'recipe'), ('train', 'loss'), ('evaluate', 'selection_protocol'), ('evaluate', 'ks'),
                      ('train', 'seeds'), ('train', 'mesh'), ('train', 'max_epochs')):
    print(f'{section}.{name}', config[section][name])
print('name', config_flag.config_name())
'''


def read(*flags):
    """What a command makes of its flags: the settings above and what it says on standard error."""
    done = subprocess.run([sys.executable, '-c', PROGRAM, *flags], cwd=ROOT, capture_output=True, text=True,
                          check=False)
    assert 'Traceback' not in done.stderr
    return dict(line.split(' ', 1) for line in done.stdout.splitlines()), done.stderr


@pytest.mark.parametrize(('flags', 'recipe', 'name'), [
    (['--config=configs/demo.py'], 'paper', 'demo'),
    (['--config=configs/own_data.py'], 'strong', 'own_data'),
    (['--config=configs/own_data.py', '--recipe=paper'], 'paper', 'own_data_paper'),
    (['--config=configs/own_data.py:paper'], 'paper', 'own_data_paper'),
    (['--recipe=strong', '--config=configs/demo.py'], 'strong', 'demo_strong'),  # before the config as well
    (['--config', 'configs/demo.py', '--recipe', 'strong'], 'strong', 'demo_strong'),
    (['--config=configs/demo.py:strong', '--recipe=strong'], 'strong', 'demo_strong'),
    (['--config=configs/beauty.py:minilm', '--recipe=strong'], 'strong', 'beauty_minilm,strong'),
    (['--config=configs/beauty.py:minilm,strong'], 'strong', 'beauty_minilm,strong'),
    (['--config=configs/beauty.py:paper', '--recipe=strong'], 'strong', 'beauty_paper,strong'),  # a cut of the data
    (['--config=configs/demo.py', '--recipe=paper', '--recipe=strong'], 'strong', 'demo_strong')], ids=' '.join)
def test_the_recipe_is_named_in_one_place(flags, recipe, name):
    found, said = read(*flags)
    assert (found['train.recipe'], found['name'], said) == (recipe, name, '')
    assert (found['train.loss'], found['evaluate.selection_protocol']) == {
        'paper': ('bce', 'sampled'), 'strong': ('softmax', 'full')}[recipe]


def test_what_a_recipe_decides_may_still_be_changed():
    found, _ = read('--config=configs/demo.py', '--config.train.loss=gbce', '--recipe=strong',
                    '--config.train.recipe=mine')
    assert (found['train.loss'], found['train.recipe']) == ('gbce', 'mine')
    assert found['evaluate.selection_protocol'] == 'full'


@pytest.mark.parametrize(('flags', 'words'), [
    (['--config=configs/demo.py:strong', '--recipe=paper'], ['--recipe=paper', "'strong'", 'in one place']),
    (['--config=configs/own_data.py:paper', '--recipe=strong'], ['--recipe=strong', "'paper'"]),
    (['--config=configs/beauty.py:lsa,strong', '--recipe=paper'], ['--recipe=paper', "'strong'"]),
    (['--config=configs/demo.py', '--recipe=best'], ['recipe=best', 'paper']),
    (['--config=configs/demo.py:best', '--recipe=strong'], ["'best'"]),
    (['--config=configs/demo.py', '--config.train.recipe=strong'], ['train.recipe=strong', 'with --recipe=strong']),
    (['--config=configs/own_data.py', '--recipe=strong', '--config.train.recipe=paper'], ['--recipe=paper'])],
    ids=' '.join)
def test_two_recipes_are_one_clear_error(flags, words):
    found, said = read(*flags)
    assert not found and said.startswith('error: ') and len(said.splitlines()) == 1
    assert all(word in said for word in words), said


def test_a_config_file_that_begins_otherwise_says_that_it_takes_no_recipe(tmp_path):
    (tmp_path / 'own.py').write_text('import ml_collections\n'
                                     'def get_config():\n'
                                     '    return ml_collections.ConfigDict({"train": {"recipe": "paper"}})\n')
    assert '--recipe=strong: the config file does not begin with' in read(
        f'--config={tmp_path / "own.py"}', '--recipe=strong')[1]


@pytest.mark.parametrize(('setting', 'given', 'holds'), [
    ('evaluate.ks', ['(1,5)', '(3,7)'], '(3, 7)'), ('evaluate.ks', ['(1, 5, 10)', '7'], '(7,)'),
    ('train.seeds', ['42', '43', '44'], '(44,)'), ('train.seeds', ['(42,43)', '(42,43)'], '(42, 43)'),
    ('train.mesh', ['(2,1)', '(-1,1)'], '(-1, 1)'), ('train.max_epochs', ['5', '6'], '6')])
def test_of_a_setting_that_is_given_twice_the_last_holds_and_is_said(setting, given, holds):
    for flags in ([f'--config.{setting}={value}' for value in given],
                  [word for value in given for word in (f'--config.{setting}', value)]):
        found, said = read('--config=configs/demo.py', *flags)
        assert found[setting] == holds
        assert said == f'--config.{setting}: is given {len(given)} times; the last one holds, {given[-1]}\n'


def test_settings_that_are_given_once_are_as_before():
    found, said = read('--config=configs/demo.py', '--config.evaluate.ks=(1, 5)', '--config.train.seeds=7')
    assert (found['evaluate.ks'], found['train.seeds'], found['train.mesh'], said) == ('(1, 5)', '(7,)', '(-1, 1)', '')


def test_every_setting_that_is_a_tuple_is_of_that_kind():
    program = f'{PROGRAM}\nprint([list(config.llm.prices)])'
    done = subprocess.run([sys.executable, '-c', program, '--config=configs/demo.py',
                           '--config.llm.prices=(("a", 1.0, 2.0),)', '--config.llm.prices=(("b", 1.0, 2.0),)'],
                          cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[[('b', 1.0, 2.0)]]"

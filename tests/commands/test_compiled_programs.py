"""Compiled programs are kept for the next command, in a folder that is the user's own."""

import os
import subprocess
import sys

import pytest

from grasp_jax.commands import compiled_programs

PROGRAM = '''
from grasp_jax.commands.compiled_programs import keep_compiled_programs
{}
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
print(jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.ones((3, 3))).sum())
print(found.count('/jax/compilation_cache/cache_hits'))
'''
WITHOUT = ('JAX_COMPILATION_CACHE_DIR', 'JAX_ENABLE_COMPILATION_CACHE', 'XDG_CACHE_HOME')


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in WITHOUT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('HOME', str(tmp_path))
    return tmp_path


def folder_of(home):
    folders = list((home / '.cache' / 'grasp_jax' / 'compiled').glob('*'))
    assert len(folders) == 1
    return folders[0]


@pytest.mark.slow
@pytest.mark.parametrize('order', ('keep_compiled_programs(); import jax', 'import jax; keep_compiled_programs()'))
def test_the_second_process_compiles_nothing_anew_and_finds_the_same(home, order):
    said = [subprocess.run([sys.executable, '-c', PROGRAM.format(order)], capture_output=True, text=True, check=True,
                           env={**os.environ, 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '0'}).stdout.split()
            for _ in range(2)]
    assert said[0][0] == said[1][0]
    assert int(said[0][1]) == 0 < int(said[1][1])
    assert list(folder_of(home).iterdir())
    assert folder_of(home).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(('name', 'value'), [('JAX_COMPILATION_CACHE_DIR', '/elsewhere'),
                                             ('JAX_ENABLE_COMPILATION_CACHE', 'False'),
                                             ('JAX_ENABLE_COMPILATION_CACHE', '0')])
def test_what_the_user_says_holds(home, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    before = dict(os.environ)
    compiled_programs.keep_compiled_programs()
    assert dict(os.environ) == before and not list(home.iterdir())


def test_a_folder_that_others_may_write_into_is_not_used(home, caplog):
    caplog.set_level('INFO')
    folder = compiled_programs._own_folder()
    folder.chmod(0o777)
    compiled_programs.keep_compiled_programs()
    assert 'JAX_COMPILATION_CACHE_DIR' not in os.environ
    assert 'others may write into it' in caplog.text and str(folder) in caplog.text


def test_a_home_that_is_no_folder_is_said_and_nothing_else(home, monkeypatch, caplog):
    caplog.set_level('INFO')
    (home / 'file').touch()
    monkeypatch.setenv('HOME', str(home / 'file'))
    compiled_programs.keep_compiled_programs()
    assert 'JAX_COMPILATION_CACHE_DIR' not in os.environ and 'compiled programs are not kept' in caplog.text


def test_the_oldest_programs_go_where_there_are_too_many(home, monkeypatch):
    monkeypatch.setattr(compiled_programs, '_ROOM', 25)
    folder = compiled_programs._own_folder()
    for age, name in enumerate('abcd'):
        (folder / name).write_bytes(bytes(10))
        os.utime(folder / name, (1000 - age, 1000 - age))
    monkeypatch.setenv('JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS', '5')
    compiled_programs.keep_compiled_programs()
    monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
    assert {path.name for path in folder.iterdir()} == {'a', 'b'}
    assert os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] == '5'


def test_another_version_or_processor_has_another_folder(home, monkeypatch):
    first = compiled_programs._own_folder()
    monkeypatch.setattr(compiled_programs.importlib.metadata, 'version', lambda name: '0.0.1')
    assert compiled_programs._own_folder() != first

"""Whoever reads a folder that is replaced sees the old one or the new one, whenever the writer dies."""

import signal
import subprocess
import sys
import threading

import pytest

from grasp_jax.serving import swap

SIZE = 200  # lines of a file
BEGIN_AND_WAIT = """
import pathlib, sys, time
from grasp_jax.serving import swap
with swap.replacing(pathlib.Path(sys.argv[1])) as folder:
    (folder / 'file').write_text('half')
    print('half', flush=True)
    time.sleep(600)
"""


def fill(target, word):
    with swap.replacing(target) as folder:
        for name in 'abc':
            (folder / name).write_text(f'{word}\n' * SIZE)


def hidden(target):
    return [path.name for path in target.parent.iterdir() if path.name.startswith('.')]


@pytest.mark.slow
def test_a_reader_finds_a_whole_folder_at_any_time(tmp_path):
    target, stop, seen = tmp_path / 'folder', threading.Event(), []
    fill(target, 'word0')

    def read():
        while not stop.is_set():
            seen.append(target.joinpath('b').read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(1, 30):
        fill(target, f'word{number}')
    stop.set()
    reader.join()
    assert len(set(seen)) > 1 and all(len(set(text.split())) == 1 and text.count('\n') == SIZE for text in seen)
    assert (target / 'c').read_text().startswith('word29\n') and not hidden(target)


@pytest.mark.parametrize('there', [True, False])
def test_a_writer_that_is_killed_leaves_what_was_there(tmp_path, there):
    target = tmp_path / 'folder'
    if there:
        fill(target, 'old')
    with subprocess.Popen([sys.executable, '-c', BEGIN_AND_WAIT, target], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == 'half\n'
        with pytest.raises(KeyError), swap.replacing(target):
            assert len(hidden(target)) == 2  # who is at work is left alone
            raise KeyError
        writer.send_signal(signal.SIGKILL)
    assert len(hidden(target)) == 1 and target.exists() == there
    if there:
        assert (target / 'a').read_text() == 'old\n' * SIZE
    fill(target, 'new')
    assert not hidden(target) and (target / 'a').read_text().startswith('new\n')


def test_an_error_leaves_what_was_there_and_nothing_else(tmp_path):
    target = tmp_path / 'folder'
    fill(target, 'old')
    with pytest.raises(OSError, match='no room'), swap.replacing(target) as folder:
        (folder / 'a').write_text('half')
        raise OSError('no room')
    assert (target / 'a').read_text() == 'old\n' * SIZE and not hidden(target)


def test_where_folders_cannot_be_exchanged_at_once_a_kill_between_the_renames_is_mended(tmp_path, monkeypatch):
    target = tmp_path / 'folder'
    fill(target, 'old')
    monkeypatch.setattr(swap.ctypes, 'CDLL', lambda name: object())
    fill(target, 'new')
    assert (target / 'a').read_text().startswith('new\n') and not hidden(target)
    target.rename(tmp_path / '.folder.before')  # as the kill leaves it
    with swap.replacing(target) as folder:
        assert (target / 'a').read_text().startswith('new\n')
        (folder / 'a').write_text('newer')
    assert (target / 'a').read_text() == 'newer' and not hidden(target)

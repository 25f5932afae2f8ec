"""Bars are redrawn on a terminal and are whole lines elsewhere, on real streams of both kinds."""

import contextlib
import os
import pty
import subprocess
import sys
import termios

import pytest

from grasp_jax.common import progress
from grasp_jax.common.progress import Bar


@pytest.fixture
def terminal():
    """The two ends of a terminal of 30 lines and 80 columns: what a program writes to, and a call that reads it."""
    main, side = pty.openpty()
    termios.tcsetwinsize(side, (30, 80))
    os.set_blocking(main, False)

    def read():
        found = b''
        with contextlib.suppress(BlockingIOError):
            while some := os.read(main, 4096):
                found += some
        return found.decode()

    with os.fdopen(side, 'w', encoding='utf-8') as file:
        yield file, read
    os.close(main)


@pytest.fixture
def log(tmp_path):
    """A file as a log: what a program writes to, and a call that reads it."""
    with (tmp_path / 'log').open('w', encoding='utf-8') as file:
        yield file, (tmp_path / 'log').read_text


def count(file, monkeypatch, every=1e-9, **settings):
    """Counts to five."""
    monkeypatch.setattr(progress, '_EVERY', every)
    for _ in Bar(range(5), desc='work', file=file, mininterval=0, **settings):
        pass


def test_on_a_terminal_a_bar_is_redrawn_in_place(terminal, monkeypatch):
    file, read = terminal
    count(file, monkeypatch)
    shown = read()
    assert shown.count('\n') == 1 and shown.count('\r') >= 5 and '5/5' in shown


def test_elsewhere_it_is_whole_lines(log, monkeypatch):
    file, read = log
    count(file, monkeypatch)
    lines = read().splitlines()
    assert [line.partition(' [')[0] for line in lines] == [f'work: {number}/5' for number in range(1, 6)]
    assert '\r' not in read() and all(line.endswith(' left]') for line in lines)


def test_short_work_says_nothing_there_and_long_work_says_its_end(log, monkeypatch):
    file, read = log
    count(file, monkeypatch, every=60.0)
    assert read() == ''
    monkeypatch.setattr(progress, '_EVERY', 1e-9)
    with Bar(total=4, desc='work', unit='B', unit_scale=True, file=file) as bar:
        bar.update(1)
        bar.mininterval = 60.0
        bar.update(3)
    assert [line.partition(' [')[0] for line in read().splitlines()] == ['work: 1.00/4.00', 'work: 4.00/4.00']


def test_one_that_is_switched_off_or_interrupted_ends_well(log, monkeypatch):
    file, read = log
    with Bar(total=2, file=file, disable=True) as bar:
        bar.update()
        bar.now()
    with pytest.raises(KeyboardInterrupt), Bar(total=2, file=file) as bar:
        raise KeyboardInterrupt
    assert read() == ''


def test_no_other_bar_is_used_in_the_package():
    """A library's own would write carriage returns into logs."""
    package = os.path.dirname(os.path.dirname(progress.__file__))
    found = subprocess.run(['grep', '-rl', 'import.*tqdm', package, '--include=*.py'],
                           capture_output=True, text=True, check=True).stdout.split()
    assert [os.path.basename(path) for path in found] == ['progress.py']
    assert sys.modules['tqdm']

"""What libraries log is short, and nothing of it is lost; a reader that goes away is no error."""

import inspect
import logging
import os
import pathlib
import subprocess
import sys

import orbax.checkpoint as ocp
import pytest

from grasp_jax.commands import command
from grasp_jax.reproduce import kept

ROOT = pathlib.Path(__file__).resolve().parents[2]


def record_of(path):
    try:
        raise OSError('no room')
    except OSError:
        return logging.LogRecord('absl', logging.ERROR, path, 1, 'what failed', (), sys.exc_info())


@pytest.mark.parametrize(('path', 'shown', 'traceback'), [
    (inspect.getsourcefile(ocp.AsyncCheckpointer), False, False),  # is raised as well
    (inspect.getsourcefile(ocp.CheckpointManager), True, False),
    (__file__, True, True)])
def test_tracebacks_of_orbax_are_left_out_and_its_messages_stay(path, shown, traceback):
    record = record_of(path)
    assert command._orbax_in_short(record) == shown
    if shown:
        assert ('Traceback' in logging.Formatter().format(record)) == traceback


@pytest.mark.slow
@pytest.mark.parametrize('arguments', [
    ('grasp_jax.main', '--config=configs/demo.py', '--help'), ('grasp_jax.reproduce', '--table=2', '--plan'),
    ('grasp_jax.compare', 'RUN')], ids=('main', 'reproduce', 'compare'))
def test_who_stops_reading_is_told_nothing(arguments, tmp_path):
    if 'RUN' in arguments:
        run = 'beauty/paper/gru4rec_none'
        kept.unpack(ROOT / 'docs/results', tmp_path, run)
        arguments = (arguments[0], str(tmp_path / run))
    reader, writer = os.pipe()
    os.close(reader)  # as `head` does when it has its lines
    with os.fdopen(writer, 'w') as nobody:
        ended = subprocess.run([sys.executable, '-m', *arguments], stdout=nobody, stderr=subprocess.PIPE, text=True,
                               cwd=ROOT, check=False)
    assert (ended.returncode, ended.stderr) == (command.EXIT_UNREAD, '')

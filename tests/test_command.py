"""What libraries log is short, and nothing of it is lost."""

import inspect
import logging
import sys

import orbax.checkpoint as ocp
import pytest

from grasp_jax import command


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

"""What training shows while it runs: compilation is no epoch, each epoch once, the protocol beside its figures."""

import io
import itertools
import re
import types

import jax
import jax.numpy as jnp
import pytest

from grasp_jax.common import progress
from grasp_jax.training import epoch_bar, loop
from grasp_jax.training.epoch_bar import EpochBar

LINE = {'epoch': 1, 'loss': 0.5, 'valid_ndcg10': 0.1234, 'sequences_per_s': 1000.0}


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets."""
    now = types.SimpleNamespace(seconds=0.0)
    monkeypatch.setattr(epoch_bar, 'time', types.SimpleNamespace(perf_counter=lambda: now.seconds))
    return now


def compiles():
    """Compiles something that nobody compiled before."""
    number = next(_numbers)
    jax.jit(lambda x: x * number)(jnp.zeros(2)).block_until_ready()


_numbers = itertools.count(2)


def last(file):
    return re.split('[\r\n]', file.getvalue().rstrip())[-1].strip()


@pytest.mark.parametrize('stream', [io.StringIO, Terminal])
def test_compilation_is_said_and_is_no_epoch(clock, monkeypatch, stream):
    monkeypatch.setattr(progress, '_EVERY', 1e-9)
    with EpochBar(42, 101, 0, 'full', file=stream(), mininterval=0) as bar:
        compiles()
        assert last(bar.fp).startswith('seed 42: 0 of 101 epochs, compiling [')
        clock.seconds = 500.0
        bar.trained(0.5)
        assert last(bar.fp).startswith('seed 42: 0.5 of 101 epochs [') and 'left' not in last(bar.fp)
        clock.seconds += 3
        bar.trained(0.5)
        compiles()
        clock.seconds += 100
        bar.validated(LINE, 0.1234, 1)
        # A hundred epochs of which two calls of three seconds are known.
        assert 'seed 42: 1 of 101 epochs [at most 10:00 left], valid NDCG@10 (full) 12.34' in last(bar.fp)
        bar.trained(0.5)
        bar.trained(0.5)
        clock.seconds += 1
        bar.validated({**LINE, 'epoch': 2}, 0.1234, 1)
        # Half epochs of 3, 0 and 0 seconds, and a validation of one.
        assert '[at most 04:57 left], valid NDCG@10 (full) 12.34, best 12.34 in epoch 1, loss' in last(bar.fp)


def test_what_is_compiled_already_is_not_said_to_compile(clock):
    with EpochBar(1, 3, 0, 'full', file=io.StringIO()) as bar:
        clock.seconds = 2.0
        bar.trained(1.0)
        bar.validated(LINE, 0.1, 1)
    assert bar.fp.getvalue().count('\n') == 1 and 'compiling' not in bar.fp.getvalue()
    assert 'at most 00:04 left' in bar.fp.getvalue()


def test_a_line_fits_a_narrow_terminal():
    """One that is broken cannot be redrawn in place."""
    with EpochBar(1, 3, 0, 'full', file=Terminal(), ncols=80) as bar:
        bar.trained(1.0)
        bar.validated(LINE, 0.1, 1)
    shown = re.split('[\r\n]', bar.fp.getvalue())
    assert max(map(len, shown)) == 79 and 'valid NDCG@10 (full) 12.34' in shown[-2]


@pytest.mark.slow
def test_a_run_writes_each_epoch_once_into_a_log(small_run, tmp_path, capfd):
    loop.train(small_run(method='none', train={'max_epochs': 3, 'scan_steps': 4}), 0, tmp_path)
    shown = capfd.readouterr().err
    lines = [line for line in shown.splitlines() if line.startswith('seed 0')]
    assert '\r' not in shown and sum('compiling' in line for line in lines) == 1
    epochs = [line for line in lines if 'valid NDCG@10 (sampled)' in line]
    assert [re.match(r'seed 0: (\d) of 3 epochs \[', line)[1] for line in epochs] == ['1', '2', '3']
    loop.train(small_run(method='none', train={'max_epochs': 3, 'scan_steps': 4}), 0, tmp_path)
    assert 'epochs' not in capfd.readouterr().err, 'there is nothing to do'

"""Several processes that train as one: the same bits as one process, and a signal to one of them stops all."""

import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from grasp_jax.common.errors import RunInterrupted, UserError
from grasp_jax.distributed import processes
from grasp_jax.training import loop
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.metrics_log import read_metrics

HERE = pathlib.Path(__file__).resolve().parent.parent / 'training'  # of train_small.py
LIMIT = 300  # seconds


@pytest.fixture
def small_processes():
    """Starts the small run in some processes; those that are left at the end are killed."""
    running = []

    def start(folder, epochs, count, parts):
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            address = f'127.0.0.1:{free.getsockname()[1]}'
        # One device each. XLA waits for ever in a collective where it has fewer threads than that takes.
        environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(HERE), str(HERE.parent.parent)]),
                       'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], 'NPROC': '4'}
        for number in range(count):
            command = [sys.executable, HERE / 'train_small.py', folder, str(epochs), address, str(count), str(number),
                       str(parts)]
            running.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                            text=True))
        return running[-count:]

    yield start
    for process in running:
        with process:
            process.kill()


@pytest.fixture
def folders(tmp_path):
    """Of a run in one process, and of the same run in two."""
    found = tmp_path / 'alone', tmp_path / 'together'
    for folder in found:
        folder.mkdir()
    return found


def outputs(running):
    found = [process.communicate(timeout=LIMIT)[0] for process in running]
    assert [process.returncode for process in running] == [0] * len(running), found
    return found


def state_of(run, folder, epoch):
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        return jax.device_get(checkpoints.load(epoch, run.state_shapes(0), run.mesh).params)


@pytest.mark.slow
@pytest.mark.parametrize(('process', 'flag', 'said'), [
    (None, '--config.data.source=/no/such/folder', "error: data set 'own_data' was not found"),  # the second one waits
    (1, '--config.train.batch_size=0', 'error: --config.train.batch_size=0')])  # the first one is at work
def test_an_error_of_one_ends_all_at_once_with_its_code(tmp_path, process, flag, said):
    """JAX would wait for five minutes, and then crash both."""
    interpreter = tmp_path / 'python'
    extra = f'if [[ $* == *--process={process}* ]]; then set -- "$@" {flag}; fi\n' if process else ''
    interpreter.write_text(f'#!/usr/bin/env bash\n{extra}exec {sys.executable} "$@"\n')
    interpreter.chmod(0o755)
    begin = time.monotonic()
    found = subprocess.run(
        ['bash', 'launch/multiprocess.sh', '2', f'--config=configs/{"demo" if process else "own_data"}.py',
         f'--workdir={tmp_path / "work"}', *([] if process else [flag])], cwd=HERE.parent.parent, check=False,
        env={**os.environ, 'RESTARTS': '0', 'PYTHON': str(interpreter), 'XLA_FLAGS': ''}, capture_output=True,
        text=True, timeout=LIMIT)
    assert found.returncode == 2 and found.stderr.count(said) == 1, found.stderr
    assert time.monotonic() - begin < 240
    assert process or len(found.stderr) < 1000, 'one line, no crash of the other'


@pytest.mark.parametrize(('error', 'waits'), [(RunInterrupted('saved'), 0), (UserError('no file'), 1)])
def test_the_others_are_told_of_an_error_and_not_of_a_signal_that_they_got_as_well(monkeypatch, error, waits):
    """Those whom a signal has ended come to no barrier."""
    waited = []
    monkeypatch.setattr(processes.jax, 'process_count', lambda: 2)
    monkeypatch.setattr(processes.multihost, 'get_barrier_sync_fn', lambda: lambda **barrier: waited.append(barrier))
    monkeypatch.setattr(processes, 'agree', lambda value: value)

    def build():
        raise error

    with pytest.raises(type(error)):
        processes.one_after_another(build)
    assert len(waited) == waits


@pytest.mark.slow
def test_without_parts_two_processes_are_one_but_for_rounding(small_run, folders, small_processes):
    alone, together = folders
    loop.train(small_run(train={'max_epochs': 1, 'scan_steps': 2}), 0, alone)
    outputs(small_processes(together, 1, 2, 0))
    [one], [two] = read_metrics(alone), read_metrics(together)
    for key in ('loss', 'valid_ndcg10', 'valid_hr10'):
        np.testing.assert_allclose(one[key], two[key], atol=1e-5)


@pytest.mark.slow
def test_two_processes_are_one_and_a_signal_to_either_stops_both(small_run, folders, small_processes):
    alone, together = folders
    run = small_run(train={'max_epochs': 2, 'scan_steps': 2, 'micro_batches': 2})
    best = loop.train(run, 0, alone)
    lists = loop.test_ranks(run, 0, alone, best, depth=6)[1].ravel().tolist()
    assert all(f'lists {lists}' in text for text in outputs(small_processes(together, 2, 2, 2)))
    one, two = read_metrics(alone), read_metrics(together)
    for key in ('loss', 'valid_ndcg10', 'valid_hr10'):
        assert [line[key] for line in one] == [line[key] for line in two]
    for a, b in zip(jax.tree.leaves(state_of(run, alone, 1)), jax.tree.leaves(state_of(run, together, 1)), strict=True):
        np.testing.assert_array_equal(a, b)

    # It goes on; the signal comes to the second process, wherever it is.
    running = small_processes(together, 5000, 2, 2)
    until = time.monotonic() + LIMIT
    while len(read_metrics(together)) < 4 and time.monotonic() < until and running[0].poll() is None:
        time.sleep(0.05)
    running[1].send_signal(signal.SIGTERM)
    said = outputs(running)
    assert all('stopped; saved after step' in text for text in said), said
    done = len(read_metrics(together))
    assert 4 <= done < 5000

    # One process takes over from two, after the same steps.
    longer = small_run(train={'max_epochs': done + 1, 'patience': 60, 'scan_steps': 2, 'micro_batches': 2})
    loop.train(longer, 0, together)
    lines = read_metrics(together)
    assert [line['epoch'] for line in lines] == list(range(1, done + 2))
    assert [line['step'] for line in lines] == [6 * line['epoch'] for line in lines]

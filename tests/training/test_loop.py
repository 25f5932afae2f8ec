"""Training learns, stops early, resumes exactly after a kill, and says when the loss is no number."""

import itertools
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import types

import jax
import numpy as np
import pytest

from grasp_jax.common import artefacts
from grasp_jax.common.errors import RunInterrupted, UserError
from grasp_jax.ranking.metrics import summarise
from grasp_jax.training import loop, seeds
from grasp_jax.training.checkpoints import Best, Interrupted
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.metrics_log import read_metrics
from grasp_jax.training.state import ranked_params
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import make_training_setup

HERE = pathlib.Path(__file__).resolve().parent


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'epochs', 'rate'), (('sasrec', 3, 1e-2), ('gru4rec', 3, 1e-2),
                                                          ('bert4rec', 12, 5e-3)))
@pytest.mark.parametrize('method', ('none', 'llm_init', 'rlmrec', 'llm_esr', 'grasp'))
def test_every_pair_learns(small_run, tmp_path, backbone, epochs, rate, method):
    run = small_run(backbone=backbone, method=method, hidden_size=16, num_layers=0,  # as deep as usual
                    train={'max_epochs': epochs, 'patience': epochs, 'learning_rate': rate, 'batch_size': 8})
    best = loop.train(run, 0, tmp_path)
    lines = read_metrics(tmp_path)
    assert lines[-1]['loss'] < 0.9 * lines[0]['loss']
    chance = np.mean([1 / np.log2(rank + 1) if rank <= 10 else 0 for rank in range(1, 12)])
    assert best.value > 1.2 * chance
    found, _ = loop.test_ranks(run, 0, tmp_path, best)
    assert (found.sampled >= 1).all() and (found.sampled <= 11).all()
    assert (found.full >= 1).all() and (found.full <= run.interactions.num_items).all()


@pytest.mark.slow
def test_the_run_ends_when_validation_stops_rising_and_keeps_the_best(small_run, final_state, tmp_path):
    run = small_run(method='none', train={'max_epochs': 60, 'patience': 2, 'learning_rate': 3e-2})
    best = loop.train(run, 0, tmp_path)
    values = [line['valid_ndcg10'] for line in read_metrics(tmp_path)]
    assert len(values) < 60 and len(values) == best.epoch + 3
    assert best.epoch == int(np.argmax(values)) and best.value == max(values)
    params = final_state(run, tmp_path, best.epoch).params
    ranks = run.evaluator('valid')(params, full=False).sampled
    np.testing.assert_allclose(np.mean(np.where(ranks <= 10, 1 / np.log2(ranks + 1), 0)), best.value, rtol=1e-6)
    # A second call finds it finished and trains no more.
    assert loop.train(run, 0, tmp_path) == best and len(read_metrics(tmp_path)) == len(values)
    # Nor does anything else take the place of the best.
    shutil.rmtree(tmp_path / 'checkpoints' / str(best.epoch))
    with pytest.raises(UserError, match=f'the best epoch, {best.epoch + 1}, is damaged or gone'):
        loop.train(run, 0, tmp_path)


@pytest.mark.slow
def test_a_short_epoch_is_the_beginning_of_a_whole_one_and_the_next_has_other_users(small_run):
    short, whole = (Epochs(small_run(train={'steps_per_epoch': steps}), 0) for steps in (2, 0))
    assert short.steps == 2 and whole.steps == 6 and whole.users(0) == len(whole.sequences.users)
    assert short.users(0) == 30, 'empty places lie in all batches'
    np.testing.assert_array_equal(short.plan(0).placement.user, whole.plan(0).placement.user[:2])
    assert len(short.plan(1)) == 2 and (short.plan(0).placement.user != short.plan(1).placement.user).any()
    _, losses = short.run(0, small_run().fresh_state(0), lambda share: None)
    _, all_losses = whole.run(0, small_run().fresh_state(0), lambda share: None)
    assert len(losses) == 2
    np.testing.assert_allclose(losses, all_losses[:2], rtol=1e-6)


@pytest.mark.slow
def test_two_runs_in_one_folder_take_turns(small_run, tmp_path):
    run = small_run(method='none', train={'max_epochs': 1})
    with artefacts.lock(tmp_path):
        second = threading.Thread(target=seeds.train_and_test, args=(run, 0, tmp_path, 'x'))
        second.start()
        second.join(1)
        assert second.is_alive() and not (tmp_path / artefacts.MANIFEST).exists(), 'it has not even claimed the folder'
    second.join(120)
    assert (tmp_path / 'test_ranks.npz').exists()


@pytest.mark.slow
@pytest.mark.parametrize('scan_steps', (200, 2))
def test_stopping_and_going_on_equals_going_through(small_run, final_state, tmp_path, scan_steps):
    through, parts = tmp_path / 'through', tmp_path / 'parts'
    run = small_run()
    loop.train(run, 0, make(through))
    short = small_run(train={'max_epochs': 2, 'scan_steps': scan_steps})
    loop.train(short, 0, make(parts))
    loop.train(small_run(train={'scan_steps': scan_steps}), 0, parts)
    one, two = final_state(run, through, 3), final_state(run, parts, 3)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line['loss'] for line in read_metrics(through)] == [line['loss'] for line in read_metrics(parts)]


@pytest.mark.slow
def test_exact_resume_after_sigkill(small_run, final_state, tmp_path):
    """A process that trains is killed in the middle; the next one ends where an undisturbed one ends, bit for bit."""
    through, killed = make(tmp_path / 'through'), make(tmp_path / 'killed')
    run = small_run(train={'max_epochs': 30, 'patience': 30})
    loop.train(run, 0, through)
    command = [sys.executable, str(HERE / 'train_small.py'), str(killed), '30']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(HERE), str(HERE.parent.parent)])}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: len(read_metrics(killed)) >= 3, process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    done = len(read_metrics(killed))
    assert 3 <= done < 30, 'the process was killed before it ended'
    loop.train(run, 0, killed)
    one, two = final_state(run, through, 29), final_state(run, killed, 29)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    kept = ('epoch', 'step', 'loss', 'valid_ndcg10')
    first, second = ([{key: line[key] for key in kept} for line in read_metrics(folder)]
                     for folder in (through, killed))
    assert first == second


@pytest.mark.slow
@pytest.mark.parametrize('after', [1, 2, 3, 5])
def test_a_notice_saves_inside_an_epoch_and_the_run_goes_on_bit_for_bit(small_run, final_state, tmp_path, monkeypatch,
                                                                        after):
    """SIGTERM between any two chunks; three chunks of two steps are an epoch."""
    through, told = make(tmp_path / 'through'), make(tmp_path / 'told')
    run = small_run(train={'scan_steps': 2})
    loop.train(run, 0, through)

    class Told(loop.PreemptionGuard):
        asked = 0

        def __call__(self):
            if self.asked == after:
                os.kill(os.getpid(), signal.SIGTERM)
            self.asked += 1
            return super().__call__()

    handlers = []
    wait = Interrupted._wait
    with monkeypatch.context() as patch:
        patch.setattr(loop, 'PreemptionGuard', Told)
        patch.setattr(Interrupted, '_wait', lambda self: (handlers.append(signal.getsignal(signal.SIGTERM)),
                                                          wait(self))[1])
        with pytest.raises(RunInterrupted, match='the same command goes on from there'):
            loop.train(run, 0, told)
    assert handlers and signal.SIG_DFL not in handlers, 'a second signal ends nothing that is being written'
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    spent = [json.loads(path.read_text())['seconds'] for path in told.glob('interrupted/*/metrics/metrics')]
    taken = []
    real = Epochs.run
    monkeypatch.setattr(Epochs, 'run', lambda self, epoch, state, done, known, stop: (
        taken.append((epoch, len(known))), real(self, epoch, state, done, known, stop))[1])
    loop.train(run, 0, told)
    # Asked once before an epoch's first chunk and after each of its three; the fifth time is before the second epoch.
    assert taken[0] == {1: (0, 2), 2: (0, 4), 3: (1, 0), 5: (1, 2)}[after]
    assert len(spent) == (after != 3)
    assert all(read_metrics(told)[taken[0][0]]['seconds'] > before > 0 for before in spent)
    one, two = final_state(run, through, 3), final_state(run, told, 3)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line['loss'] for line in read_metrics(through)] == [line['loss'] for line in read_metrics(told)]


@pytest.mark.slow
def test_the_speed_of_an_epoch_that_goes_on_is_that_of_the_steps_since_then(small_run, tmp_path, monkeypatch):
    run = small_run(method='none', train={'max_epochs': 2, 'scan_steps': 2})
    users = Epochs(run, 0).users(0)
    asked = itertools.count()
    with monkeypatch.context() as patch, pytest.raises(RunInterrupted):
        patch.setattr(loop.PreemptionGuard, '__call__', lambda self: next(asked) == 2)  # two of three chunks are done
        loop.train(run, 0, tmp_path)
    monkeypatch.setattr(loop, 'time', types.SimpleNamespace(perf_counter=itertools.count().__next__))  # one second each
    loop.train(run, 0, tmp_path)
    assert [line['sequences_per_s'] for line in read_metrics(tmp_path)] == pytest.approx([users / 3, users])


@pytest.mark.slow
def test_a_notice_during_the_last_validation_ends_the_run_too(small_run, tmp_path, monkeypatch):
    run = small_run(train={'max_epochs': 2})

    def told(epoch, value):
        if epoch == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunInterrupted, match='saved after the last epoch'):
        loop.train(run, 0, tmp_path, told)
    assert loop.train(run, 0, tmp_path).epoch in (0, 1) and len(read_metrics(tmp_path)) == 2


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run(small_run, tmp_path):
    run = small_run(train={'learning_rate': 1e30})
    with pytest.raises(UserError, match='lower train.learning_rate'):
        loop.train(run, 0, tmp_path)


def test_nobody_to_train_on_is_an_error(small_run, small_data, tmp_path):
    interactions, negatives, _ = small_data
    short = type(interactions)(np.arange(4) * 3, interactions.items[:9], interactions.num_items)
    run = make_training_setup(small_run().config, small_run().mesh, short, negatives, None)
    with pytest.raises(UserError, match='no user has two training interactions'):
        loop.train(run, 0, tmp_path)


def test_a_torn_last_line_of_the_log_is_dropped(tmp_path):
    line = {'epoch': 0, 'valid_ndcg10': 0.5}
    (tmp_path / 'metrics.jsonl').write_text(json.dumps(line) + '\n{"epoch": 1, "lo')
    assert read_metrics(tmp_path) == [line]


@pytest.mark.parametrize('line', ['{"epoch": 1}', '{"epoch": "1", "valid_ndcg10": 0.5}', '5', '[1]'])
def test_a_line_of_the_log_that_is_no_epoch_is_refused(tmp_path, line):
    (tmp_path / 'metrics.jsonl').write_text(line + '\n')
    with pytest.raises(UserError, match='line 1 is not an epoch of training'):
        read_metrics(tmp_path)


@pytest.mark.slow
def test_parameters_that_overflow_in_the_last_step_are_said(small_run, tmp_path):
    run = small_run(method='none', train={'steps_per_epoch': 1, 'max_epochs': 1, 'learning_rate': float('inf')})
    with pytest.raises(UserError, match='parameters are no numbers after step 1 of epoch 1; lower train.learni'):
        loop.train(run, 0, tmp_path)
    assert not list((tmp_path / 'checkpoints').glob('[0-9]*'))


@pytest.mark.slow
def test_validation_is_by_the_protocol_and_the_parameters_that_the_config_says(small_run, final_state, tmp_path):
    run = small_run(method='none', train={'max_epochs': 1, 'ema_decay': 0.9})
    run.config.evaluate.selection_protocol = 'full'
    best = loop.train(run, 0, tmp_path)
    state = final_state(run, tmp_path, 0)
    ranks = run.evaluator('valid')(ranked_params(train_spec(run.config), state), full=True)
    assert best.value == pytest.approx(summarise(ranks.full, (10,))['NDCG@10'], rel=1e-6)
    assert best.value != pytest.approx(summarise(ranks.sampled, (10,))['NDCG@10'], rel=1e-2)
    other = run.evaluator('valid')(state.params, full=True)
    assert best.value != pytest.approx(summarise(other.full, (10,))['NDCG@10'], rel=1e-6)


@pytest.mark.slow
def test_of_epochs_that_are_equally_good_the_first_is_the_best(small_run, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, '_validate', lambda *_: (0.5, 0.5))
    run = small_run(method='none', train={'max_epochs': 9, 'patience': 3})
    assert loop.train(run, 0, tmp_path) == loop.train(run, 0, tmp_path) == Best(0, 0.5)
    assert len(read_metrics(tmp_path)) == 4


def make(folder):
    folder.mkdir()
    return folder


def wait_for(condition, process):
    for _ in range(3000):
        if condition():
            return
        if process.poll() is not None:
            raise AssertionError(process.stderr.read().decode())
        time.sleep(0.1)
    raise AssertionError('waited five minutes')

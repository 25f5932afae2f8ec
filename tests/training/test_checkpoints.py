"""Checkpoints: damaged ones are passed over, a disk that fails is one line, and saving leaves nothing behind."""

import json
import resource
import shutil
import threading

import jax
import numpy as np
import pytest
import tensorstore

from grasp_jax.common.errors import UserError
from grasp_jax.training import loop
from grasp_jax.training.checkpoints import Checkpoints, Interrupted
from grasp_jax.training.metrics_log import read_metrics

pytestmark = pytest.mark.slow

_TRAINED = []  # the folder of the fixture `trained`, once it is there


@pytest.mark.parametrize('error', [
    PermissionError(13, 'Permission denied'), OSError(116, 'Stale file handle'), MemoryError(),
    ValueError('UNAVAILABLE: try again')], ids=repr)
def test_a_checkpoint_that_cannot_be_read_now_stays_where_it_is(small_run, tmp_path, monkeypatch, error):
    """The failure comes from beneath Orbax, which wraps it."""
    run = small_run(train={'max_epochs': 2})
    loop.train(run, 0, tmp_path)

    def fails(*_, **__):
        raise error

    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        with monkeypatch.context() as patch:
            patch.setattr(tensorstore, 'open', fails)
            with pytest.raises(UserError, match='nothing was moved'):
                checkpoints.resume(run.state_shapes(0), run.mesh)
        assert checkpoints.resume(run.state_shapes(0), run.mesh)[0] == 1


def test_a_state_of_other_arrays_is_refused_and_stays(small_run, final_state, tmp_path):
    loop.train(small_run(train={'max_epochs': 1}), 0, tmp_path)
    with pytest.raises(UserError, match='a state of other arrays'):
        loop.train(small_run(hidden_size=16, train={'max_epochs': 1}), 0, tmp_path)
    assert final_state(small_run(), tmp_path, 0) is not None


def test_a_best_checkpoint_that_is_damaged_names_its_remedy(small_run, tmp_path):
    run = small_run(train={'max_epochs': 1})
    best = loop.train(run, 0, tmp_path)
    spoil(tmp_path / 'checkpoints' / '0' / 'state', 'cut')
    with pytest.raises(UserError, match=f'is damaged .* delete {tmp_path} to train this seed anew'):
        loop.test_ranks(run, 0, tmp_path, best)


def test_a_damaged_newest_checkpoint_that_is_the_best_leaves_the_best_before_it(small_run, tmp_path):
    run = small_run(method='none')
    state = run.fresh_state(0)
    with Checkpoints(tmp_path) as checkpoints:
        for epoch, value in enumerate((0.1, 0.5, 0.2, 0.3, 0.6)):
            checkpoints.save(epoch, state, value)
    spoil(tmp_path / '4' / 'state', 'cut')
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.resume(run.state_shapes(0), run.mesh)[0] == 3
        assert checkpoints.best().epoch == 1


@pytest.mark.parametrize('damage', ['cut', 'gone', 'bit'])
def test_a_damaged_checkpoint_is_passed_over(small_run, final_state, tmp_path, damage, caplog):
    through, damaged = tmp_path / 'through', tmp_path / 'damaged'
    through.mkdir()
    damaged.mkdir()
    loop.train(small_run(), 0, through)
    loop.train(small_run(train={'max_epochs': 3}), 0, damaged)
    spoil(damaged / 'checkpoints' / '2' / 'state', damage)
    loop.train(small_run(), 0, damaged)
    assert 'the checkpoint of epoch 3 is damaged' in caplog.text and 'going on from the one before' in caplog.text
    assert (damaged / 'damaged_checkpoints' / '2' / 'state').is_dir(), 'people may look at it'
    one, two = final_state(small_run(), through, 3), final_state(small_run(), damaged, 3)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)
    assert [line['loss'] for line in read_metrics(through)] == [line['loss'] for line in read_metrics(damaged)]


@pytest.fixture
def trained(small_run, tmp_path, tmp_path_factory):
    """A run whose folder, the test's own, holds three epochs, the last the best; they are trained once."""
    run = small_run(method='none', train={'max_epochs': 3})
    if not _TRAINED:
        _TRAINED.append(tmp_path_factory.mktemp('trained'))
        assert loop.train(run, 0, _TRAINED[0]).epoch == 2
    shutil.copytree(_TRAINED[0], tmp_path, dirs_exist_ok=True)
    return run


@pytest.mark.parametrize(('epoch', 'content'), [
    (2, b''), (1, b'{"val'), (2, None), (2, b'5'), (1, b'[1]'), (2, b'{"a": 1}'), (2, b'{"epoch": 2, "value": "x"}')])
def test_a_checkpoint_that_nothing_is_known_of_is_passed_over(trained, tmp_path, epoch, content, caplog):
    noted = tmp_path / 'checkpoints' / str(epoch) / 'metrics' / 'metrics'
    noted.unlink()
    if content is not None:
        noted.write_bytes(content)
    assert loop.train(trained, 0, tmp_path).epoch == 2
    assert [line['epoch'] for line in read_metrics(tmp_path)] == [1, 2, 3]
    assert f'checkpoints/{epoch}: what was noted of this state is damaged or gone' in caplog.text
    assert (tmp_path / 'damaged_checkpoints' / str(epoch) / 'state').is_dir()


def test_a_value_that_the_log_does_not_know_is_refused(trained, tmp_path):
    noted = tmp_path / 'checkpoints' / '1' / 'metrics' / 'metrics'
    noted.write_text(json.dumps({**json.loads(noted.read_text()), 'value': 0.99}))
    with pytest.raises(UserError, match='the checkpoint of the best epoch, 3, is damaged or gone'):
        loop.train(trained, 0, tmp_path)


@pytest.mark.slow
def test_a_log_that_lost_the_best_epoch_is_refused(trained, tmp_path):
    log = tmp_path / 'metrics.jsonl'
    log.write_text(''.join(log.read_text().splitlines(keepends=True)[:1]))
    with pytest.raises(UserError, match=r'or lines of metrics\.jsonl are; delete'):
        loop.train(trained, 0, tmp_path)


def test_saving_leaves_no_thread_behind(small_run, tmp_path):
    state = small_run(method='none').fresh_state(0)
    with Checkpoints(tmp_path / 'first') as checkpoints:  # starts what Orbax has once per process
        checkpoints.save(0, state, 0.1)
    before = threading.active_count()
    with Checkpoints(tmp_path / 'checkpoints') as checkpoints:
        for epoch in range(5):
            checkpoints.save(epoch, state, 0.1 * epoch)
    assert threading.active_count() <= before


def test_a_checkpoint_that_cannot_be_written_is_one_line(small_run, tmp_path):
    small, folder = small_run(method='none').fresh_state(0), tmp_path / 'checkpoints'
    large = small._replace(params=np.random.default_rng(0).normal(size=500_000))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(0, small, 0.1)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))  # as a disk that is full
    try:
        with pytest.raises(UserError, match=r'checkpoints/1 cannot be written \(.*File too large.*run again'):
            with Checkpoints(folder) as checkpoints:
                checkpoints.save(1, large, 0.2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.best().epoch == 0


def test_the_state_before_stays_until_the_new_one_is_complete(small_run, tmp_path):
    state = small_run(method='none').fresh_state(0)
    for step in (2, 4):
        with Interrupted(tmp_path / 'interrupted') as interrupted:
            interrupted.save(0, state._replace(step=np.int32(step)), np.ones(step, np.float32), 1.0)
            kept = {path.name for path in (tmp_path / 'interrupted').iterdir()}
            assert step == 2 or kept & {'2', '4'}
    assert [path.name for path in (tmp_path / 'interrupted').iterdir() if path.name.isdigit()] == ['4']


def test_a_run_that_went_back_leaves_nothing_of_what_it_had_before(small_run, tmp_path):
    """As after a damaged checkpoint: an earlier step is the newest state, and only its own epoch goes on from it."""
    run = small_run(method='none')
    state = run.fresh_state(0)
    for epoch, step in ((1, 8), (0, 4)):
        with Interrupted(tmp_path / 'interrupted') as interrupted:
            interrupted.save(epoch, state._replace(step=np.int32(step)), np.ones(2, np.float32), 1.0)
    with Interrupted(tmp_path / 'interrupted') as interrupted:
        assert interrupted.resume(1, run.state_shapes(0), run.mesh) is None
        found, losses, seconds = interrupted.resume(0, run.state_shapes(0), run.mesh)
    assert int(found.step) == 4 and len(losses) == 2 and seconds == 1


def spoil(folder, damage):
    for path in folder.rglob('d/*'):
        content = bytearray(path.read_bytes())
        if damage == 'gone':
            path.unlink()
        elif damage == 'cut':
            path.write_bytes(content[:len(content) // 2])
        else:
            content[len(content) // 2] ^= 4
            path.write_bytes(content)

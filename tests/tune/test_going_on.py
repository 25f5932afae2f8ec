"""A search goes on where it was killed, stopped or failed, loses nothing and draws what an undisturbed one draws."""

import types

import optuna
import pytest

from grasp_jax.common.errors import RunInterrupted, UserError
from grasp_jax.pipeline import stages as pipeline
from grasp_jax.training import loop
from grasp_jax.tune import spaces
from grasp_jax.tune.search import search

pytestmark = pytest.mark.slow


def interrupt_second(monkeypatch, error):
    """Ends the second training after its first epoch; returns the learning rate and the files found of every one."""
    tries = []
    train = loop.train

    def interrupted(run, seed, folder, watch=None):
        tries.append((run.config.train.learning_rate, len(list(folder.iterdir()))))
        if len(tries) == 2:
            def watch(epoch, value):
                raise error
        return train(run, seed, folder, watch)

    monkeypatch.setattr(loop, 'train', interrupted)
    return tries


def test_a_killed_search_goes_on_with_the_trial_it_was_in(config, tmp_path, monkeypatch):
    # As a kill after the first epoch's checkpoint: the trial stays as it is.
    tries = interrupt_second(monkeypatch, SystemExit())
    with pytest.raises(SystemExit):
        search(config, 'small', 3, tmp_path, tmp_path)
    study = search(config, 'small', 3, tmp_path, tmp_path)
    states = [trial.state.name for trial in study.trials]
    assert states.count('COMPLETE') == 3, states
    assert tries[2][0] == tries[1][0] and tries[2][1] > 0, 'the same settings, from their checkpoints'
    assert 0 < study.best_value < 1 and set(study.best_trial.user_attrs['settings']) == {'train.learning_rate'}
    assert not list((tmp_path / 'trials').iterdir()), 'checkpoints go when a trial is over'
    assert len(tries) == 4
    assert search(config, 'small', 3, tmp_path, tmp_path).best_value == study.best_value and len(tries) == 4


@pytest.mark.parametrize('place', ['enqueue_trial', 'tell'])
def test_a_kill_while_a_trial_is_taken_up_again_loses_and_repeats_nothing(config, tmp_path, monkeypatch, place):
    tries = interrupt_second(monkeypatch, SystemExit())
    with pytest.raises(SystemExit):
        search(config, 'small', 2, tmp_path, tmp_path)
    real = getattr(optuna.Study, place)

    def killed_behind(self, *given, **named):
        real(self, *given, **named)
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Study, place, killed_behind)
        with pytest.raises(SystemExit):
            search(config, 'small', 2, tmp_path, tmp_path)
    study = search(config, 'small', 2, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['COMPLETE', 'FAIL', 'COMPLETE']
    assert study.trials[2].params == study.trials[1].params and len(tries) == 3


def test_a_kill_before_a_value_is_stored_keeps_what_was_trained(config, tmp_path, monkeypatch):
    def killed(study, trial):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr('grasp_jax.tune.search._say', killed)  # the first thing behind the value's storing
        with pytest.raises(SystemExit):
            search(config, 'small', 1, tmp_path, tmp_path)
    assert len(list((tmp_path / 'trials').iterdir())) == 1, 'the study has it first'
    search(config, 'small', 1, tmp_path, tmp_path)
    assert not list((tmp_path / 'trials').iterdir())


def test_a_stopped_search_goes_on_too_and_draws_new_settings(config, tmp_path, monkeypatch):
    tries = interrupt_second(monkeypatch, RunInterrupted('as on SIGTERM'))
    with pytest.raises(RunInterrupted):
        search(config, 'small', 3, tmp_path, tmp_path)
    study = search(config, 'small', 3, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['COMPLETE', 'FAIL', 'COMPLETE', 'COMPLETE']
    assert tries[2][0] == tries[1][0] and tries[2][1] > 0, 'the same settings, from their checkpoints'
    assert len({rate for rate, _ in tries}) == 3, 'a search that goes on does not draw what it drew before'


def test_a_search_that_goes_on_draws_what_an_undisturbed_one_draws(config, tmp_path, monkeypatch):
    """Also when what was found so far guides the draw, from the eleventh trial on."""
    tried, stops = [], []

    def train(run, seed, folder, watch):
        rate = run.config.train.learning_rate
        if len(stops) < 2 and len(tried) == 3 + 9 * len(stops):
            stops.append(rate)
            raise RunInterrupted('as on SIGTERM')
        tried.append(rate)
        return types.SimpleNamespace(value=1 / (1 + abs(rate - 0.02)))

    monkeypatch.setattr(loop, 'train', train)
    for _ in range(2):
        with pytest.raises(RunInterrupted):
            search(config, 'small', 14, tmp_path / 'disturbed', tmp_path)
    found = search(config, 'small', 14, tmp_path / 'disturbed', tmp_path)
    disturbed = tried.copy()
    tried.clear()
    undisturbed = search(config, 'small', 14, tmp_path / 'undisturbed', tmp_path)
    assert stops == [disturbed[3], disturbed[12]] and len(set(tried)) == 14
    assert disturbed == tried and found.best_params == undisturbed.best_params


@pytest.mark.parametrize('error', [UserError('as on a full disk'), OSError(5, 'Input/output error')])
def test_a_search_that_ended_in_an_error_goes_on_with_the_trial_it_was_in(config, tmp_path, monkeypatch, error):
    tries = interrupt_second(monkeypatch, error)
    with pytest.raises(type(error)):
        search(config, 'small', 2, tmp_path, tmp_path)
    study = search(config, 'small', 2, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['COMPLETE', 'FAIL', 'COMPLETE']
    assert tries[2][0] == tries[1][0] and tries[2][1] > 0, 'the same settings, from their checkpoints'
    assert sorted(study.trials[2].intermediate_values) == [0, 1], 'what it reached before is known of it'


def test_the_starts_are_tried_first_also_after_a_wrong_start(config, tmp_path, monkeypatch):
    monkeypatch.setitem(spaces.STARTS, 'small', ({'learning_rate': 0.02}, {'learning_rate': 0.03}))
    prepare, calls = pipeline.prepare_knowledge, []

    def fails_twice(*arguments):
        calls.append(arguments)
        if len(calls) in (1, 3):  # before the first trial, and in it
            raise UserError('as of data that is not there')
        return prepare(*arguments)

    monkeypatch.setattr(pipeline, 'prepare_knowledge', fails_twice)
    for _ in range(2):
        with pytest.raises(UserError, match='not there'):
            search(config, 'small', 1, tmp_path, tmp_path)
    study = search(config, 'small', 2, tmp_path, tmp_path)
    tried = [trial.params['learning_rate'] for trial in study.trials if trial.state.name == 'COMPLETE']
    assert sorted(tried) == [0.02, 0.03], 'each once, also the one that failed'


def test_settings_that_fail_whenever_they_are_tried_are_passed_over(config, tmp_path, monkeypatch):
    train, folders = loop.train, []

    def fails(run, seed, folder, watch):
        folders.append(folder.name)
        if folder.name == folders[0]:
            raise RuntimeError('RESOURCE_EXHAUSTED')
        return train(run, seed, folder, watch)

    monkeypatch.setattr(loop, 'train', fails)
    for _ in range(2):
        with pytest.raises(RuntimeError):
            search(config, 'small', 2, tmp_path, tmp_path)
    study = search(config, 'small', 2, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['FAIL', 'FAIL', 'PRUNED', 'COMPLETE']

"""Tuning with Optuna: the trials of a search, its report, its spaces and its command."""

import concurrent.futures
import logging
import types

import optuna
import pytest

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline.checks import check_config
from grasp_jax.training import loop
from grasp_jax.tune import report, spaces
from grasp_jax.tune.search import search
from tests.reproduce.test_runs import stopped_in_training


@pytest.mark.slow
def test_the_best_is_the_highest_and_a_weak_trial_is_stopped_early(config, tmp_path, monkeypatch):
    reached = iter((0.3, 0.5, 0.4, 0.45, 0.2, 0.6))

    def train(run, seed, folder, watch):
        value = next(reached)
        for epoch in range(15):
            watch(epoch, value)
        return types.SimpleNamespace(value=value)

    monkeypatch.setattr(loop, 'train', train)
    study = search(config, 'small', 6, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['COMPLETE'] * 4 + ['PRUNED', 'COMPLETE']
    assert study.best_value == 0.6 and study.direction.name == 'MAXIMIZE'
    assert len(study.trials[4].intermediate_values) == 11, 'not before ten epochs'
    reached = iter((0.3, 0.5, 0.4, 0.45, 0.2))
    later = search(config, 'small', 5, tmp_path / 'later', tmp_path, epochs_at_least=13)
    assert len(later.trials[4].intermediate_values) == 14, 'as long as is asked for'


def test_a_space_that_does_not_go_with_the_config_is_said_before_the_stages(config, tmp_path):
    wrong = changed(config, {'model.num_heads': 3, 'model.hidden_size': 48})
    check_config(wrong)
    with pytest.raises(UserError, match='--space=strong: sets .*model.hidden_size.*num_heads=3'):
        search(wrong, 'strong', 1, tmp_path / 'study', tmp_path / 'stages')
    assert not list(tmp_path.iterdir()), 'nothing is begun'


@pytest.mark.slow
def test_settings_that_do_not_train_are_passed_over(config, tmp_path, monkeypatch):
    rates = iter((1e30, 1e-2))

    def space(trial):
        return {'train.learning_rate': trial.suggest_float('learning_rate', rate := next(rates), rate)}

    monkeypatch.setitem(spaces.SPACES, 'small', space)
    study = search(config, 'small', 2, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['PRUNED', 'COMPLETE']
    assert report.reached(study.trials[0]) == 0


@pytest.mark.slow
def test_a_trial_that_was_stopped_early_is_said_to_be_and_is_not_the_best(config, tmp_path, monkeypatch, caplog):
    tries, train = [], loop.train

    def second_is_stopped(run, seed, folder, watch=None):
        tries.append(folder)
        if len(tries) == 2:
            watch(1, 0.9)  # a promising start
            raise optuna.TrialPruned
        return train(run, seed, folder, watch)

    monkeypatch.setattr(loop, 'train', second_is_stopped)
    with caplog.at_level(logging.INFO):
        study = search(config, 'small', 2, tmp_path, tmp_path)
    assert [trial.state.name for trial in study.trials] == ['COMPLETE', 'PRUNED']
    said = [record.getMessage() for record in caplog.records if record.getMessage().startswith('trial')]
    assert said[1] == f'trial 1: stopped early, best so far {100 * study.best_value:.2f}%', said


@pytest.mark.slow
def test_the_command_waits_for_another_search_and_ends_with_the_best_settings(module, tmp_path):
    flags = ('--config=configs/demo.py:strong', '--config.data.shop.customers=80', '--config.train.max_epochs=1',
             '--config.model.method=none', '--trials=1', f'--workdir={tmp_path}', f'--out={tmp_path / "out"}')
    with concurrent.futures.ThreadPoolExecutor(1) as pool, artefacts.lock(tmp_path, '.searching'):
        running = pool.submit(module, 'tune', *flags)
        assert concurrent.futures.wait([running], timeout=5).not_done and not (tmp_path / 'study.db').exists()
    found = running.result()
    assert found.returncode == 0, found.stderr
    assert '1 trial, 1 of them trained to the end' in found.stdout
    best = '--config.train.temperature=0.26 --config.train.learning_rate=0.0003'
    assert found.stdout.splitlines()[-1].startswith(best)
    assert {path.name for path in (tmp_path / 'out').iterdir()} == {'trials.md', 'trials.png'}


@pytest.mark.parametrize(('flags', 'message'), [
    ((), '--config is missing'), (('--config=configs/demo.py', '--trials=0'), 'trials'),
    (('--config=configs/demo.py', '--space=wide'), 'strong')])
def test_mistakes_are_one_line(module, flags, message):
    found = module('tune', *flags)
    assert found.returncode == 2 and found.stderr.count('\n') == 1 and message in found.stderr, found.stderr


@pytest.mark.slow
def test_a_study_is_about_one_config(config, tmp_path):
    search(config, 'small', 1, tmp_path, tmp_path)
    with pytest.raises(UserError, match='model.hidden_size: 8 -> 16'):
        search(changed(config, {'model.hidden_size': 16}), 'small', 1, tmp_path, tmp_path)


def test_parts_that_do_not_fit_are_said_before_the_stages(config, tmp_path):
    with pytest.raises(UserError, match=r'train\.micro_batches=-1'):
        search(changed(config, {'train.micro_batches': -1}), 'small', 1, tmp_path, tmp_path / 'stages')
    assert not list(tmp_path.iterdir()), 'nothing is begun'


def test_the_report_says_why_numbers_are_missing_and_gives_settings_that_can_be_read(config, tmp_path):
    study = optuna.create_study(study_name='small', direction='maximize')
    for settings, state in (({}, optuna.trial.TrialState.FAIL), ({'model.dropout': 0.1 + 0.2}, None)):
        study.add_trial(optuna.trial.create_trial(state=state or optuna.trial.TrialState.COMPLETE,
                                                  value=None if state else 0.5, user_attrs={'settings': settings}))
    said = report.write(study, config, tmp_path)
    assert said.endswith('--config.model.dropout=0.3')
    assert 'Numbers that are missing are of trials that were interrupted' in (tmp_path / report.TABLE).read_text()


def test_the_report_of_a_search_without_a_whole_trial_says_so(tmp_path):
    study = optuna.create_study(study_name='small', direction='maximize')
    study.add_trial(optuna.trial.create_trial(
        params={'learning_rate': 0.1}, distributions={'learning_rate': optuna.distributions.FloatDistribution(0.1, 1)},
        state=optuna.trial.TrialState.PRUNED, user_attrs={'settings': {'train.learning_rate': 0.1}}))
    said = 'No trial was trained to the end yet.'
    assert report.write(study, default(), tmp_path).splitlines()[-1] == said
    assert said in (tmp_path / report.TABLE).read_text()


def test_the_report_holds_every_trial_and_the_best_first(tmp_path):
    study = optuna.create_study(study_name='small', direction='maximize')
    rate, loss = (optuna.distributions.FloatDistribution(1e-3, 1e-1, log=True),
                  optuna.distributions.CategoricalDistribution(['bce', 'gbce']))
    states = optuna.trial.TrialState
    for value, state, seen in ((0.25, states.COMPLETE, {0: 0.1, 1: 0.25}), (None, states.PRUNED, {0: 0.31, 1: 0.2}),
                               (None, states.FAIL, {0: 0.9}), (0.3, states.COMPLETE, {})):
        tried = {'learning_rate': 0.002 * (1 + len(study.trials))}
        study.add_trial(optuna.trial.create_trial(
            params={**tried, 'loss': 'bce'} if seen else tried, value=value, state=state, intermediate_values=seen,
            distributions={'learning_rate': rate, 'loss': loss} if seen else {'learning_rate': rate},
            user_attrs={'settings': {f'train.{name}': value for name, value in tried.items()}}))
    shown = report.write(study, default(), tmp_path)
    assert '3 trials, 2 of them trained to the end and 1 stopped early' in shown
    assert shown.splitlines()[-1] == '--config.train.learning_rate=0.008', 'of a trial that was trained to the end'
    rows = [line.split(' | ') for line in (tmp_path / report.TABLE).read_text().splitlines() if line.startswith('| ')]
    assert [row[0] + row[2] + ' ' + row[3] for row in rows[2:]] == ['| 330.00 -', '| 025.00 2', '| 131.00 2']
    assert [row[5] for row in rows[2:]] == ['- |', 'bce |', 'bce |'], 'not every trial has every setting'
    assert (tmp_path / report.PICTURE).stat().st_size > 5000


def test_a_picture_has_marks_for_all_that_could_be_drawn_also_after_a_space_was_widened():
    ranges = optuna.distributions.FloatDistribution
    assert report.marks_of([ranges(0.25, 1, log=True), ranges(0.01, 0.5, log=True)]) == pytest.approx([0.01, 0.1, 1])
    assert report.marks_of([ranges(0, 0.1)]) == pytest.approx([0, 0.05, 0.1])
    steps = [ranges(0.3, 0.5, step=0.1), ranges(0.1, 0.4, step=0.1)]
    assert report.marks_of(steps) == pytest.approx([0.1, 0.2, 0.3, 0.4, 0.5])
    choices = optuna.distributions.CategoricalDistribution
    assert report.marks_of([choices([64, 128]), choices([128, 256])]) == [64, 128, 256]


@pytest.mark.parametrize('recipe', ['paper', 'strong'])
@pytest.mark.parametrize('space', ['strong', 'sampled'])
def test_whatever_a_space_draws_can_be_trained(space, recipe):
    config = changed(default(recipe), {'data.kind': 'shop', 'data.name': 'shop', 'model.gate': 'none'})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(20):
        check_config(changed(config, spaces.SPACES[space](study.ask())))


@pytest.mark.parametrize('backbone', ['sasrec', 'gru4rec'])
def test_every_space_names_settings_that_there_are(backbone):
    config = changed(default('strong'), {'model.backbone': backbone})
    for name in spaces.STARTS:
        for place, start in enumerate(spaces.starts_of(name, config)):
            found = changed(config, spaces.SPACES[name](optuna.trial.FixedTrial(start)))
            for key, value in start.items():
                assert value in (found.train.get(key), found.model.get(key))
            if name == 'strong' and not place:
                assert model_spec(found, 9) == model_spec(config, 9), 'the search begins with the recipe as it stands'
                assert found.train.to_dict() == config.train.to_dict()


@pytest.mark.slow
def test_a_search_that_is_stopped_ends_with_the_code_that_is_asked_for(tmp_path):
    code, said = stopped_in_training(
        tmp_path, 'tune', '--config=configs/demo.py:strong', '--config.model.method=none',
        '--config.train.max_epochs=10000', '--config.train.patience=10000', '--config.data.shop.customers=100',
        f'--workdir={tmp_path}', '--trials=1', '--stopped_code=75')
    assert code == 75 and 'the same command goes on from there' in said, said

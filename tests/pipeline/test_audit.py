"""The audit of a whole data set, clean and with leaks planted."""

import dataclasses
import pathlib

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.data import dataset as dataset_files
from grasp_jax.data.interactions import Interactions
from grasp_jax.pipeline import audit

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def config():
    config = default()
    config.data.update({'name': 'small_shop', 'kind': 'shop', 'filter': 'none'})
    config.data.shop.update({'customers': 60, 'products': 150})
    config.text.domain = 'shop'
    config.encode.width = 16
    config.model.update({'method': 'llm_esr', 'hidden_size': 8})
    config.train.batch_size = 16
    config.train.mesh = (64, 1)  # a cluster's, which no audit needs
    return config


@pytest.mark.slow
def test_a_clean_data_set_passes_and_says_what_was_looked_at(config, tmp_path):
    found = {check.what.split(' that')[0]: check.number for check in audit.audit(config, tmp_path)}
    assert len(found) == 4 and found['user texts'] == 60
    assert found['stored negatives'] > 5000 and found['sequences of similar users'] > 500


def test_a_sequence_that_reaches_into_the_held_out_items_is_found(config, tmp_path):
    real = Interactions.input_lengths
    audit.audit(config, tmp_path)
    known = dataset_files.load(tmp_path / 'prepare').interactions

    def longer(self, split):
        return real(self, split) + (split == 'train')

    lengths = longer(known, 'train')
    users = np.flatnonzero(lengths > 1)
    sequences = audit.batches.Sequences(users, known.indptr[users], lengths[users], 101)
    plan = audit.batches.epoch_plan(sequences, 16, 0, 0)
    with pytest.raises(UserError, match='a training batch: reads a held-out item of user number'):
        audit.require_training_part(known, plan.placement, 'a training batch')


def test_what_training_reads_is_looked_at(config, tmp_path, monkeypatch):
    real = audit.training_sequences

    def longer(interactions, spec):
        found = real(interactions, spec)
        return dataclasses.replace(found, lengths=interactions.input_lengths('test')[found.users])

    with monkeypatch.context() as patch:
        patch.setattr(audit, 'training_sequences', longer)
        with pytest.raises(UserError, match='a training batch: reads a held-out item'):
            audit.audit(config, tmp_path)

    class Longer(audit.SimilarUsers):
        def plan(self, *given):
            return [dataclasses.replace(each, placement=each.placement._replace(
                length=each.placement.length + 2 * (each.placement.length > 0))) for each in super().plan(*given)]

    monkeypatch.setattr(audit, 'SimilarUsers', Longer)
    with pytest.raises(UserError, match='sequences of similar users: reads a held-out item'):
        audit.audit(config, tmp_path)


def test_a_negative_of_the_users_own_is_found(config, tmp_path, monkeypatch):
    real = dataset_files.load

    def planted(folder):
        found = real(folder)
        test = found.negatives['test'].copy()
        test[3, 5] = found.interactions.full_sequence(int(found.interactions.evaluated_users()[3]))[0]
        return dataclasses.replace(found, negatives={**found.negatives, 'test': test})

    monkeypatch.setattr(dataset_files, 'load', planted)
    with pytest.raises(UserError, match='stored negatives of test: item'):
        audit.audit(config, tmp_path)


def test_items_that_the_audit_cannot_look_for_are_counted(config, tmp_path, monkeypatch):
    real = dataset_files.load

    def nameless(folder):
        found = real(folder)
        return dataclasses.replace(found, item_attributes=[
            {**attributes, 'title': ' ' if item in (2, 5, 6) else attributes['title']}
            for item, attributes in enumerate(found.item_attributes)])

    assert 'title' not in audit.audit(config, tmp_path)[0].what
    monkeypatch.setattr(dataset_files, 'load', nameless)
    checked = audit.audit(config, tmp_path)[0].what
    assert checked.startswith('user texts') and '(3 of ' in checked and 'no title and were not looked for)' in checked


def test_columns_that_know_answers_are_listed(config, tmp_path, monkeypatch):
    real = dataset_files.load

    def planted(folder):
        found = real(folder)
        told = {int(user): found.item_attributes[int(item) - 1]['title'] for user, item in
                zip(found.interactions.evaluated_users()[:3], found.interactions.targets('test'), strict=False)}
        return dataclasses.replace(found, user_attributes=[
            {**profile, 'last_purchase': told.get(user, '')} for user, profile in enumerate(found.user_attributes)])

    monkeypatch.setattr(dataset_files, 'load', planted)
    config.text.audit = False
    with pytest.raises(UserError, match="column 'last_purchase' of the users names the test item of 5.*leak"):
        audit.audit(config, tmp_path)
    monkeypatch.setattr('grasp_jax.texts.answer_columns._PLAIN', 0.1)
    knowing, = [check for check in audit.audit(config, tmp_path) if check.leaks]
    assert "column 'last_purchase' of the users names the test item of 5" in knowing.what


def test_nobody_to_train_on_is_said(config, tmp_path):
    (tmp_path / 'visits.csv').write_text('user,item,time\n' + ''.join(
        f'u{user},i{item},{time}\n' for user in range(9) for time, item in enumerate(range(user, user + 3))))
    config.data.update({'name': 'short', 'kind': 'table', 'source': str(tmp_path), 'interactions_file': 'visits.csv'})
    config.model.method = 'none'
    config.evaluate.negatives = 3
    with pytest.raises(UserError, match='no user has two training interactions'):
        audit.audit(config, tmp_path / 'stages')


@pytest.mark.slow
def test_the_command_fails_on_texts_that_hold_the_answers(module, tmp_path):
    flags = ['--config=configs/demo.py', '--mode=audit', '--config.data.shop.customers=60']
    clean = module('main', *flags, f'--workdir={tmp_path}')
    assert clean.returncode == 0 and 'nothing leaks' in clean.stdout, clean.stderr
    leaky = module('main', *flags, f'--workdir={tmp_path}/leaky', '--config.text.history=all',
                   '--config.text.audit=False')
    assert leaky.returncode == 2 and 'would leak the answer' in leaky.stderr

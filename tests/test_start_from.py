"""Yesterday's run and today's: what today begins with, what it refuses, and when it needs yesterday no more."""

import itertools
import json
import logging
import shutil

import jax
import numpy as np
import pytest

from grasp_jax.common.errors import RunInterrupted, UserError
from grasp_jax.config import changed
from grasp_jax.data import dataset
from grasp_jax.evaluation.report import render_markdown
from grasp_jax.pipeline.stages import prepare_data, prepare_knowledge, refresh_knowledge, run_on, run_pipeline
from grasp_jax.ranking.metrics import load_ranks, summarise
from grasp_jax.training import loop
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.metrics_log import read_metrics
from grasp_jax.training.seeds import train_and_test
from grasp_jax.training.state import ranked_params
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.warm_start import first_state, load
from tests.pipeline.test_refresh import changed_log, config_of, rows

pytestmark = pytest.mark.slow

NEW = 'i0015'


def small(folder, log, **train):
    config = config_of(folder, log, 'lsa')
    config.model.update({'method': 'grasp_id', 'backbone': 'gru4rec', 'hidden_size': 8, 'max_length': 12,
                         'num_layers': 1})
    config.train.update({'batch_size': 8, 'max_epochs': 2, 'scan_steps': 2, 'seeds': (1,), 'ema_decay': 0.9,
                         'learning_rate': 1e-2, 'mesh': (1, -1), **train})
    return config


@pytest.fixture(scope='module')
def home(tmp_path_factory):
    """Monday's run, and Tuesday's stages, refreshed from Monday's."""
    base = tmp_path_factory.mktemp('days')
    run_pipeline(small(base / 'data1', rows()), base / 'monday')
    refresh_knowledge(small(base / 'data2', changed_log()), base / 'tuesday', base / 'monday')
    return base


@pytest.fixture
def monday(home, tmp_path):
    """A copy of Monday's folder that a test may spoil."""
    return shutil.copytree(home / 'monday', tmp_path / 'monday')


def ranked(config, workdir, stages, seed=1):
    """What the best epoch of a run ranks with."""
    return jax.tree.map(np.asarray, ranked_params(train_spec(config), best_state(config, workdir, stages, seed)))


def best_state(config, workdir, stages, seed=1):
    """The state of the best epoch of a run."""
    run = run_on(config, prepare_knowledge(config, stages))
    with Checkpoints(workdir / f'seed{seed}' / 'checkpoints') as checkpoints:
        return checkpoints.load(checkpoints.best().epoch, run.state_shapes(seed), run.mesh)


def same(one, two):
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_tuesday_goes_on_from_monday(home, monday, tmp_path, caplog):
    """Parameters, their mean and the optimiser, by the ids of the items; a new item is as its neighbours."""
    config = small(home / 'data2', changed_log(), seeds=(5,), start_from=str(monday))
    run = run_on(config, prepare_knowledge(config, home / 'tuesday'))
    with caplog.at_level(logging.INFO, 'grasp_jax'):
        logging.getLogger('grasp_jax').propagate = True
        state = first_state(run, 5, tmp_path / 'seed5')
    assert 'of seed 1 of' in caplog.text and '1 new items, 1 of them' in caplog.text
    old_ids, ids = (list(dataset.load(home / day / 'prepare').item_ids) for day in ('monday', 'tuesday'))
    number = {identity: 1 + row for row, identity in enumerate(old_ids)}
    assert ids != [*old_ids, NEW], 'items have other numbers now'
    near = [number[ids[item - 1]] for item in np.load(home / 'tuesday' / 'retrieve' / 'item_neighbours.npy')[
        ids.index(NEW)]]
    fresh, before = run.fresh_state(5), best_state(small(home / 'data1', rows()), monday, home / 'monday')
    tables = 0
    for (path, was), now, begun in zip(jax.tree_util.tree_leaves_with_path((before.params, before.optimizer)),
                                       jax.tree.leaves((state.params, state.optimizer)),
                                       jax.tree.leaves((fresh.params, fresh.optimizer)), strict=True):
        assert now.sharding == begun.sharding
        was, now = np.asarray(was), np.asarray(now)
        if not jax.tree_util.keystr(path).endswith("['encoder']['embedding']"):
            same(now, was)
            continue
        tables += 1
        for row, identity in enumerate(ids, start=1):
            if identity != NEW:
                np.testing.assert_array_equal(now[row], was[number[identity]])
        np.testing.assert_allclose(now[1 + ids.index(NEW)], np.mean(was[near], 0), rtol=1e-5)
    assert tables == 4, 'the parameters, their mean and two of Adam'
    rest = [0, *range(len(ids) + 1, len(fresh.params['encoder']['embedding']))]
    begun = np.asarray(fresh.params['encoder']['embedding'])[rest]
    same(np.asarray(state.params['encoder']['embedding'])[rest], begun)
    np.testing.assert_allclose(np.asarray(ranked_params(train_spec(config), state)['encoder']['embedding'])[rest],
                               begun, rtol=1e-6)
    same((state.step, state.key), (fresh.step, fresh.key))
    same(state, first_state(run, 5, tmp_path / 'seed5'))


@pytest.mark.parametrize('average', (0.0, 0.5))
def test_where_means_are_others_it_begins_with_what_monday_ranks_with(home, tmp_path, average):
    """Parameters alone: an optimiser that another mean belongs to is no start."""
    config = small(home / 'data1', rows(), seeds=(5,), start_from=str(home / 'monday'), ema_decay=average)
    run = run_on(config, prepare_knowledge(config, home / 'monday'))
    state, fresh = first_state(run, 5, tmp_path / 'seed5'), run.fresh_state(5)
    expected = ranked(small(home / 'data1', rows()), home / 'monday', home / 'monday')
    rows_of_items = slice(1, 1 + run.interactions.num_items)
    for params in (state.params, expected):
        params['encoder']['embedding'] = params['encoder']['embedding'][rows_of_items]
    same(state.params, expected)
    same((state.step, state.optimizer, state.key), (fresh.step, fresh.optimizer, fresh.key))


def test_before_it_trains_it_ranks_as_the_run_that_it_starts_from(home, tmp_path):
    config = small(home / 'data1', rows(), seeds=(9,), start_from=str(home / 'monday'))
    run = run_on(config, prepare_knowledge(config, home / 'monday'))
    params = ranked_params(train_spec(config), first_state(run, 9, tmp_path))
    ranks = run.evaluator('valid')(params, full=False)
    lines = read_metrics(home / 'monday' / 'seed1')
    assert summarise(ranks.sampled, (10,))['NDCG@10'] == max(line['valid_ndcg10'] for line in lines)


def test_a_stopped_run_goes_on_without_the_run_that_it_started_from_and_ends_with_the_same_bits(
        home, monday, tmp_path, monkeypatch):
    config = small(home / 'data2', changed_log(), start_from=str(monday))
    report = run_pipeline(config, tmp_path / 'through', home / 'tuesday')
    assert f'goes on from {monday}' in render_markdown(report)
    assert run_pipeline(changed(config, {'train.start_from': ''}), tmp_path / 'cold', home / 'tuesday')[
        'start_from'] is None
    with pytest.raises(RunInterrupted), monkeypatch.context() as patch:
        asked = itertools.count()
        patch.setattr(loop.PreemptionGuard, '__call__', lambda self: next(asked) == 2)
        run_pipeline(config, tmp_path / 'parts', home / 'tuesday')
    monday.rename(tmp_path / 'gone')
    run_pipeline(config, tmp_path / 'parts', home / 'tuesday')
    for name in load_ranks(tmp_path / 'through' / 'seed1')._fields:
        same(*(getattr(load_ranks(tmp_path / work / 'seed1'), name) for work in ('through', 'parts')))
    lines = {work: [line['loss'] for line in read_metrics(tmp_path / work / 'seed1')]
             for work in ('through', 'parts', 'cold')}
    assert lines['through'] == lines['parts'] and lines['through'][0] < lines['cold'][0]
    same(*(ranked(config, tmp_path / work, home / 'tuesday') for work in ('through', 'parts')))
    # What is done stays what it is: the run that it started from is gone, is another one, or lies elsewhere.
    assert run_pipeline(config, tmp_path / 'through', home / 'tuesday')['test'] == report['test']
    shutil.copytree(tmp_path / 'cold', monday)
    assert run_pipeline(config, tmp_path / 'through', home / 'tuesday')['test'] == report['test']
    moved = changed(config, {'train.start_from': str(tmp_path / 'gone')})
    assert run_pipeline(moved, tmp_path / 'through', home / 'tuesday')['test'] == report['test']
    for other, word in ((str(tmp_path / 'cold'), 'start_from.digest'), ('', 'train.start_from')):
        with pytest.raises(UserError, match=f'made with another config.*{word}'):
            run_pipeline(changed(config, {'train.start_from': other}), tmp_path / 'through', home / 'tuesday')
    with pytest.raises(UserError, match='train.start_from'):
        run_pipeline(config, tmp_path / 'cold', home / 'tuesday')


def test_a_seed_that_has_nothing_yet_does_not_begin_with_other_parameters_than_it_noted(
        home, monday, tmp_path, monkeypatch):
    config = small(home / 'data2', changed_log(), start_from=str(monday))
    with pytest.raises(RunInterrupted), monkeypatch.context() as patch:
        patch.setattr(loop.PreemptionGuard, '__call__', lambda self: True)
        run_pipeline(config, tmp_path / 'work', home / 'tuesday')
    noted = json.loads((tmp_path / 'work' / 'seed1' / 'manifest.json').read_text())['config']['train']['start_from']
    assert (noted['folder'], noted['seed']) == (str(monday), 1)
    run = run_on(config, prepare_knowledge(config, home / 'tuesday'))
    assert load(run, 1).note == noted
    checkpoints = monday / 'seed1' / 'checkpoints'
    config2 = small(home / 'data1', rows(), seeds=(2,))
    train_and_test(run_on(config2, prepare_knowledge(config2, home / 'monday')), 2, monday / 'seed2',
                   json.loads((monday / 'seed1' / 'manifest.json').read_text())['inputs'][0])
    assert load(run, 2).note['seed'] == 2, 'the same seed, where it is there'
    for name in ('checkpoints', 'metrics.jsonl'):
        shutil.move(monday / 'seed1' / name, tmp_path / name)
        shutil.move(monday / 'seed2' / name, monday / 'seed1' / name)
    assert checkpoints.is_dir()
    with pytest.raises(UserError, match='holds other parameters than when .*seed1 began with them'):
        run_pipeline(config, tmp_path / 'work', home / 'tuesday')


@pytest.mark.slow
@pytest.mark.parametrize(('section', 'settings', 'word'), (
    ('model', {'method': 'grasp'}, "model.method='grasp_id', not 'grasp'"),
    ('model', {'backbone': 'sasrec'}, "model.backbone='gru4rec', not 'sasrec'"),
    ('model', {'hidden_size': 4}, 'model.hidden_size=8, not 4'),
    ('model', {'num_layers': 2}, 'model.num_layers=1, not 2'),
    ('model', {'max_length': 9}, 'model.max_length=12, not 9'),
    ('model', {'gate': 'none'}, "model.gate='calibrated', not 'none'"),
    ('encode', {'width': 11}, 'encode.width=12, not 11'),
    ('encode', {'center': False}, 'encode.center=True, not False')))
def test_another_model_is_refused_before_anything_is_made(home, tmp_path, section, settings, word):
    config = small(home / 'data2', changed_log(), start_from=str(home / 'monday'))
    config[section].update(settings)
    with pytest.raises(UserError) as caught:
        run_pipeline(config, tmp_path / 'work')
    assert word in str(caught.value) and str(caught.value).startswith(f'train.start_from={home / "monday"}: ')
    assert '\n' not in str(caught.value) and not (tmp_path / 'work').exists()


def test_what_is_for_training_alone_may_differ(home, tmp_path):
    config = small(home / 'data2', changed_log(), start_from=str(home / 'monday'), ema_decay=0.0, learning_rate=1e-4)
    config.model.update({'dropout': 0.1, 'id_init': 'text'})
    run = run_on(config, prepare_knowledge(config, home / 'tuesday'))
    same(load(run, 1).ranked, ranked(small(home / 'data1', rows()), home / 'monday', home / 'monday'))


def test_a_folder_that_is_no_finished_run_is_refused(home, monday, tmp_path):
    config = small(home / 'data2', changed_log(), start_from=str(monday))

    def refuses(word, workdir=tmp_path / 'work'):
        with pytest.raises(UserError, match=word):
            run_pipeline(config, workdir)
        assert not (tmp_path / 'work').exists()

    refuses('is the --workdir itself', monday)
    shutil.move(monday / 'prepare', tmp_path / 'prepare')
    refuses('stages that it was trained on are not in')
    shutil.move(tmp_path / 'prepare', monday / 'prepare')
    shutil.move(monday / 'seed1' / 'checkpoints', tmp_path / 'checkpoints')
    refuses('has no checkpoints, as of runs that are handed on')
    (monday / 'seed1' / 'test_ranks.npz').unlink()
    refuses('no seed of it is finished')
    (monday / 'config.json').unlink()
    refuses('is not there; name the --workdir of a finished run')
    shutil.rmtree(monday)
    refuses('there is no such folder')


def test_vectors_that_were_fitted_or_centred_anew_are_refused(home, monday, tmp_path):
    config = small(home / 'data2', changed_log(), start_from=str(monday))
    with pytest.raises(UserError, match=f'another fit of lsa.*--mode=refresh --previous={monday}'):
        run_pipeline(config, tmp_path / 'anew')
    hashed = []
    for data, log in (('data1', rows()), ('data2', changed_log())):
        hashed.append(small(home / data, log, max_epochs=1))
        hashed[-1].encode.kind = 'hashed'
    run_pipeline(hashed[0], tmp_path / 'hashed')
    hashed[1].train.start_from = str(tmp_path / 'hashed')
    with pytest.raises(UserError, match='another mean was taken away.*--mode=refresh'):
        run_pipeline(hashed[1], tmp_path / 'other')


def test_a_best_epoch_whose_checkpoint_is_gone_is_refused(home, monday, tmp_path):
    best = max(read_metrics(monday / 'seed1'), key=lambda line: line['valid_ndcg10'])['epoch'] - 1
    shutil.rmtree(monday / 'seed1' / 'checkpoints' / str(best))
    config = small(home / 'data2', changed_log(), start_from=str(monday))
    with pytest.raises(UserError, match='the checkpoint of the best epoch is damaged or gone; name another run'):
        run_pipeline(config, tmp_path / 'work', home / 'tuesday')
    assert not (tmp_path / 'work' / 'seed1' / 'manifest.json').exists(), 'nothing is claimed'


def test_without_texts_nothing_of_vectors_is_asked(home, tmp_path):
    plain = [small(home / data, log) for data, log in (('data1', rows()), ('data2', changed_log()))]
    for config in plain:
        config.model.method = 'none'
    run_pipeline(plain[0], tmp_path / 'monday')
    config = changed(plain[1], {'train.start_from': str(tmp_path / 'monday'), 'encode.width': 3})
    run = run_on(config, prepare_knowledge(config, tmp_path / 'tuesday'))
    state, ids = first_state(run, 1, tmp_path), list(prepare_data(config, tmp_path / 'tuesday').item_ids)
    new = 1 + ids.index(NEW)
    before = ranked(plain[0], tmp_path / 'monday', tmp_path / 'monday')['encoder']['embedding']
    fresh = run.fresh_state(1).params['encoder']['embedding']
    embedding = np.asarray(ranked_params(train_spec(config), state)['encoder']['embedding'])
    np.testing.assert_allclose(embedding[new], fresh[new], rtol=1e-6)
    np.testing.assert_array_equal(np.delete(embedding, new, 0)[1:len(ids)], before[1:len(ids)])

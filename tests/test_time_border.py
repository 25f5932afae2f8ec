"""Runs under a split by time: rows of later change nothing that was trained, and every command goes on from there."""

import csv
import logging

import jax
import numpy as np
import pytest

from grasp_jax.config import changed
from grasp_jax.data import dataset
from grasp_jax.evaluation.report import load_report
from grasp_jax.pipeline.audit import audit
from grasp_jax.pipeline.stages import refresh_knowledge, run_pipeline
from grasp_jax.ranking.lists import load_lists
from grasp_jax.serving import bundle
from grasp_jax.serving.assets import open_folder
from grasp_jax.serving.recommender import Recommender
from tests.tiny_runs import ITEMS, item_id, tiny_config, write_table

pytestmark = pytest.mark.slow

METHODS = {
    'none': {'model__method': 'none'},
    'grasp_id': {'model__method': 'grasp_id', 'model__gate': 'none', 'model__id_init': 'text',
                 'retrieve__smoothing': 1.0},
    'similar': {'model__method': 'llm_esr'},
    'unsold': {'model__method': 'grasp', 'data__keep_unsold': True},
    # With what the recipe strong is made of.
    'llm_init': {'model__method': 'llm_init', 'model__backbone': 'gru4rec', 'train__loss': 'softmax',
                 'train__ema_decay': 0.9, 'evaluate__selection_protocol': 'full'},
    'rlmrec': {'model__method': 'rlmrec', 'model__backbone': 'bert4rec', 'train__loss': 'sampled_softmax',
               'train__negatives': 8, 'train__shared_negatives': True, 'train__negative_popularity': 0.5},
}
OF_EVERY_EPOCH = ('none', 'grasp_id', 'similar', 'unsold')


def rows_of(folder):
    with (folder / 'interactions.csv').open(encoding='utf-8', newline='') as file:
        return [(user, item, int(time)) for user, item, time in list(csv.reader(file))[1:]]


def write_rows(folder, rows):
    with (folder / 'interactions.csv').open('w', encoding='utf-8', newline='') as file:
        csv.writer(file).writerows([('user', 'item', 'time'), *rows])


@pytest.fixture(scope='module')
def sources(tmp_path_factory):
    """The tiny table, and the same with other rows from the second moment on, and from the first on: other items, new
    ones among them, other users, and more rows."""
    base = tmp_path_factory.mktemp('sources')
    write_table(base / 'data')
    rows = [*rows_of(base / 'data'), ('zz', item_id(0), 9)]
    rng = np.random.default_rng(5)
    for name, border in (('data', None), ('after_second', 6), ('after_first', 4)):
        (base / name).mkdir(exist_ok=True)
        (base / name / 'items.jsonl').write_bytes((base / 'data' / 'items.jsonl').read_bytes())
        kept = rows if border is None else [row for row in rows if row[2] < border]
        if border is not None:
            kept += [(f'u{rng.integers(60):02d}', item_id(rng.integers(ITEMS + 9)), int(rng.integers(border, 12)))
                     for _ in range(400)]
        write_rows(base / name, kept)
    return base


def config_of(folder, **settings):
    return tiny_config(folder, **{'data__split': 'time', 'data__split_times': (4, 6), **settings})


def params_of(workdir):
    return open_folder(workdir).params


@pytest.mark.parametrize('method, source, epochs', [
    *((method, 'after_second', 3) for method in OF_EVERY_EPOCH),
    *((method, 'after_first', 1) for method in ('similar', 'unsold', 'llm_init', 'rlmrec'))])
def test_rows_of_later_change_nothing_that_was_trained(sources, tmp_path, method, source, epochs):
    """After the first moment even the validation is another, which may pick another epoch: so there is one."""
    found = {}
    for name in ('data', source):
        run_pipeline(config_of(sources / name, train__max_epochs=epochs, **METHODS[method]), tmp_path / name)
        found[name] = params_of(tmp_path / name)
    one, other = (jax.tree.leaves(found[name]) for name in ('data', source))
    assert len(one) == len(other) > 3
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
    loaded = [dataset.load(tmp_path / name / 'prepare') for name in ('data', source)]
    assert loaded[0].user_ids == loaded[1].user_ids and loaded[0].item_ids == loaded[1].item_ids
    assert not np.array_equal(loaded[0].interactions.items, loaded[1].interactions.items)
    if METHODS[method]['model__method'] != 'none':
        for file in ('describe/user_texts.jsonl', 'describe/item_texts.jsonl', 'encode/users.npy', 'encode/items.npy',
                     'retrieve/user_neighbours.npy', 'retrieve/users_similar.npy'):
            assert (tmp_path / 'data' / file).read_bytes() == (tmp_path / source / file).read_bytes(), file


def test_rows_before_the_border_do_change_it(sources, tmp_path):
    rows = rows_of(sources / 'data')
    write_table(tmp_path / 'other')
    write_rows(tmp_path / 'other', [(user, item_id(5) if when == 2 else item, when) for user, item, when in rows])
    for folder, name in ((sources / 'data', 'one'), (tmp_path / 'other', 'two')):
        run_pipeline(config_of(folder, train__max_epochs=1, model__method='none'), tmp_path / name)
    one, two = (jax.tree.leaves(params_of(tmp_path / name)) for name in ('one', 'two'))
    assert not all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_every_command_goes_on_from_a_split_by_time(sources, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    config = config_of(sources / 'data', **METHODS['grasp_id'])
    report = run_pipeline(config, tmp_path / 'run')
    assert 'split by time: training before 4, validation from there, test from 6 on' in caplog.text
    known = dataset.load(tmp_path / 'run' / 'prepare').interactions
    assert report['protocol']['split'].startswith('by time: training before 4, validation from there, test from 6 on')
    assert report['stages']['prepare']['split']['cold_users'] == 1  # zz
    assert report['data']['evaluated_users'] == len(known.evaluated_users('test'))
    assert report['protocol']['split'] in (tmp_path / 'run' / 'report.md').read_text()
    checks = audit(config, tmp_path / 'run')
    assert checks[-1].number == sum(len(rows) * 10 for rows in dataset.load(
        tmp_path / 'run' / 'prepare').negatives.values())
    model = Recommender.load(tmp_path / 'run')
    best = model.recommend(['u00'], k=3)
    assert len(best) == 3
    bundle.write_bundle(open_folder(tmp_path / 'run'), tmp_path / 'bundle')
    assert Recommender.load(tmp_path / 'bundle').recommend(['u00'], k=3).equals(best)
    refresh_knowledge(config_of(sources / 'after_second', **METHODS['grasp_id']), tmp_path / 'next', tmp_path / 'run')
    warm = changed(config_of(sources / 'after_second', **METHODS['grasp_id']),
                   {'train.start_from': str(tmp_path / 'run'), 'train.max_epochs': 1})
    run_pipeline(warm, tmp_path / 'next')
    assert load_report(tmp_path / 'next')['start_from']
    by_one_out = run_pipeline(tiny_config(sources / 'data', **METHODS['grasp_id']), tmp_path / 'other')
    assert by_one_out['protocol']['candidates'] != report['protocol']['candidates']


@pytest.mark.parametrize('method', ['none', 'unsold'])
def test_all_items_of_the_window_are_looked_for(sources, tmp_path, method):
    config = config_of(sources / 'data', evaluate__targets='all', evaluate__selection_protocol='full',
                       **METHODS[method])
    report = run_pipeline(config, tmp_path)
    known, lists = dataset.load(tmp_path / 'prepare').interactions, load_lists(tmp_path / 'seed42')
    recall = []
    for user, own in zip(lists.users, lists.items, strict=True):
        before = set(known.sequence(int(user), 'test'))
        later = set(known.full_sequence(int(user))[known.input_lengths('test')[user]:]) - before
        if later:
            recall.append(len(set(own[:3]) & later) / len(later))
    assert recall
    assert report['test']['full']['Recall@3'] == pytest.approx(np.mean(recall))
    assert 'Recall@3' in report['baselines']['popularity']['full'] and 'Recall@3' not in report['test']['sampled']
    said = report['protocol']
    assert f'of each of {len(recall)} users' in said['full'] and 'all items of the window' in said['selection']
    assert '| Recall | full |' in (tmp_path / 'report.md').read_text()
    # Deeper lists are made of the same run, and what they hold is counted anew.
    deeper = run_pipeline(changed(config, {'evaluate.ks': (3, 8)}), tmp_path)
    assert deeper['test']['full']['Recall@3'] == report['test']['full']['Recall@3'] < deeper['test']['full']['Recall@8']

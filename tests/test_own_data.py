"""A person's own tables through the whole program: what nobody bought, and what nothing is known of."""

import json

import numpy as np
import pytest
from tiny_runs import ITEMS, item_id, tiny_config, write_table

from grasp_jax import Recommender
from grasp_jax.common.errors import UserError
from grasp_jax.pipeline import stages as pipeline

NEW = ('zz1', 'a00')


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp('own') / 'data'
    write_table(folder)
    with (folder / 'items.jsonl').open('a', encoding='utf-8') as file:
        for identity in NEW:
            file.write(json.dumps({'item': identity, 'title': 'thing01 of shelf0 and row2 &amp; more'}) + '\n')
        file.write(json.dumps({'item': 'nothing known', 'title': ''}) + '\n')
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('settings', [
    {'model__method': 'grasp'},
    {'model__method': 'none', 'model__backbone': 'gru4rec', 'train__loss': 'sampled_softmax',
     'train__shared_negatives': True, 'train__negative_popularity': 0.5, 'evaluate__ks': (1, 10, 38, 500)}])
def test_items_that_nobody_bought_are_trained_beside_ranked_and_recommended(source, tmp_path, settings, caplog):
    config = tiny_config(source, data__keep_unsold=True, train__max_epochs=1, **settings)
    report = pipeline.run_pipeline(config, tmp_path)
    assert report['data']['items'] == ITEMS + len(NEW) and report['stages']['prepare']['unsold'] == len(NEW)
    assert '2 items of the catalogue have no purchase.' in (tmp_path / 'report.md').read_text()
    said = [line for line in caplog.messages if 'evaluate.ks' in line]
    if 'evaluate__ks' in settings:
        assert said == ['evaluate.ks: the catalogue has 38 items, so every target is a hit at 38, 500 and lists '
                        'are no longer than that; leave such numbers out, as evaluate.ks="(1,10)"']
        assert report['test']['full']['HR@500'] == report['test']['full']['HR@38'] == 1
    else:
        assert not said
    model = Recommender.load(tmp_path)
    assert list(model.item_ids[-2:]) == sorted(NEW) and item_id(0) in model.item_ids
    lists = model.recommend(users=model.user_ids, k=20)
    assert set(lists.item_id) & set(NEW) and np.isfinite(lists.score).all()


def test_without_the_setting_they_are_not_there(source, tmp_path):
    config = tiny_config(source)
    assert list(pipeline.prepare_data(config, tmp_path / 'all').item_ids) == sorted(map(item_id, range(ITEMS)))


@pytest.mark.parametrize(('lines', 'words'), [
    (None, 'name a table of items with data.items_file=FILE'),
    (['{"item": "other", "title": "Other"}'], r"others.jsonl describes none of them: the interactions have 'a/b .*' "
     r"and it has 'other': give the table of these items \(data.items_file\) or write ids alike"),
    ([json.dumps({'item': f'"I{number:03d}"', 'title': 'Other'}) for number in range(36)],
     r"others.jsonl describes none of them: the interactions have 'i000' and it has '\"I000\"' \(ids that differ "
     r'only in leading zeros, .*: 35\): write ids alike'),
    ([json.dumps({'item': item_id(number), 'title': ''}) for number in range(36)],
     'others.jsonl has their ids and no value beside them: fill its other columns')])
def test_a_method_that_reads_texts_is_refused_before_any_is_written(source, tmp_path, lines, words):
    if lines:
        (source / 'others.jsonl').write_text('\n'.join(lines) + '\n')
    config = tiny_config(source, model__method='grasp', data__items_file='others.jsonl' if lines else '')
    with pytest.raises(UserError, match=f'nothing is known about any of its 36 items, and method grasp reads texts .*'
                                        f'{words}, or train on the interactions alone with model.method=none') as error:
        pipeline.run_pipeline(config, tmp_path)
    assert 'beauty' not in str(error.value) and not (tmp_path / 'describe').exists()
    assert (tmp_path / 'prepare').exists()


def test_a_domain_that_reads_none_of_the_columns_is_refused(source, tmp_path):
    lines = [json.dumps({'item': item_id(item), 'genres': f'g{item}'}) for item in range(ITEMS)]
    (source / 'genres.jsonl').write_text('\n'.join(lines))
    config = tiny_config(source, data__items_file='genres.jsonl', text__domain='beauty')
    with pytest.raises(UserError, match='its items have genres, and texts of the domain beauty are made of brand, .*'
                                        'text.domain=shop'):
        pipeline.run_pipeline(config, tmp_path)
    assert not (tmp_path / 'describe').exists()

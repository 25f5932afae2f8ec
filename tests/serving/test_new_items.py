"""Items by their texts alone, ready at once; and what is refused."""

import numpy as np
import pandas as pd
import pytest

import grasp_jax
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed
from grasp_jax.config.saved_config import load as load_config
from grasp_jax.serving import new_items
from grasp_jax.serving.extension import Extension, identity
from grasp_jax.texts import domains
from grasp_jax.texts.prompts import item_text
from grasp_jax.vectors import vector_files

NEW = {'item': 'new', 'title': 'thing03 of shelf0 and row3', 'brand': 'brand0'}


def load(path):
    return grasp_jax.Recommender.load(path)


@pytest.mark.parametrize('name', ['gated', 'plain'])
def test_an_item_of_the_same_text_stands_where_its_twin_does(name, request):
    model = load(request.getfixturevalue(name))
    twin = dict(model._assets.item_attributes[model.item_ids.index('i003')])
    assert model.add_items([{'item': 'twin', **twin}]) == ['twin']
    known = model._assets.vectors
    own, _ = model._engine.catalogue.vectors(np.array([len(model.item_ids)]))
    np.testing.assert_allclose(own[0], known.items[model.item_ids.index('i003') + 1], atol=1e-5)
    assert model.recommend_to_items(['twin'], k=1).item_id[0] == 'i003' or name == 'plain'
    lists = model.recommend(users=['u00'], k=100)
    assert 'twin' in set(lists.item_id)
    assert model.titles['twin'] == twin['title']


def test_what_a_page_leaves_in_texts_is_cleaned_as_in_the_catalogue(plain):
    config, _ = load_config(plain)
    (_, clean), (_, nothing) = new_items.records([
        {'item': 'a', 'title': 'Salt &amp; Pepper <b>set</b>', 'features': ['for 2 &lt; 3 cups', 'n/a']},
        {'item': 'b', 'title': 'NaN', 'brand': 'P.when("A").execute(function(A) { A.on("x"); });'}], config)
    assert clean == {'title': 'Salt & Pepper set', 'features': ['for 2 < 3 cups']} and nothing == {}


def test_neighbours_means_are_those_of_the_nearest_known_items(gated):
    model = load(gated)
    model.add_items(pd.DataFrame([NEW]))
    catalogue, known = model._engine.catalogue, model._assets.vectors
    own, similar = catalogue.vectors(np.array([len(model.item_ids)]))
    unit = known.items[1:] / np.maximum(np.linalg.norm(known.items[1:], axis=1, keepdims=True), 1e-12)
    nearest = 1 + np.argsort(-(unit @ own[0]), kind='stable')[:4]
    assert set(catalogue.neighbours(len(model.item_ids))) == set(nearest)
    np.testing.assert_allclose(similar[0], known.items[nearest].mean(0), rtol=1e-5)


def test_ids_of_new_items_are_made_of_their_neighbours(plain):
    """A combination of them, in which nearer ones weigh more, somewhat longer than they are."""
    model = load(plain)
    model.add_items([NEW])
    catalogue = model._engine.catalogue
    embedding = np.asarray(catalogue.arrays.params['encoder']['embedding'])
    number = len(model.item_ids)
    known = embedding[catalogue.neighbours(number)]
    weights, *_ = np.linalg.lstsq(known.T, embedding[number], rcond=None)
    np.testing.assert_allclose(weights @ known, embedding[number], atol=1e-5)
    assert (np.diff(weights) <= 1e-5).all() and (weights > 0).all()
    lengths = np.linalg.norm(known, axis=1)
    assert 1.2 * lengths.min() < np.linalg.norm(embedding[number]) < 1.4 * lengths.max()


def test_an_item_without_neighbours_has_no_id():
    more = Extension(np.ones((1, 3)), np.ones((1, 3)), np.zeros((1, 2), int), np.zeros((1, 2)))
    assert not identity(np.ones((5, 4)), more).any()


def test_others_scores_stay_what_they_are(gated):
    model, before = load(gated), load(gated).recommend(users=['u01'], k=100)
    model.add_items([NEW, {**NEW, 'item': 'newer'}])
    after = model.recommend(users=['u01'], k=100)
    assert set(after.item_id) - set(before.item_id) == {'new', 'newer'}
    both = before.merge(after, on='item_id')
    np.testing.assert_allclose(both.score_x, both.score_y, rtol=1e-5)


def test_more_new_items_than_there_is_room_for(plain):
    model = load(plain)
    places = model._engine.catalogue.places
    many = [{**NEW, 'item': f'new {number}'} for number in range(places)]
    model.add_items(many[:5])
    early = model.recommend(users=['u01'], k=1000)
    model.add_items(many[5:])
    late = model.recommend(users=['u01'], k=1000)
    assert model._engine.catalogue.places > places and len(late) == len(early) + len(many) - 5
    both = early.merge(late, on='item_id')
    np.testing.assert_allclose(both.score_x, both.score_y, rtol=1e-5)


def test_a_new_item_may_stand_in_a_history(gated):
    model = load(gated)
    model.add_items([NEW])
    lists = model.recommend(histories=[['i001', 'new']], k=5)
    assert 'new' not in set(lists.item_id) and len(lists) == 5


@pytest.mark.parametrize(('rows', 'words'), [
    ([], 'there are none'), ([{'title': 'x'}], "no column 'item'"), ([{'item': '', 'title': 'x'}], 'row 1: the id'),
    ([NEW, NEW], "row 2: id 'new'"), ([{**NEW, 'item': 'i001'}], "'i001': is known already"),
    ([{'item': 'x', 'title': 'zzz qqq'}], None), (['new'], 'mappings')])
def test_what_cannot_be_added_is_refused_and_nothing_changes(gated, rows, words):
    model = load(gated)
    if words is None:  # its template has words that others have, so it says something
        model.add_items(rows)
        return
    with pytest.raises(UserError, match=words):
        model.add_items(rows)
    assert 'new' not in model.item_ids


def test_a_long_text_is_cut_as_those_of_known_items_are(gated):
    config = changed(load_config(gated)[0], {'text.max_chars': 60})
    text, = new_items.texts_of([('new', {'title': 'thing03 of shelf0 and row3', 'brand': 'brand0'})], config)
    whole = item_text({'title': NEW['title'], 'brand': 'brand0'}, domains.load(config.text.domain))
    assert 0 < len(text) <= 60 < len(whole) and whole.startswith(f'{text} ')  # ends with a whole word


def test_ids_alone_cannot_be_added(untrained):
    with pytest.raises(UserError, match='method none knows items by id alone'):
        load(untrained(model__method='none')).add_items([NEW])


def test_precomputed_vectors_are_asked_for(untrained, tmp_path, gated):
    known = load(gated)._assets
    raw = np.array(known.vectors.items[1:], np.float32)
    np.save(tmp_path / 'items.npy', raw)
    (tmp_path / 'ids.txt').write_text('\n'.join(known.item_ids), encoding='utf-8')
    model = load(untrained(encode__kind='precomputed', encode__item_vectors=str(tmp_path / 'items.npy'),
                           encode__item_ids=str(tmp_path / 'ids.txt')))
    with pytest.raises(UserError, match='give them as `vectors`'):
        model.add_items([NEW])
    with pytest.raises(UserError, match=r'are \[1, 3\]; give 1 rows of'):
        model.add_items([NEW], vectors=np.ones((1, 3)))
    model.add_items([NEW], vectors=raw[4:5])
    own, _ = model._engine.catalogue.vectors(np.array([len(model.item_ids)]))
    np.testing.assert_allclose(own[0], np.load(model._assets.stages / 'encode' / vector_files.ITEMS)[5], atol=1e-6)

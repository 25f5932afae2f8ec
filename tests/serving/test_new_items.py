"""Items by their texts alone, ready at once; and what is refused."""

import re

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


@pytest.mark.slow
@pytest.mark.parametrize('name', ['gated', 'plain'])
def test_an_item_of_the_same_text_stands_where_its_twin_does(name, request):
    model = load(request.getfixturevalue(name))
    twin = dict(model._assets.item_attributes[model.item_ids.index('i003')])
    assert model.add_items([{'item': 'twin', **twin}]) == ['twin']
    known = model._assets.vectors
    own, _ = model._engine.catalogue.vectors(np.array([len(model.item_ids)]))
    np.testing.assert_allclose(own[0], known.items[model.item_ids.index('i003') + 1], atol=1e-5)
    assert model._engine.catalogue.neighbours(len(model.item_ids))[0] == model.item_ids.index('i003') + 1
    # The model also reads the mean of the neighbours. Its twin is one of them here and not there, so it stands near by:
    # which of the nearest three of 40 is first depends on the last digits of a model of two epochs.
    assert 'i003' in set(model.recommend_to_items(['twin'], k=3).item_id) or name == 'plain'
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


@pytest.mark.slow
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
    ([NEW, NEW], "row 2: id 'new'"), ([{**NEW, 'item': 'i001'}], "'i001': is known already"), (['new'], 'mappings'),
    ([{'item': 'x', 'title': 'zzz qqq'}], "'x' .1 of 1 are so.: its text says nothing to the encoder lsa"),
    ([NEW, {'item': 'x', 'title': 'zzz', 'brand': 'name'}], "'x' .1 of 2 are so.: its text says nothing"),
    ([NEW, {'item': 'x', 'text': 'zzz'}], "'x' .1 of 2 are so.: its text says nothing"),
    ([NEW, {'item': 'x', 'titel': 'thing03'}], "'x' .1 of 2 .*no value for any .* title, brand; it has titel: write"),
    ([{'Item': 'x', 'Name': 'thing03', 'Preis': 3}], 'are title, brand; it has name, preis: write'),
    ([{'item': 'x', 'title': '', 'brand': None}], 'it has nothing but its id'),
    ([{'item': 'x', 'title': 'n/a', 'brand': float('nan')}], 'it has nothing but its id'),
    ([{'item': 'x', 'title': 'thing03', 'Title': 'thing04'}], "row 1: has two columns 'title'"),
    ([{'item': 'x'}, {'item': 'y'}], "'x' .2 of 2 are so.: has no value")])
def test_what_cannot_be_added_is_refused_and_nothing_changes(gated, rows, words):
    model = load(gated)
    with pytest.raises(UserError, match=words):
        model.add_items(rows)
    assert not {'new', 'x', 'y'} & set(model.item_ids)


@pytest.mark.slow
def test_an_attribute_that_goes_into_no_text_does_not_describe_an_item(untrained):
    model = load(untrained(text__leave_out='brand'))
    with pytest.raises(UserError, match='which are title; it has brand'):
        model.add_items([{'item': 'x', 'brand': 'brand0'}])
    assert model.add_items([NEW]) == ['new']


@pytest.mark.parametrize(('row', 'words'), [
    ({**NEW, 'titel': 'a', 'farbe': 'rot'}, r"no item of the run has 'titel', 'farbe' .* they have title, brand"),
    ({'item': 'new', 'brand': 'brand0'}, r"'new': has no title \(1 of 1 new items have none\)"),
    ({'item': 'new', 'text': 'thing03'}, r"'new': has no title"),
    ({**NEW, 'title': 'zzz qqq'}, r"'new': no item of the run has a word of its title 'zzz qqq'")])
def test_what_is_not_read_of_a_new_item_is_said_in_one_line(gated, caplog, row, words):
    model = load(gated)
    caplog.clear()
    assert model.add_items([row]) == ['new']
    line, = [record.getMessage() for record in caplog.records if record.levelname == 'WARNING']
    assert re.search(words, line)


def test_what_other_items_do_not_have_does_not_move_a_new_one(gated):
    one, other = load(gated), load(gated)
    one.add_items([NEW])
    other.add_items([{**NEW, 'farbe': 'thing20 of shelf3'}])
    assert one.recommend(users=['u01'], k=100).equals(other.recommend(users=['u01'], k=100))


def test_of_ordinary_items_nothing_is_said(gated, caplog):
    model = load(gated)
    caplog.clear()
    model.add_items(pd.DataFrame([NEW, {'item': 'newer', 'Title': 'thing04', 'brand': None}]))
    assert not [record for record in caplog.records if record.levelname == 'WARNING']
    assert model.titles['newer'] == 'thing04'


@pytest.mark.parametrize('spelling', ['001658', 'I001', ' i001\u200b', '1658.0', 1658.0, 1658])
def test_a_known_id_written_otherwise_is_refused_with_the_pair(gated, spelling):
    model = load(gated)
    model.add_items([{**NEW, 'item': '01658'}])
    twin = '01658' if '1658' in str(spelling) else 'i001'
    with pytest.raises(UserError, match=f"'{twin}' is known, and they differ only in leading zeros"):
        model.add_items([{**NEW, 'item': spelling}])
    assert model.item_ids[-1] == '01658'


def test_two_spellings_of_one_new_id_are_refused(gated):
    with pytest.raises(UserError, match="'1658': '01658' is new as well, and they differ only in"):
        load(gated).add_items([{**NEW, 'item': '01658'}, {**NEW, 'item': '1658'}])


def test_whole_numbers_that_a_table_holds_as_floats_are_whole_ids(gated):
    assert load(gated).add_items(pd.DataFrame({'item': [17.0, 18.0], 'title': 'thing03'})) == ['17', '18']


@pytest.mark.slow
def test_the_command_refuses_and_warns_as_well(gated, module, tmp_path):
    table = tmp_path / 'new.csv'
    table.write_text('Artikel,Name,Preis\nx,thing03 of shelf0,3\n')
    found = module('recommend', f'--workdir={gated}', f'--new_items={table}', '--n=1')
    assert found.returncode == 2 and "have no column 'item'" in found.stderr
    table.write_text('item,Name,Preis\nx,thing03 of shelf0,3\n')
    found = module('recommend', f'--workdir={gated}', f'--new_items={table}', '--n=1')
    assert found.returncode == 2 and 'which are title, brand; it has name, preis' in found.stderr
    table.write_text('item,title,Preis\nx,thing03 of shelf0,3\n')
    found = module('recommend', f'--workdir={gated}', f'--new_items={table}', '--n=1')
    assert found.returncode == 0 and found.stderr.count("no item of the run has 'preis'") == 1


@pytest.mark.slow
def test_a_long_text_is_cut_as_those_of_known_items_are(gated):
    config = changed(load_config(gated)[0], {'text.max_chars': 60})
    text, = new_items.texts_of([('new', {'title': 'thing03 of shelf0 and row3', 'brand': 'brand0'})], config)
    whole = item_text({'title': NEW['title'], 'brand': 'brand0'}, domains.load(config.text.domain))
    assert 0 < len(text) <= 60 < len(whole) and whole.startswith(f'{text} ')  # ends with a whole word


@pytest.mark.slow
def test_ids_alone_cannot_be_added(untrained):
    with pytest.raises(UserError, match='method none knows items by id alone'):
        load(untrained(model__method='none')).add_items([NEW])


@pytest.mark.slow
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
    with pytest.raises(UserError, match="'new': its vector is zero or the mean of all"):
        model.add_items([NEW], vectors=np.zeros_like(raw[4:5]))
    model.add_items([NEW], vectors=raw[4:5])
    own, _ = model._engine.catalogue.vectors(np.array([len(model.item_ids)]))
    np.testing.assert_allclose(own[0], np.load(model._assets.stages / 'encode' / vector_files.ITEMS)[5], atol=1e-6)

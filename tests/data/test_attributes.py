"""Rows that describe items: twice, or with words for nothing."""

import json

import pytest

from grasp_jax.data import own_tables


def read(tmp_path, config, text, wanted, name='i.csv'):
    (tmp_path / name).write_text(text)
    return own_tables.read_attributes(tmp_path / name, config, 'item_column', wanted)


def test_of_an_item_described_twice_the_fuller_row_counts(tmp_path, config, caplog):
    text = 'product,title,size\na,Shirt,\nb,Sock,1\na,Shirt,S\nb,Sock,2\nb,Sock,3\na,Shirt,M\nz,,\nz,Cap,\n'
    assert read(tmp_path, config, text, {'a', 'b'}) == {
        'a': {'title': 'Shirt', 'size': 'S'}, 'b': {'title': 'Sock', 'size': '1'}}
    assert len(caplog.messages) == 1
    assert "4 rows describe ids of column 'product' again and differently, as row 3 'a'; the fullest row" in caplog.text
    assert 'here row 3' in caplog.text


def test_a_row_full_of_nothing_is_not_the_fuller_one(tmp_path, config):
    found = read(tmp_path, config, 'product,title,size,cut\na,Shirt,,\na,nan,nan,nan\n', {'a'})
    assert found == {'a': {'title': 'Shirt'}}


@pytest.mark.parametrize('word', ['None', 'nan', 'NaN', 'null', 'N/A', 'n/a', '#N/A', 'undefined', '-', r'\N', '<NA>'])
def test_words_for_nothing_are_empty(tmp_path, config, caplog, word):
    assert read(tmp_path, config, f'product,title,brand\na,{word},B\nb,T,{word}\n', {'a', 'b'}) == {
        'a': {'brand': 'B'}, 'b': {'title': 'T'}}
    assert f'2 values read as nothing, as {word!r} in column \'title\' of row 1' in caplog.text
    line = json.dumps({'product': 'a', 'title': 'T', 'categories': ['x', word], 'tags': [word]})
    assert read(tmp_path, config, line, {'a'}, 'i.jsonl') == {'a': {'title': 'T', 'categories': ['x']}}


def test_unknown_is_a_title_once_and_nothing_twice(tmp_path, config, caplog):
    found = read(tmp_path, config, 'product,title,brand\na,Unknown,unknown\nb,Nana,Unknown\nc,Nonesuch,N\n', 'abc')
    assert found == {'a': {'title': 'Unknown'}, 'b': {'title': 'Nana'}, 'c': {'title': 'Nonesuch', 'brand': 'N'}}
    assert len(caplog.messages) == 1 and "2 values read as nothing, as 'unknown' in column 'brand'" in caplog.text


def test_messages_name_columns_as_the_table_does(tmp_path, config, caplog):
    config.item_column = 'Artikel'
    found = read(tmp_path, config, 'Artikel, Marke ,Größe\na,N/A,S\na,,\nb,B,nan\n', {'a', 'b'})
    assert found == {'a': {'größe': 'S'}, 'b': {'marke': 'B'}}
    assert "1 rows describe ids of column 'Artikel' again and differently, as row 2 'a'" in caplog.text
    assert "2 values read as nothing, as 'N/A' in column 'Marke' of row 1" in caplog.text

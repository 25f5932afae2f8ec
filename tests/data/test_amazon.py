"""Amazon dumps: three layouts, and what is wrong with files that come from outside."""

import gzip
import json

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import amazon

OLD, NEWER, NEWEST = (amazon.LAYOUTS[year] for year in ('2014', '2018', '2023'))


def write(path, lines):
    text = ''.join((line if isinstance(line, str) else json.dumps(line)) + '\n' for line in lines)
    if path.suffix == '.gz':
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def review(layout, user='u1', item='i1', time=7):
    return {layout.user: user, layout.item: item, layout.time: time, 'rating': 5}


@pytest.mark.parametrize('layout', [OLD, NEWER, NEWEST])
@pytest.mark.parametrize('name', ['r.json.gz', 'r.jsonl'])
def test_reviews_of_every_layout(tmp_path, layout, name):
    path = write(tmp_path / name, [review(layout, 'b', 'y', 3), '', review(layout, 'a', 'x', '2'),
                                   review(layout, 'b', 'x', 1.0)])
    log = amazon.read_reviews(path, layout)
    assert (log.user_ids, log.item_ids) == (['a', 'b'], ['x', 'y'])
    assert (log.users.tolist(), log.items.tolist(), log.times.tolist()) == ([1, 0, 1], [1, 0, 0], [3, 2, 1])


def test_metadata_of_2014_is_a_python_literal_or_json(tmp_path):
    path = write(tmp_path / 'm.json', [
        "{'asin': 'i1', 'title': \"It's A &amp; B\", 'price': 12.5, 'brand': 'Q', 'description': 'x\\n y',"
        " 'categories': [['Beauty', 'Hair'], ['Beauty', 'Nails']], 'related': {'also_bought': ['i2']}}",
        {'asin': 'i2', 'title': 'T', 'brand': None, 'price': float('nan')},
        "{'asin': 'i3', 'title': 'nobody asked'}"])
    assert amazon.read_metadata(path, OLD, ['i1', 'i2', 'i9']) == {
        'i1': {'title': "It's A & B", 'price': '12.5', 'brand': 'Q', 'description': 'x y',
               'categories': ['Beauty', 'Hair', 'Nails']},
        'i2': {'title': 'T'}}


def test_metadata_of_2018_and_2023(tmp_path):
    path = write(tmp_path / 'm.json.gz', [{
        'asin': 'i1', 'title': '<b>T</b>', 'brand': 'Q', 'price': '.a-box-inner{color:#fff}',
        'feature': ['f', 'g'],
        'category': ['A', 'B'], 'description': ['one', 'two']}, {'asin': 'i2', 'price': '$1.50 - $2.50'}])
    assert amazon.read_metadata(path, NEWER, ['i1', 'i2']) == {
        'i1': {'title': 'T', 'brand': 'Q', 'features': ['f', 'g'], 'categories': ['A', 'B'], 'description': 'one two'},
        'i2': {'price': '$1.50 - $2.50'}}
    path = write(tmp_path / 'm.jsonl', [
        {'parent_asin': 'i1', 'title': 'T', 'store': 'Q', 'price': 3.0, 'features': [], 'categories': ['A'],
         'description': [], 'details': {'Brand': 'R'}},
        {'parent_asin': 'i2', 'store': None, 'details': {'Brand': 'R'}}])
    assert amazon.read_metadata(path, NEWEST, ['i1', 'i2']) == {
        'i1': {'title': 'T', 'brand': 'Q', 'price': '3.0', 'categories': ['A']}, 'i2': {'brand': 'R'}}


def test_surrogates_are_joined_or_replaced_in_json_and_in_literals(tmp_path):
    smile, half = b'\xed\xa0\xbd\xed\xb8\x80', b'\xed\xa0\xbd'
    path = tmp_path / 'r.json'
    path.write_bytes(b'{"reviewerID": "u%s", "asin": "i", "unixReviewTime": 1}\n' % smile)
    assert amazon.read_reviews(path, OLD).user_ids == ['u\U0001f600']
    path.write_bytes(b'{"asin": "a", "title": "x %s"}\n' % half +
                     b"{'asin': 'b', 'title': 'x %s %s', 'brand': '\\ud83d'}\n" % (smile, half))
    assert amazon.read_metadata(path, OLD, ['a', 'b']) == {
        'a': {'title': 'x \ufffd'}, 'b': {'title': 'x \U0001f600 \ufffd', 'brand': '\ufffd'}}


def test_nothing_in_metadata_is_executed(tmp_path):
    path = write(tmp_path / 'm.json', ["{'asin': 'i1', 'title': __import__('os').getcwd()}"])
    with pytest.raises(UserError, match='line 1: holds no JSON object'):
        amazon.read_metadata(path, OLD, ['i1'])


def test_the_fullest_description_of_an_item_counts_and_the_first_of_equals(tmp_path, caplog):
    path = write(tmp_path / 'm.json', [{'asin': 'i1', 'title': 'T'}, {'asin': 'i1', 'title': 'T', 'imUrl': 'x'}])
    assert amazon.read_metadata(path, OLD, ['i1']) == {'i1': {'title': 'T'}} and not caplog.text
    write(path, [{'asin': 'i1', 'title': 'T'}, {'asin': 'i2'}, {'asin': 'i1', 'title': 'S'},
                 {'asin': 'i2', 'title': 'U', 'brand': 'Q'}, {'asin': 'i2', 'title': 'V'}])
    assert amazon.read_metadata(path, OLD, ['i1', 'i2']) == {'i1': {'title': 'T'}, 'i2': {'title': 'U', 'brand': 'Q'}}
    assert 'm.json: 3 lines describe an item again and differently, as line 3 \'i1\'' in caplog.text


@pytest.mark.parametrize(('read_as', 'line', 'words'), [
    ('2018', review(NEWEST), "fields of the layout 2023 .user_id, parent_asin, timestamp., not of 2018 .*layout=2023"),
    ('2014', review(NEWEST) | {'asin': 'i1'}, 'layout 2023 .*layout=2023'),
    ('2023', review(OLD), 'layout 2014 .reviewerID, asin, unixReviewTime., not of 2023 .*layout=2014'),
    ('2023', review(NEWER) | {'verified': True}, 'layout 2018 .*layout=2018'),
    ('2018', {'asin': 'i1', 'title': 'T', 'brand': 'B'}, 'describes a product .*data.interactions_file'),
    ('2023', {'parent_asin': 'i1', 'title': 'T'}, 'describes a product'),
    ('2014', {'user': 'u', 'item': 'i', 'time': 1}, 'none of the fields .*data.kind=table'),
    ('2023', 'u1,i1,5.0,1234567890', 'is a table with commas .*data.kind=table'),
])
def test_reviews_of_another_layout_are_named_with_the_setting(tmp_path, read_as, line, words):
    layout = amazon.LAYOUTS[read_as]
    for lines in ([line], [review(layout), line]):
        with pytest.raises(UserError, match=words) as error:
            amazon.read_reviews(write(tmp_path / 'r.jsonl', lines), layout)
        assert 'delete' not in str(error.value) and '\n' not in str(error.value)


@pytest.mark.parametrize(('read_as', 'record', 'remedy'), [
    ('2018', {'parent_asin': 'i1', 'title': 'T'}, '2023'), ('2023', {'asin': 'i1', 'title': 'T'}, '2014'),
    ('2023', {'asin': 'i1', 'title': 'T', 'also_buy': []}, '2018')])
def test_metadata_of_another_layout_is_named_with_the_setting(tmp_path, read_as, record, remedy):
    path = write(tmp_path / 'm.jsonl', [record])
    with pytest.raises(UserError, match=f'line 1: has the fields of the layout {remedy} .*data.layout={remedy}'):
        amazon.read_metadata(path, amazon.LAYOUTS[read_as], ['i1'])


def test_lists_and_objects_that_are_text(tmp_path):
    path = write(tmp_path / 'm.jsonl', [
        {'parent_asin': 'i1', 'store': None, 'details': '{"Brand": "R", "UPC": "1"}', 'categories': '["A", "B"]'},
        {'parent_asin': 'i2', 'store': '', 'details': "{'Brand': 'S'}", 'description': "['one', 'two']"},
        {'parent_asin': 'i3', 'details': '{"Brand": ', 'description': '[sic] a word {of} it', 'price': 'None'}])
    assert amazon.read_metadata(path, NEWEST, ['i1', 'i2', 'i3']) == {
        'i1': {'brand': 'R', 'categories': ['A', 'B']}, 'i2': {'brand': 'S', 'description': 'one two'},
        'i3': {'description': '[sic] a word {of} it'}}


def test_scripts_are_no_titles_and_entities_are_read(tmp_path, caplog):
    script = 'var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();'
    path = write(tmp_path / 'm.json', [
        {'asin': 'i1', 'title': script, 'brand': 'Q'},
        {'asin': 'i2', 'title': 'Salt &amp;amp; Pepper&#39;s', 'description': ['<style>.a{b:c}</style>Good.<br>Yes.']},
        {'asin': 'i3', 'title': '.a-box-inner{background-color:#fff}'},
        {'asin': 'i4', 'title': 'T', 'description': '<script>f();</script> Fine &lt;b&gt;pen&lt;/b&gt;'}])
    assert amazon.read_metadata(path, NEWER, ['i1', 'i2', 'i3', 'i4']) == {
        'i1': {'brand': 'Q'}, 'i2': {'title': "Salt & Pepper's", 'description': 'Good. Yes.'}, 'i3': {},
        'i4': {'title': 'T', 'description': 'Fine pen'}}
    assert 'the titles of 2 items are scripts or style sheets of a page' in caplog.text


def test_metadata_of_another_category_is_said(tmp_path, caplog):
    path = write(tmp_path / 'm.json', [{'asin': 'i1', 'title': 'T'}])
    amazon.read_metadata(path, NEWER, ['i1', 'i2'])
    assert not caplog.text
    amazon.read_metadata(path, NEWER, ['i1', 'i2', 'i3'])
    assert "describes 1 of the 3 items in the reviews, not 'i2'" in caplog.text


@pytest.mark.parametrize(('line', 'words'), [
    ({'asin': 'i1', 'unixReviewTime': 7}, 'line 2: reviewerID is None'),
    (review(OLD, user=''), "line 2: reviewerID is ''"),
    (review(OLD, user=5), 'line 2: reviewerID is 5'),
    (review(OLD, item=None), 'line 2: asin is None'),
    (review(OLD, time='yesterday'), "line 2: unixReviewTime is 'yesterday', not a number"),
    (review(OLD, time=float('nan')), 'line 2: unixReviewTime is nan'),
    (review(OLD, time=None), 'line 2: unixReviewTime is None'),
    (review(OLD, time=10**30), 'line 2: unixReviewTime is 1000'),
    ('[1, 2]', 'line 2: holds no JSON object'),
    ('{"reviewerID": "u1", "as', 'line 2: holds no JSON object'),
    ('7', 'line 2: holds no JSON object'),
])
def test_a_wrong_review_is_named_by_file_and_line(tmp_path, line, words):
    path = write(tmp_path / 'r.jsonl', [review(OLD), line])
    with pytest.raises(UserError, match=words) as error:
        amazon.read_reviews(path, OLD)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


def test_unreadable_files(tmp_path):
    whole = gzip.compress(b''.join(json.dumps(review(OLD, f'u{row}')).encode() + b'\n' for row in range(5000)))
    path = tmp_path / 'r.jsonl.gz'
    damaged = whole[:2000] + b'\0\1\2\3' * 50 + whole[2200:]
    for content in (whole[:len(whole) // 2], whole[:-4], damaged, b'plain text\n'):
        path.write_bytes(content)
        with pytest.raises(UserError, match='r.jsonl.gz') as error:
            amazon.read_reviews(path, OLD)
        assert '\n' not in str(error.value)
    path.write_bytes(gzip.compress(b''))
    with pytest.raises(UserError, match='holds no interactions'):
        amazon.read_reviews(path, OLD)
    with pytest.raises(UserError, match='cannot be read'):
        amazon.read_reviews(tmp_path / 'none.jsonl', OLD)

"""A person's own tables."""

import datetime
import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables

pytestmark = pytest.mark.usefixtures('blocks')
ROWS = pd.DataFrame({'customer': ['007', '1', '007'], 'product': ['b', 'a', 'a'],
                     'when': [2**60 + 1, 5, 2**60 + 2], 'note': ['x', '', 'y']})


@pytest.mark.parametrize('name', ['r.csv', 'r.csv.gz', 'r.tsv', 'r.parquet', 'r.jsonl', 'r.jsonl.gz'])
def test_interactions_read_the_same_from_every_format(save, tmp_path, config, name):
    log = own_tables.read_interactions(save(ROWS, tmp_path / name), config)
    assert (log.user_ids, log.item_ids) == (['007', '1'], ['a', 'b'])
    assert (log.users.tolist(), log.items.tolist()) == ([0, 1, 0], [1, 0, 0])
    assert log.times.tolist() == [2**60 + 1, 5, 2**60 + 2]  # whole: not rounded to float64


def test_numeric_ids_and_fractional_or_calendar_times(save, tmp_path, config):
    frame = pd.DataFrame({'customer': [3, 20], 'product': [1, 1], 'when': [0.5, 0.25]})
    log = own_tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config)
    assert log.user_ids == ['20', '3'] and log.times.tolist() == [0.5, 0.25]
    frame['when'] = pd.to_datetime(['2024-01-02', '2024-01-01'])
    log = own_tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config)
    assert np.issubdtype(log.times.dtype, np.integer) and log.times[0] > log.times[1]


@pytest.mark.parametrize(('text', 'words'), [
    ('customer,product,when\nu,i,1\n,i,2\n', "row 2: column 'customer' is empty; give the id"),
    ('customer,product,when\nu,  ,1\n', "row 1: column 'product' is empty"),
    ('customer,product,when\nu,i,1\nu,i,noon\n', "row 2: column .when. is .noon., not a time"),
    ('customer,product,when\nu,i,nan\n', "row 1: column .when. is 'nan'"),
    ('customer,product,when\nu,i,inf\n', "row 1: column .when. is 'inf'"),
    ('customer,product,when\nu,i,\n', "row 1: column .when. is ''"),
    ('customer,product,when\nu,i\n', 'row 1: column .when. is'),
    ('user,product,when\nu,i,1\n', r"no column 'customer' \(it has user, product, when\); set data.user"),
    ('customer,product,date\nu,i,1\n', "has no column 'when'"),
    ('customer,product,when\n', 'holds no interactions'),
    ('customer;product;when\nu;i;1\n', r"parted by ';' \(3 of them\); part them by commas"),
    ('"customer"\t"product"\t"when"\nu\ti\t1\n', 'by tabs in a file called .tsv'),
    ('customer,product,when\nu,i,2024-01-02\nu,j,2024-01-02 03:04:05Z\nu,i,2024-01-03T00:00\n',
     "row 3: column 'when' is '2024-01-03T00:00', without an offset from UTC"),
    ('customer,product,when\nu,caf\udce9,1\n', r'r\.csv: is not UTF-8 \(byte 0xe9\); save it as UTF-8'),
    ('', 'cannot be read as csv'),
    ('customer,product,when\nu,i,1\nu,i,2,3,4\n', 'cannot be read as csv'),
    ('customer,product,when\nu,i,1,9\nu,i,2,9\n', 'its rows have more cells than its header'),
    ('customer,product,when\nu,i,1,\nu,i,2,\n', 'take away what separates at the ends of rows'),
])
def test_a_wrong_table_is_named_by_file_and_row(tmp_path, config, text, words):
    path = tmp_path / 'r.csv'
    path.write_text(text, 'utf-8', 'surrogateescape')  # a lone surrogate stands for a byte that is not UTF-8
    with pytest.raises(UserError, match=words) as error:
        own_tables.read_interactions(path, config)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['', 'Unnamed: 0'])
def test_row_numbers_of_pandas_are_no_attribute(tmp_path, config, name):
    (tmp_path / 'i.csv').write_text(f'{name},product,title\n0,a,Oil\n1,b,Soap\n')
    found = own_tables.read_attributes(tmp_path / 'i.csv', config, 'item_column', {'a', 'b'})
    assert found == {'a': {'title': 'Oil'}, 'b': {'title': 'Soap'}}


def test_a_column_twice_is_refused(tmp_path, config):
    for header in ('customer,customer,product,when', 'customer, customer ,product,when'):
        (tmp_path / 'r.csv').write_text(f'{header}\nu,v,i,1\n')
        with pytest.raises(UserError, match=r"r\.csv: has two columns 'customer'; rename one"):
            own_tables.read_interactions(tmp_path / 'r.csv', config)


def test_a_gzip_stream_that_is_damaged_inside(save, tmp_path, config):
    path = save(pd.concat([ROWS] * 2000), tmp_path / 'r.csv.gz')
    content = bytearray(path.read_bytes())
    content[30:60] = bytes(30)
    path.write_bytes(content)
    with pytest.raises(UserError, match='cannot be read as csv'):
        own_tables.read_interactions(path, config)


def test_a_column_of_parquet_that_was_an_index_is_read(save, tmp_path, config):
    log = own_tables.read_interactions(save(ROWS.set_index('customer'), tmp_path / 'r.parquet'), config)
    assert log.user_ids == ['007', '1']
    save(ROWS.set_index(pd.Index([7, 8, 9])), tmp_path / 'i.parquet')  # an index without a name is no column
    found = own_tables.read_attributes(tmp_path / 'i.parquet', config, 'item_column', ['b'])
    assert set(found['b']) == {'customer', 'when', 'note'}


@pytest.mark.parametrize('kind', [pa.binary(), pa.large_binary(), pa.binary(1), pa.string_view(), pa.binary_view(),
                                  pa.dictionary(pa.int32(), pa.binary())], ids=str)
def test_text_of_parquet_is_text_however_it_is_stored(tmp_path, config, kind):
    """Writers without strings store bytes."""
    path = tmp_path / 'r.parquet'
    texts = pa.array(['x', 'y', 'z'], pa.binary() if pa.types.is_dictionary(kind) else kind)
    texts = texts.dictionary_encode() if pa.types.is_dictionary(kind) else texts
    pyarrow.parquet.write_table(pa.table({'customer': texts, 'product': texts, 'note': texts, 'when': [1, 2, 3]}), path)
    assert own_tables.read_interactions(path, config).user_ids == ['x', 'y', 'z']
    assert own_tables.read_attributes(path, config, 'item_column', ['z'])['z']['note'] == 'z'


def test_bytes_of_parquet_that_are_no_text_are_refused(tmp_path, config):
    path = tmp_path / 'r.parquet'
    pyarrow.parquet.write_table(pa.table({'customer': [b'\xff'], 'product': ['a'], 'when': [1]}), path)
    with pytest.raises(UserError, match=r'r\.parquet: cannot be read as parquet \(.*UTF8'):
        own_tables.read_interactions(path, config)


def test_numbers_of_jsonl_stay_as_they_are_written_where_a_row_lacks_them(tmp_path, config):
    path = tmp_path / 'i.jsonl'
    path.write_text('{"product": 7, "age": 33, "gtin": 12345678901234567}\n{"product": 8}\n')
    found = own_tables.read_attributes(path, config, 'item_column', ['7', '8'])
    assert found == {'7': {'age': 33, 'gtin': 12345678901234567}, '8': {}}
    assert isinstance(found['7']['age'], int)


def test_a_whole_number_is_one_id_however_it_is_stored(save, tmp_path, config):
    path = tmp_path / 'r.jsonl'
    path.write_text(''.join(json.dumps({'customer': one, 'product': 7, 'when': 1}) + '\n' for one in (1, '1', 1.0)))
    assert own_tables.read_interactions(path, config).user_ids == ['1']
    frame = pd.DataFrame({'customer': [1.0, 2.0**53], 'product': [1, 2], 'when': [1, 2]})
    assert own_tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config).user_ids == ['1', str(2**53)]


def test_ids_that_another_table_writes_otherwise_are_said(tmp_path, config, caplog):
    path = tmp_path / 'products.csv'
    path.write_text('product,title\n1.0,Soap\n2.0,Oil\n7,Cream\n')
    own_tables.read_attributes(path, config, 'item_column', ['1.0', '7'])
    assert not caplog.messages
    own_tables.read_attributes(path, config, 'item_column', ['1', '2', '7'])
    assert 'describes 1 of the 3 ids in the interactions; they have \'1\' and this table \'1.0\'' in caplog.text


def test_a_table_that_lacks_ids_gets_no_hint_of_spelling(tmp_path, config, caplog):
    path = tmp_path / 'products.csv'
    path.write_text('product,title\nK00001,Soap\nK00002,Oil\n')
    own_tables.read_attributes(path, config, 'item_column', [f'K0000{number}' for number in range(1, 8)])
    assert "describes 2 of the 7 ids in the interactions: it lacks 'K00003'; if it is the right table" in caplog.text
    caplog.clear()
    own_tables.read_attributes(path, config, 'item_column', ['x', 'y'])
    assert "describes 0 of the 2 ids in the interactions: it lacks 'x' and begins with 'K00001'; if" in caplog.text
    assert 'two ways' not in caplog.text and 'differ only' not in caplog.text


@pytest.mark.parametrize('name', ['r.csv', 'r.csv.gz', 'r.tsv', 'r.parquet', 'r.jsonl', 'r.jsonl.gz', 'parts'])
def test_columns_that_are_not_read_are_said(save, tmp_path, config, caplog, name):
    caplog.set_level('INFO')
    frame = ROWS.assign(Menge=[1, -1, 2])
    if name == 'parts':
        (tmp_path / name).mkdir()
        save(frame, tmp_path / name / 'one.csv')
    else:
        save(frame, tmp_path / name)
    own_tables.read_interactions(tmp_path / name, config)
    said = [line for line in caplog.messages if 'not read' in line]
    assert said == [f"{tmp_path / name}: its columns 'note', 'Menge' are not read; each row counts as an interaction, "
                    'so rows that are none (returns, cancellations) have to be taken out before']
    assert not [record for record in caplog.records if record.levelname == 'WARNING']
    caplog.clear()
    save(ROWS.drop(columns='note'), tmp_path / f'clean_{name}' if name != 'parts' else tmp_path / 'clean.csv')
    own_tables.read_interactions(next(tmp_path.glob('clean*')), config)
    assert not [line for line in caplog.messages if 'not read' in line]


def test_of_many_columns_that_are_not_read_ten_are_named(save, tmp_path, config, caplog):
    caplog.set_level('INFO')
    path = tmp_path / 'r.csv'
    save(pd.DataFrame({**ROWS.drop(columns='note'), **{f'c{number}': ['x'] * 3 for number in range(14)}}), path)
    own_tables.read_interactions(path, config)
    assert "'c9' and 4 more are not read" in caplog.text


@pytest.mark.parametrize('value', [1.5, 1e300, float('inf')])
@pytest.mark.parametrize('name', ['r.jsonl', 'r.parquet'])
def test_a_number_that_is_no_id_is_refused(save, tmp_path, config, name, value):
    frame = pd.DataFrame({'customer': [1.0, value], 'product': ['a', 'b'], 'when': [1, 2]})
    path = tmp_path / name
    if name == 'r.jsonl':
        path.write_text(''.join(json.dumps(row) + '\n' for row in frame.to_dict('records')))
    else:
        save(frame, path)
    with pytest.raises(UserError, match=rf"{name}, row 2: column 'customer' is {re.escape(str(value))}, not an id; "
                                        'write ids as text or whole numbers'):
        own_tables.read_interactions(path, config)


@pytest.mark.parametrize('value', [['a'], {'id': 'a'}])
@pytest.mark.parametrize('name', ['r.jsonl', 'r.parquet'])
def test_a_list_or_an_object_is_no_id(save, tmp_path, config, name, value):
    path = tmp_path / name
    rows = [{'customer': value, 'product': 'a', 'when': 1}]
    if name == 'r.jsonl':
        path.write_text(''.join(json.dumps(row) + '\n' for row in rows))
    else:
        save(pd.DataFrame(rows), path)
    with pytest.raises(UserError, match=rf"{name}, row 1: column 'customer' is {re.escape(str(value))}, not an id"):
        own_tables.read_interactions(path, config)


@pytest.mark.parametrize('text', ['[{"product": "a"}]', '[\n{"product": "a"}\n]', '{\n"product": "a"\n}\n'])
def test_json_that_is_not_one_object_a_line_is_said_to_be_that(tmp_path, config, text):
    (tmp_path / 'i.json').write_text(text)
    with pytest.raises(UserError, match=r'i\.json, line 1: .*; write one object a line'):
        own_tables.read_attributes(tmp_path / 'i.json', config, 'item_column', ['a'])


def test_half_of_a_surrogate_pair_is_replaced(tmp_path, config):
    path = tmp_path / 'i.jsonl'
    path.write_text('{"product": "a", "title": "polish \\ud83d", '
                    '"more": ["\\udc00", {"k\\ud83d": "\\ud83d\\ude00"}]}\n')
    assert own_tables.read_attributes(path, config, 'item_column', ['a']) == {
        'a': {'title': 'polish \ufffd', 'more': ['\ufffd', {'k\ufffd': '\U0001f600'}]}}


def test_surrogates_that_were_written_as_bytes_are_cleaned_too(tmp_path, config):
    path = tmp_path / 'i.jsonl'
    path.write_bytes(b'{"product": "\xed\xa0\xbd\xed\xb8\x80", "title": "lip gloss \xed\xa0\xbd"}\n')
    assert own_tables.read_attributes(path, config, 'item_column', ['\U0001f600']) == {
        '\U0001f600': {'title': 'lip gloss \ufffd'}}


@pytest.mark.parametrize('name', ['r.csv.gz', 'r.parquet', 'r.jsonl', 'r.xlsx', 'none.csv', 'none.parquet'])
def test_unreadable_tables(tmp_path, config, name):
    if not name.startswith('none'):
        (tmp_path / name).write_bytes(b'\x89 neither\nthis nor that \xff\n')
    with pytest.raises(UserError, match=name) as error:
        own_tables.read_interactions(tmp_path / name, config)
    assert '\n' not in str(error.value)


def test_missing_values_in_parquet_and_jsonl(save, tmp_path, config):
    frame = ROWS.assign(customer=['a', None, 'b'])
    for name, row in [('r.parquet', 2), ('r.jsonl', 2)]:
        with pytest.raises(UserError, match=f"row {row}: column 'customer' is empty"):
            own_tables.read_interactions(save(frame, tmp_path / name), config)
        with pytest.raises(UserError, match=f'row {row}: column .when. is'):
            own_tables.read_interactions(save(ROWS[:2].assign(when=['2024-01-01', None]), tmp_path / name), config)
    frame = ROWS.assign(when=[pd.Timestamp('2024-01-01'), pd.NaT, pd.Timestamp('2024-01-01')])
    with pytest.raises(UserError, match='row 2: column .when. is'):
        own_tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config)


@pytest.mark.parametrize('name', ['i.csv', 'i.parquet', 'i.jsonl'])
def test_attributes_keep_any_column_in_lower_case(save, tmp_path, config, name):
    frame = pd.DataFrame({'product': ['a', 'b', 'c'], 'Title': [' One ', 'Two', 'Three'], 'Shelf': ['x', '', None]})
    found = own_tables.read_attributes(save(frame, tmp_path / name), config, 'item_column', ['a', 'b'])
    assert found == {'a': {'title': 'One', 'shelf': 'x'}, 'b': {'title': 'Two'}}


def test_attributes_of_parquet_become_json_values(save, tmp_path, config):
    frame = pd.DataFrame({'customer': ['u'], 'age': [33], 'share': [0.5], 'likes': [['p', 'q']], 'gone': [float('nan')],
                          'born': [datetime.date(1990, 5, 1)], 'member': [True]})
    assert own_tables.read_attributes(save(frame, tmp_path / 'u.parquet'), config, 'user_column', ['u']) == {
        'u': {'age': 33, 'share': 0.5, 'likes': ['p', 'q'], 'born': '1990-05-01', 'member': True}}


@pytest.mark.parametrize(('text', 'words'), [
    ('product,title\n,T\n', "row 1: column 'product' is empty"),
    ('sku,title\na,T\n', "has no column 'product'"),
    ('product,title,Title\na,T,S\n', "two columns 'title'"),
    ('product,title\n', 'holds no rows'),
])
def test_wrong_attributes(tmp_path, config, text, words):
    path = tmp_path / 'i.csv'
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        own_tables.read_attributes(path, config, 'item_column', ['a', 'b'])


def test_identical_rows_merge(tmp_path, config):
    path = tmp_path / 'i.csv'
    path.write_text('product,title\na,T\na,T\n')
    assert own_tables.read_attributes(path, config, 'item_column', ['a']) == {'a': {'title': 'T'}}

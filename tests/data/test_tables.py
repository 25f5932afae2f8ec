"""A person's own tables and inter.txt."""

import datetime

import numpy as np
import pandas as pd
import pytest

from grasp_jax import config as config_lib
from grasp_jax.data import tables
from grasp_jax.errors import UserError

ROWS = pd.DataFrame({'customer': ['007', '1', '007'], 'product': ['b', 'a', 'a'],
                     'when': [2**60 + 1, 5, 2**60 + 2], 'note': ['x', '', 'y']})


@pytest.fixture
def config():
    data = config_lib.default().data
    data.update({'kind': 'table', 'user_column': 'customer', 'item_column': 'product', 'time_column': 'when'})
    return data


def save(frame, path):
    if path.suffix == '.parquet':
        frame.to_parquet(path)
    elif '.jsonl' in path.name:
        frame.to_json(path, orient='records', lines=True)
    else:
        frame.to_csv(path, index=False, sep='\t' if '.tsv' in path.name else ',')
    return path


@pytest.mark.parametrize('name', ['r.csv', 'r.csv.gz', 'r.tsv', 'r.parquet', 'r.jsonl', 'r.jsonl.gz'])
def test_interactions_read_the_same_from_every_format(tmp_path, config, name):
    log = tables.read_interactions(save(ROWS, tmp_path / name), config)
    assert (log.user_ids, log.item_ids) == (['007', '1'], ['a', 'b'])
    assert (log.users.tolist(), log.items.tolist()) == ([0, 1, 0], [1, 0, 0])
    assert log.times.tolist() == [2**60 + 1, 5, 2**60 + 2]  # whole: not rounded to float64


def test_numeric_ids_and_fractional_or_calendar_times(tmp_path, config):
    frame = pd.DataFrame({'customer': [3, 20], 'product': [1, 1], 'when': [0.5, 0.25]})
    log = tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config)
    assert log.user_ids == ['20', '3'] and log.times.tolist() == [0.5, 0.25]
    frame['when'] = pd.to_datetime(['2024-01-02', '2024-01-01'])
    log = tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config)
    assert np.issubdtype(log.times.dtype, np.integer) and log.times[0] > log.times[1]


@pytest.mark.parametrize('name', ['r.csv', 'r.parquet', 'r.jsonl'])
def test_iso_dates_order_like_the_moments_they_name(tmp_path, config, name):
    moments = ['2020-09-13T14:32:22.208000+00:00', '2020-09-13T15:00:00+02:00', '2020-09-14']
    frame = pd.DataFrame({'customer': ['a'] * 3, 'product': ['x', 'y', 'z'], 'when': moments})
    log = tables.read_interactions(save(frame, tmp_path / name), config)
    assert np.issubdtype(log.times.dtype, np.integer) and log.times.argsort().tolist() == [1, 0, 2]
    frame.loc[1, 'when'] = 'Sunday'
    with pytest.raises(UserError, match=r"row .*column 'when' is 'Sunday', not a time; .* ISO 8601"):
        tables.read_interactions(save(frame, tmp_path / name), config)


def test_parquet_dates_are_times(tmp_path, config):
    frame = pd.DataFrame({'customer': ['a', 'a'], 'product': ['x', 'y'],
                          'when': [datetime.date(2024, 1, 2), datetime.date(2024, 1, 1)]})
    times = tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config).times
    assert times[0] - times[1] == 24 * 3600 * 10**9


@pytest.mark.parametrize(('text', 'words'), [
    ('customer,product,when\nu,i,1\n,i,2\n', "row 2: column 'customer' is empty; give the id"),
    ('customer,product,when\nu,  ,1\n', "row 1: column 'product' is empty"),
    ('customer,product,when\nu,i,1\nu,i,noon\n', "row 2: column .when. is .noon., not a time"),
    ('customer,product,when\nu,i,nan\n', "row 1: column .when. is 'nan'"),
    ('customer,product,when\nu,i,inf\n', "row 1: column .when. is 'inf'"),
    ('customer,product,when\nu,i,\n', "row 1: column .when. is ''"),
    ('customer,product,when\nu,i\n', 'row 1: column .when. is'),
    ('user,product,when\nu,i,1\n', r"no column 'customer' \(it has user, product, when\); set --config.data.user"),
    ('customer,product,date\nu,i,1\n', "has no column 'when'"),
    ('customer,product,when\n', 'holds no interactions'),
    ('', 'cannot be read as csv'),
    ('customer,product,when\nu,i,1\nu,i,2,3,4\n', 'cannot be read as csv'),
    ('customer,product,when\nu,i,1,9\nu,i,2,9\n', 'cannot be read as csv'),
])
def test_a_wrong_table_is_named_by_file_and_row(tmp_path, config, text, words):
    path = tmp_path / 'r.csv'
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        tables.read_interactions(path, config)
    assert str(error.value).startswith(str(path)) and '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['r.csv.gz', 'r.parquet', 'r.jsonl', 'r.xlsx', 'none.csv', 'none.parquet'])
def test_unreadable_tables(tmp_path, config, name):
    if not name.startswith('none'):
        (tmp_path / name).write_bytes(b'\x89 neither\nthis nor that \xff\n')
    with pytest.raises(UserError, match=name) as error:
        tables.read_interactions(tmp_path / name, config)
    assert '\n' not in str(error.value)


def test_missing_values_in_parquet_and_jsonl(tmp_path, config):
    frame = ROWS.assign(customer=['a', None, 'b'])
    for name, row in [('r.parquet', 2), ('r.jsonl', 2)]:
        with pytest.raises(UserError, match=f"row {row}: column 'customer' is empty"):
            tables.read_interactions(save(frame, tmp_path / name), config)
    frame = ROWS.assign(when=[pd.Timestamp('2024-01-01'), pd.NaT, pd.Timestamp('2024-01-01')])
    with pytest.raises(UserError, match='row 2: column .when. is'):
        tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config)


@pytest.mark.parametrize('name', ['i.csv', 'i.parquet', 'i.jsonl'])
def test_attributes_keep_any_column_in_lower_case(tmp_path, config, name):
    frame = pd.DataFrame({'product': ['a', 'b', 'c'], 'Title': [' One ', 'Two', 'Three'], 'Shelf': ['x', '', None]})
    found = tables.read_attributes(save(frame, tmp_path / name), config, 'item_column', ['a', 'b'])
    assert found == {'a': {'title': 'One', 'shelf': 'x'}, 'b': {'title': 'Two'}}


def test_attributes_of_parquet_become_json_values(tmp_path, config):
    frame = pd.DataFrame({'customer': ['u'], 'age': [33], 'share': [0.5], 'likes': [['p', 'q']], 'gone': [float('nan')],
                          'born': [datetime.date(1990, 5, 1)], 'member': [True]})
    assert tables.read_attributes(save(frame, tmp_path / 'u.parquet'), config, 'user_column', ['u']) == {
        'u': {'age': 33, 'share': 0.5, 'likes': ['p', 'q'], 'born': '1990-05-01', 'member': True}}


@pytest.mark.parametrize(('text', 'words'), [
    ('product,title\na,T\nb,T\na,S\n', "row 3: describes product 'a' again and differently from row 1"),
    ('product,title\n,T\n', "row 1: column 'product' is empty"),
    ('sku,title\na,T\n', "has no column 'product'"),
    ('product,title,Title\na,T,S\n', "two columns 'title'"),
    ('product,title\n', 'holds no rows'),
])
def test_wrong_attributes(tmp_path, config, text, words):
    path = tmp_path / 'i.csv'
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        tables.read_attributes(path, config, 'item_column', ['a', 'b'])


def test_identical_rows_merge(tmp_path, config):
    path = tmp_path / 'i.csv'
    path.write_text('product,title\na,T\na,T\n')
    assert tables.read_attributes(path, config, 'item_column', ['a']) == {'a': {'title': 'T'}}


def test_inter_keeps_the_numeric_order_of_ids(tmp_path):
    path = tmp_path / 'inter.txt'
    path.write_text('10 9\n2 11\n10 1\n2 9\n')
    log = tables.read_inter(path)
    assert (log.user_ids, log.item_ids) == (['2', '10'], ['1', '9', '11'])
    assert (log.users.tolist(), log.items.tolist(), log.times.tolist()) == ([1, 0, 1, 0], [1, 2, 0, 1], [0, 1, 2, 3])


@pytest.mark.parametrize(('text', 'words'), [
    ('1 1\n1\n', 'line 2: .1. is not `user item`'),
    ('1 1\n1 x\n', 'line 2'), ('1 0\n', 'line 1'), ('1 99999999999999999999\n', 'line 1'),
    ('1 2 3\n', 'line 1'), ('', 'holds no interactions'),
])
def test_wrong_inter(tmp_path, text, words):
    path = tmp_path / 'inter.txt'
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        tables.read_inter(path)

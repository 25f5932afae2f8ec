"""Ids in a person's own tables: spellings, stand-ins, what spreadsheets do."""

import json
import random
import string
import uuid

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables, spellings

pytestmark = pytest.mark.usefixtures('blocks')
CLEAN = [f'u{number}' for number in range(50)]
RANDOM = random.Random(0)


def read(tmp_path, config, users, name='r.csv'):
    frame = pd.DataFrame({'customer': users, 'when': range(len(users))})
    frame['product'] = [f'p{row % 11}' for row in range(len(users))]
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith('parquet') else frame.to_csv(path, index=False)
    return own_tables.read_interactions(path, config)


TWO_SPELLINGS = [
    ('0108775020', '108775020'), ('1020', '1020.0'), ('007.00', '7'), ('Anna', 'anna'), ('caf\u00e9', 'cafe\u0301'),
    ('a\u200bb', 'ab'), ('\ufeffx5', 'x5'), ('a\u00a0b', 'a b'), ('a  b', 'a b'), ('\uff585', 'x5'), ('a\u00adb', 'ab'),
    ('x-1', 'x\u20111'), ("'007", '007'), ('"x7"', 'x7'), ('1,234', '1234'), ('1.234E+03', '1234')]


@pytest.mark.parametrize(('one', 'other'), TWO_SPELLINGS)
def test_two_spellings_in_one_table_are_said(tmp_path, config, caplog, one, other):
    assert len(read(tmp_path, config, [*CLEAN, one, other]).user_ids) == 52  # said, never joined
    message = caplog.messages[-1]
    assert "column 'customer': 2 of its 52 ids differ" in message and repr(one) in message and repr(other) in message


@pytest.mark.parametrize(('one', 'other'), TWO_SPELLINGS)
def test_two_spellings_in_two_tables_are_said_at_any_share(tmp_path, config, caplog, one, other):
    pd.DataFrame({'product': [*CLEAN, other], 'title': 'T'}).to_csv(tmp_path / 'i.csv', index=False)
    assert len(own_tables.read_attributes(tmp_path / 'i.csv', config, 'item_column', [*CLEAN, one])) == 50
    assert f'they have {one!r} and this table {other!r}' in caplog.text and ': 1): if these' in caplog.text


@pytest.mark.parametrize('ids', [
    [''.join(RANDOM.choices(string.ascii_letters + string.digits + '-_', k=11)) for _ in range(500)],
    sorted({''.join(RANDOM.choices(string.ascii_letters + string.digits, k=4)) for _ in range(5000)}),
    [f'{RANDOM.getrandbits(64):016x}' for _ in range(500)], [str(uuid.UUID(int=RANDOM.getrandbits(128))) for _ in
                                                             range(500)],
    ['12E5', '3E10', '1E05', '5e7'], ['B00000JBLU', '0108775020', 'B000VG4AY0'], [*range(300)],
    ['Smith, A.', 'Smith, B.'], ['1.5', '1.50'], ['0', '00ab']], ids=range(10))
def test_ids_that_are_plainly_different_are_not_warned_of(tmp_path, config, caplog, ids):
    assert len(read(tmp_path, config, ids).user_ids) == len(ids) and not caplog.messages


def test_random_ids_in_which_zeros_differ_are_warned_of():
    ids = [''.join(RANDOM.choices(string.ascii_letters, k=11)) for _ in range(500)]
    met = spellings.within(pa.array([*ids, '0123', '123'], pa.large_string()))
    assert met == (2, '0123', '123')


@pytest.mark.parametrize('text', ['4.00638E+12', '"4,00638E+12"', '1E+05', '4.0e+12', '1.2345678901234568e+18',
                                  '4.00638E12'])
def test_a_rounded_number_is_refused_with_its_row(tmp_path, config, text):
    for name, role in (('r.csv', 'log'), ('i.csv', 'items')):
        (tmp_path / name).write_text(f'customer,product,when\nu,4006381333931,1\nu,{text},2\n')
        with pytest.raises(UserError, match=rf'{name}, row 2: .*{text[3:5]}.*a spreadsheet has rounded'):
            if role == 'log':
                own_tables.read_interactions(tmp_path / name, config)
            else:
                own_tables.read_attributes(tmp_path / name, config, 'item_column', ['4006381333931'])


@pytest.mark.parametrize(('ids', 'words'), [
    (['1.23456789E8', '1.234567E7'], "'1.23456789E8' .ids so written: 2."),
    (['4006381333931000000', '1234567890123450000', '1234567890123460000'], 'all 3 ids of over 15 digits end in zeros'),
    (['1-Mar', 'Mar-02'], '2 of its 52 ids look like dates')])
def test_what_spreadsheets_may_have_done_is_warned_of(tmp_path, config, caplog, ids, words):
    read(tmp_path, config, [*CLEAN, *ids])
    assert len(caplog.messages) == 1
    assert pd.Series(caplog.messages).str.contains(words).all()


@pytest.mark.parametrize('word', ['None', 'nan', 'NaN', 'null', 'NULL', 'N/A', 'n/a', '#N/A', 'undefined', 'unknown',
                                  '-', r'\N', '-1', '####', '[deleted]', '(not set)', '<NA>', '0'])
def test_ids_that_read_as_missing_are_warned_of_with_their_share(tmp_path, config, caplog, word):
    ids = [str(number) for number in range(1000, 1050)] if word in ('0', '-1') else CLEAN
    assert len(read(tmp_path, config, [*ids, *[word] * 50]).user_ids) == 51
    assert len(caplog.messages) == 1
    assert f'reads as missing in 50 of 100 rows (50.0%), as {word!r} in row 51' in caplog.text


def test_ids_counted_from_0_are_ids(tmp_path, config, caplog):
    read(tmp_path, config, [*range(50), *[0] * 50])
    read(tmp_path, config, [0, *range(1000, 1050)])
    assert not caplog.messages


@pytest.mark.parametrize('name', ['r.csv', 'r.jsonl', 'r.parquet'])
@pytest.mark.parametrize('value', ['a\nb', 'a\r\nb', 'a\u2028b', 'a\0', 'a\x1bb'])
def test_no_id_has_a_control_character(save, tmp_path, config, name, value):
    frame = pd.DataFrame({'customer': ['u', 'u'], 'product': ['a', value], 'when': [1, 2]})
    with pytest.raises(UserError, match=rf"{name}, row 2: column 'product' is '") as error:
        own_tables.read_interactions(save(frame, tmp_path / name), config)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('name', ['r.csv', 'r.jsonl', 'r.parquet'])
@pytest.mark.parametrize('value', [True, False])
def test_a_truth_value_is_no_id(save, tmp_path, config, name, value):
    frame = pd.DataFrame({'customer': [value, value], 'product': ['a', 'b'], 'when': [1, 2]})
    with pytest.raises(UserError, match=rf"{name}, row 1: column 'customer' is .?{value}.*not an id"):
        own_tables.read_interactions(save(frame, tmp_path / name), config)


def test_a_truth_value_among_ids_is_refused(tmp_path, config):
    (tmp_path / 'r.jsonl').write_text(''.join(json.dumps({'customer': one, 'product': 7, 'when': 1}) + '\n'
                                              for one in ('u', True)))
    with pytest.raises(UserError, match="row 2: column 'customer' is True, not an id"):
        own_tables.read_interactions(tmp_path / 'r.jsonl', config)


def test_numbers_too_narrow_for_ids_are_refused(tmp_path, config):
    with pytest.raises(UserError, match="row 2: column 'customer' is 16777216.0, not an id"):
        read(tmp_path, config, np.array([1, 2**24 + 1], np.float32), 'r.parquet')


@pytest.mark.parametrize(('one', 'other'), [('user', 'item'), ('user', 'time'), ('item', 'time')])
def test_one_column_for_two_things_is_refused(save, tmp_path, config, one, other):
    config[f'{one}_column'] = config[f'{other}_column']
    path = save(pd.DataFrame({'customer': ['u'], 'product': ['a'], 'when': [1]}), tmp_path / 'r.csv')
    with pytest.raises(UserError, match=f'data.{one}_column and data.{other}_column are both'):
        own_tables.read_interactions(path, config)

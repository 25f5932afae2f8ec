"""Times in a person's own tables."""

import datetime
import itertools

import numpy as np
import pandas as pd
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables

pytestmark = pytest.mark.usefixtures('blocks')
ROWS = pd.DataFrame({'customer': ['007', '1'], 'product': ['b', 'a']})


@pytest.mark.parametrize('name', ['r.csv', 'r.parquet', 'r.jsonl'])
def test_iso_dates_order_like_the_moments_they_name(save, tmp_path, config, name):
    moments = ['2020-09-13T14:32:22.208000+00:00', '2020-09-13T15:00:00+02:00', '2020-09-14']
    frame = pd.DataFrame({'customer': ['a'] * 3, 'product': ['x', 'y', 'z'], 'when': moments})
    log = own_tables.read_interactions(save(frame, tmp_path / name), config)
    assert np.issubdtype(log.times.dtype, np.integer) and log.times.argsort().tolist() == [1, 0, 2]
    frame.loc[1, 'when'] = 'Sunday'
    with pytest.raises(UserError, match=r"row .*column 'when' is 'Sunday', not a time; .*8601 dates .as 2024-01-31"):
        own_tables.read_interactions(save(frame, tmp_path / name), config)


@pytest.mark.parametrize('name', ['r.csv', 'r.parquet', 'r.jsonl'])
@pytest.mark.parametrize('word', ['now', 'today'])
def test_no_time_is_that_of_the_clock(save, tmp_path, config, name, word):
    for row, times in ((1, [word, '2024-01-01']), (2, ['2024-01-01', word])):
        with pytest.raises(UserError, match=f"row {row}: column 'when' is '{word}', not a time"):
            own_tables.read_interactions(save(ROWS.assign(when=times), tmp_path / name), config)


def test_parquet_dates_are_times(save, tmp_path, config):
    frame = pd.DataFrame({'customer': ['a', 'a'], 'product': ['x', 'y'],
                          'when': [datetime.date(2024, 1, 2), datetime.date(2024, 1, 1)]})
    times = own_tables.read_interactions(save(frame, tmp_path / 'r.parquet'), config).times
    assert times[0] - times[1] == 24 * 3600 * 10**9


@pytest.mark.parametrize('day', ['0001-01-01', '9999-12-31'])
@pytest.mark.parametrize('name', ['r.csv', 'r.parquet', 'r.jsonl'])
def test_days_that_no_clock_of_nanoseconds_holds_are_refused(save, tmp_path, config, name, day):
    days = ['2024-01-02', day]
    frame = ROWS.assign(when=[datetime.date.fromisoformat(text) for text in days] if 'parquet' in name else days)
    with pytest.raises(UserError, match=rf"r\..*, row 2: column 'when' is '{day}', not a time"):
        own_tables.read_interactions(save(frame, tmp_path / name), config)


@pytest.mark.parametrize('name', ['r.csv', 'r.parquet', 'r.jsonl'])
def test_times_beyond_63_bits_are_refused(save, tmp_path, config, name):
    frame = ROWS.assign(when=np.array([1, 2**64 - 1], np.uint64))
    with pytest.raises(UserError, match=f"row 2: column 'when' is '{2**64 - 1}', not a time"):
        own_tables.read_interactions(save(frame, tmp_path / name), config)


@pytest.mark.parametrize('text', [
    'customer,product,when\na,x,1500000000000000001\na,y,1500000000000000000\na,z,1.5e18\n',
    'customer,product,when\na,x,20200101T100000\na,y,20200101T100000+0200\n',
    'customer,product,when\na,x,2020-01-01T10\na,y,2020-01-01T10+02\n'])
def test_times_whose_order_would_be_a_guess_are_refused(tmp_path, config, text):
    (tmp_path / 'r.csv').write_text(text)
    with pytest.raises(UserError, match=r"r.csv, row \d: column 'when' is .*; write"):
        own_tables.read_interactions(tmp_path / 'r.csv', config)


def test_a_time_of_hundreds_of_digits_is_no_time(tmp_path, config):
    (tmp_path / 'r.jsonl').write_text('{"customer": "a", "product": "x", "when": 1%s}\n' % ('0' * 400))
    with pytest.raises(UserError, match='row 1: column .when. is .*, not a time'):
        own_tables.read_interactions(tmp_path / 'r.jsonl', config)


@pytest.mark.parametrize('name', ['r.csv', 'r.jsonl', 'r.parquet'])
def test_true_is_no_time(save, tmp_path, config, name):
    path = tmp_path / name
    save(pd.DataFrame({'customer': ['u', 'u'], 'product': ['a', 'b'], 'when': [True, False]}), path)
    with pytest.raises(UserError, match=f"{name}, row 1: column 'when' is 'True', not a time"):
        own_tables.read_interactions(path, config)


@pytest.mark.slow
@pytest.mark.parametrize('day', ['2024-02-29', '2023-02-29', '1700-01-01', '2198-11-30', '2024-13-01', '1969-11-30'])
def test_dates_are_read_alike_beside_unusual_ones(tmp_path, config, day):
    """A date of another century in the block makes pandas read it, else Arrow does."""
    clocks = ['', 'T10:20', ' 10:20:30', 'T10:20:30.5', ' 23:59:59.999999999', 'T24:00:00', 'T23:59:60', 'T1:2']
    zones = ['', 'Z', '+02', '+0200', '-00:30', '+24:00', ' UTC', ' +02:00']
    for clock, zone in itertools.product(clocks, zones if day == '2024-02-29' else zones[:3]):
        found = []
        for year in (2001, 1688):
            beside = f'{year}-01-01 00:00{"+01:00" if zone and clock else ""}'
            (tmp_path / 'r.csv').write_text(f'customer,product,when\nu,a,{beside}\nu,b,{day}{clock}{zone}\n')
            try:
                found.append(own_tables.read_interactions(tmp_path / 'r.csv', config).times[1])
            except UserError as error:
                found.append(str(error).partition('not a time')[0].partition(': ')[2])
        assert found[0] == found[1]

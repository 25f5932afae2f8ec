"""Units and stand-ins in a column of times."""

import numpy as np
import pandas as pd
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables

pytestmark = pytest.mark.usefixtures('blocks')
SECONDS = np.random.default_rng(0).integers(1_400_000_000, 1_700_000_000, 40).tolist()
MILLISECONDS = [1000 * second for second in SECONDS]
DATES = [str(pd.Timestamp(second, unit='s')) for second in SECONDS]
DAYS = ['20200131', '20210131', '20220131'] * 5


def read(tmp_path, config, times, name='r.csv'):
    frame = pd.DataFrame({'customer': [f'u{row % 7}' for row in range(len(times))], 'when': times})
    frame['product'] = [f'p{row % 11}' for row in range(len(times))]
    path = tmp_path / name
    frame.to_parquet(path) if name.endswith('parquet') else frame.to_csv(path, index=False)
    return own_tables.read_interactions(path, config).times


@pytest.mark.parametrize(('times', 'row', 'units'), [
    ([*SECONDS, *MILLISECONDS], 41, ('milliseconds', 'Unix seconds')),
    ([*SECONDS, 10**6 * SECONDS[0]], 41, ('microseconds', 'Unix seconds')),
    ([10**9 * SECONDS[0], *SECONDS], 2, ('Unix seconds', 'nanoseconds')),
    ([*MILLISECONDS, 10**9 * SECONDS[0]], 41, ('nanoseconds', 'milliseconds')),
    ([*SECONDS, 43831, 43832], 41, ('numbers of days', 'Unix seconds')),
    ([43831] * 50 + SECONDS, 51, ('Unix seconds', 'numbers of days')),
    ([*SECONDS, 20200131], 41, ('dates written as 20240131', 'Unix seconds')),
    ([*SECONDS, 2020], 41, ('years', 'Unix seconds')),
    ([f'{time}.0' for time in MILLISECONDS] + ['1500000000.0'], 41, ('Unix seconds', 'milliseconds')),
])
def test_two_units_are_refused_with_a_row_of_each(tmp_path, config, times, row, units):
    with pytest.raises(UserError, match=rf"r\.csv, row {row}: .*{units[0]}.* row 1 .*{units[1]}.*write all rows"):
        read(tmp_path, config, times)


@pytest.mark.parametrize('times', [['2020-01-01', *SECONDS], [*SECONDS, '2020-01-01 10:00:00']], ids=['first', 'last'])
def test_dates_beside_numbers_are_refused_with_a_row_of_each(tmp_path, config, times):
    with pytest.raises(UserError, match=r'row \d+: .* in row 1: one is a number and one a date'):
        read(tmp_path, config, times)


@pytest.mark.parametrize('value', [
    0, -1, 1, 3600, -999, -(2**63), 2**63 - 1, 2**31 - 1, 2**32 - 1, 253402300799, 253402214400, 9999999999,
    -62135596800, -2208988800])
def test_a_stand_in_among_seconds_is_refused(tmp_path, config, value):
    with pytest.raises(UserError, match=rf'row 41: .* is {value} \(rows: 2\), .* like {SECONDS[0]} in row 1 .*delete'):
        read(tmp_path, config, [*SECONDS, value, value])


@pytest.mark.parametrize(('times', 'value'), [
    (MILLISECONDS, 0), (MILLISECONDS, -1), (MILLISECONDS, 253402300799999), ([10**9 * time for time in SECONDS], 0),
    (DAYS, '99991231'), (DAYS, '0'), (DAYS, '19000101'), ([0] * 100, SECONDS[0]),
    ([f'{time}.5' for time in SECONDS], 0),
    (DATES, '1970-01-01'), (DATES, '1970-01-01T01:00:00'), (DATES, '1969-12-31 23:59:59'), (DATES, '1900-01-01'),
    (DATES, '2099-12-31'), (DATES, '9999-12-31'), (DATES, '0001-01-01')])
def test_a_stand_in_of_any_unit_is_refused(tmp_path, config, times, value):
    with pytest.raises(UserError, match=r'row \d+: .*stand'):
        read(tmp_path, config, [*times, value])


@pytest.mark.parametrize(('times', 'value'), [
    ([2014, 2015] * 9, 9999), ([2014, 2015] * 9, 0), ([*range(43831, 43861)], 0), ([*range(30)], -1),
    (SECONDS * 5, 4_000_000_000), (SECONDS, -150_000_000), (DATES, '2250-05-05'), (SECONDS, 400_000_000)])
def test_what_is_only_doubtful_is_warned_of(tmp_path, config, caplog, times, value):
    read(tmp_path, config, [*times, value])
    assert len(caplog.messages) == 1 and f'row {len(times) + 1}: ' in caplog.text and 'these rows' in caplog.text


@pytest.mark.parametrize('times', [
    SECONDS, MILLISECONDS, DATES, DAYS, [*range(1990, 2020)], [2014] * 9 + [2015], [*range(3000)],
    [*range(0, 100_000, 50)], [5] * 9, [0] * 9, [1_500_000_000] * 9, [0, 1, 2, 1_000_000], [1, 5, 10**9],
    [-10**9, -5 * 10**8, 0, 10**9], ['1900-01-01', '1950-01-01', '1970-01-01', '1980-05-05', '2020-01-01'],
    [-30, -20, -1, 0], [0.1, 0.25, 3.5], [*range(820_000_000, 900_000_000, 10**6)], [43831.5, 43832, 45000],
    ['1.70000012E9', '1.7000001234E9', '1.712345678E9'], [*range(-10**9, 16 * 10**8, 10**6)], [1, 1_000, 1_000_000]],
    ids=range(22))
def test_columns_as_they_should_be_are_read_without_a_word(tmp_path, config, caplog, times):
    assert len(read(tmp_path, config, times)) == len(times) and not caplog.messages


def test_the_checks_look_at_timestamps_as_well(tmp_path, config):
    with pytest.raises(UserError, match=r'r\.parquet, row 41: .* is 1970-01-01T00:00:00 '):
        read(tmp_path, config, pd.to_datetime([*DATES, '1970-01-01'], format='mixed'), 'r.parquet')


@pytest.mark.parametrize(('times', 'expected'), [
    (['2024-01-02 03:04:05 UTC', '2024-01-02 03:04:05.5 UTC', '2024-01-03 00:00:00 UTC'], [0, 0.5, 75355]),
    (['2024-01-02 03:04:05 GMT', '2024-01-02 03:04:06Z', '2024-01-02T03:04:07 Z', '2024-01-02T03:04:08z'],
     [0, 1, 2, 3]),
    (['2024-01-02 03:04:05 +0000 UTC', '2024-01-02 03:04:06 +0000', '2024-01-02 03:04:07+00'], [0, 1, 2]),
    (['2024-01-02T03:04:05Z[UTC]', '2024-01-02T03:04:05+01:00[Europe/Berlin]'], [0, -3600]),
    (['2024-01-02 03:04:05 UTC', '2024-01-02 03:04:05 UTC+02:00', '2024-01-02 03:04:05 GMT+0200'], [0, -7200, -7200]),
    (['2024-01-02 UTC', '2024-01-02Z'], [-11045, -11045])])
def test_utc_is_read_however_programs_write_it(tmp_path, config, times, expected):
    start = pd.Timestamp('2024-01-02 03:04:05').value
    np.testing.assert_array_equal(read(tmp_path, config, times) - start, np.array(expected) * 10**9)


def test_nanoseconds_written_as_decimal_numbers_keep_every_digit(tmp_path, config):
    times = [1_500_000_000_000_000_001, 1_500_000_000_000_000_000, 1_500_000_000_000_000_002]
    found = read(tmp_path, config, [f'{times[0]}.0', f'{times[1]}', f'{times[2]}.00'])
    assert found.dtype == np.int64 and found.tolist() == times


@pytest.mark.parametrize('text', ['1.50E+09', '1.5e+12', '"1,50E+09"', '1E+09'])
def test_times_that_a_spreadsheet_rounded_are_refused(tmp_path, config, text):
    (tmp_path / 'r.csv').write_text(f'customer,product,when\nu,a,1500000000\nu,b,{text}\n')
    with pytest.raises(UserError, match='row 2: '):
        own_tables.read_interactions(tmp_path / 'r.csv', config)


def test_numbers_too_narrow_for_times_are_refused(tmp_path, config):
    with pytest.raises(UserError, match=r'row 1: .* stored as float, .*store it as int64'):
        read(tmp_path, config, np.array(SECONDS, np.float32), 'r.parquet')


def test_memory_is_used_in_blocks(tmp_path, config, monkeypatch):
    monkeypatch.setattr('grasp_jax.data.time_units._BLOCK', 7)
    with pytest.raises(UserError, match='row 41: .*milliseconds'):
        read(tmp_path, config, [*SECONDS, *MILLISECONDS])
    assert len(read(tmp_path, config, SECONDS)) == 40

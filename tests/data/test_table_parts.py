"""A folder of parts is read as one table, as one file with the same rows is."""

import gzip
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from grasp_jax import config as config_lib
from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables, prepare, sources, table_files

RNG = np.random.default_rng(0)
USERS, ITEMS = RNG.integers(0, 90, (2, 500))
FRAME = pd.DataFrame({'customer': [f'u{user:03}' for user in USERS], 'product': [f'p{item}' for item in ITEMS // 2],
                      'when': RNG.integers(1_600_000_000, 1_700_000_000, 500)})


def in_parts(frame, folder, ending, number=7):
    """Writes a frame in parts of different sizes, some of them empty, as Spark does, and what it leaves beside them."""
    folder.mkdir()
    (folder / '_SUCCESS').touch()
    (folder / f'.part-00000{ending}.crc').write_bytes(b'\x00')
    bounds = np.linspace(0, len(frame), number, dtype=int)
    for part, (start, stop) in enumerate(zip([0, *bounds], [*bounds, len(frame)], strict=True)):
        path, rows = folder / f'part-{part:05}{ending}', frame[start:stop]
        if ending == '.parquet':
            rows.to_parquet(path, index=False)
        elif ending == '.jsonl':
            path.write_text(''.join(f'{row}\n' for row in rows.to_json(orient='records', lines=True).split()))
        else:
            text = rows.to_csv(index=False).encode()
            path.write_bytes(gzip.compress(text) if ending.endswith('.gz') else text)
    return folder


@pytest.mark.usefixtures('blocks')
@pytest.mark.parametrize('ending', ['.csv', '.csv.gz', '.parquet', '.jsonl'])
def test_parts_are_what_one_file_is(tmp_path, config, ending):
    log = own_tables.read_interactions(in_parts(FRAME, tmp_path / 'log', ending), config)
    users, items = (sorted(FRAME[name].unique()) for name in ('customer', 'product'))
    assert (log.user_ids, log.item_ids) == (users, items)
    assert [log.user_ids[code] for code in log.users] == FRAME.customer.tolist()
    assert [log.item_ids[code] for code in log.items] == FRAME['product'].tolist()
    assert log.times.tolist() == FRAME.when.tolist()


@pytest.mark.parametrize('ending', ['.csv', '.parquet', '.jsonl'])
@pytest.mark.parametrize(('row', 'column', 'value', 'words'), [
    (97, 'customer', '', "column 'customer' is empty"), (98, 'product', 'a\tb', "column 'product' is 'a.*no text has"),
    (96, 'when', '0', r"column 'when' is 0 \(rows: 1\), which is no time like \d+ in row 1 of part-00001\.")])
def test_a_wrong_row_is_named_by_its_part(tmp_path, config, ending, row, column, value, words):
    frame = FRAME.astype({'when': str})
    frame.loc[row, column] = value
    folder = in_parts(frame, tmp_path / 'log', ending)
    with pytest.raises(UserError) as error:  # part 1 has 83 rows, behind part 0 without any
        own_tables.read_interactions(folder, config)
    assert re.match(rf'{folder}/part-00002\{ending}, row {row - 82}: {words}', str(error.value))


def test_a_quote_is_looked_for_among_the_ids_of_all_parts(tmp_path, config):
    folder = in_parts(FRAME, tmp_path / 'log', '.csv')
    (folder / 'part-00009.csv').write_text('note,customer,product,when\n"x,u001,p1,1\ny",u002,p2,2\n')
    with pytest.raises(UserError, match=r'part-00009\.csv, row 1: a quote opens here'):
        own_tables.read_interactions(folder, config)


def test_a_warning_names_the_part(tmp_path, config, caplog):
    frame = FRAME.copy()
    frame.loc[100:139, 'customer'] = 'None'
    own_tables.read_interactions(in_parts(frame, tmp_path / 'log', '.csv'), config)
    assert "reads as missing in 40 of 500 rows (8.0%), as 'None' in row 18 of part-00002.csv" in caplog.text


@pytest.mark.parametrize('key', ['customer', 'when'])
def test_a_column_that_parts_store_otherwise_is_named(tmp_path, config, key):
    folder = in_parts(FRAME.assign(customer=USERS), tmp_path / 'log', '.parquet')
    FRAME.assign(customer=USERS).astype({key: str}).to_parquet(folder / 'part-00004.parquet')
    with pytest.raises(UserError, match=rf"part-00004\.parquet: its column '{key}' is stored as .*string, that of "
                                        r'part-00000\.parquet as int64; store it alike'):
        own_tables.read_interactions(folder, config)


def test_numbers_of_different_width_are_the_same_numbers(tmp_path, config):
    folder = tmp_path / 'log'
    folder.mkdir()
    for part, kind in enumerate((pa.int32(), pa.int64())):
        pyarrow.parquet.write_table(pa.table({'customer': ['a'], 'product': ['b'], 'when': pa.array([7], kind)}),
                                    folder / f'{part}.parquet')
    assert own_tables.read_interactions(folder, config).times.tolist() == [7, 7]


@pytest.mark.parametrize(('files', 'words'), [
    ({}, 'is a folder without files'), ({'_SUCCESS': ''}, 'is a folder without files'),
    ({'a.csv': '', 'b.parquet': ''}, r'a folder with a\.csv and b\.parquet, which are no parts of one table'),
    ({'a.csv': 'customer,product,when\nu,p,1\n', 'b.csv': 'customer,product,time\nu,p,1\n'},
     r'b\.csv: has the columns customer, product, time, and a\.csv has customer, product, when'),
    ({'a.csv': 'u,p,1\nu,q,2\n', 'b.csv': 'u,p,1\n'}, "log: has no column 'customer'"),  # without a header
    ({'a.txt': 'x'}, r'a\.txt: its name ends in none of')])
def test_a_folder_that_is_no_table_is_refused(tmp_path, config, files, words):
    (tmp_path / 'log').mkdir()
    for name, text in files.items():
        (tmp_path / 'log' / name).write_text(text)
    with pytest.raises(UserError, match=words):
        own_tables.read_interactions(tmp_path / 'log', config)


def test_items_in_parts_below_folders(tmp_path, config, caplog):
    for day in ('day=1', 'day=2'):
        (tmp_path / 'items' / day).mkdir(parents=True)
        (tmp_path / 'items' / day / 'part.csv').write_text(f'product,title\n{day[-1]},Soap {day}\n7,{day} or so\n')
    found = own_tables.read_attributes(tmp_path / 'items', config, 'item_column', ['1', '2', '7'])
    assert {name: values['title'] for name, values in found.items()} == {
        '1': 'Soap day=1', '2': 'Soap day=2', '7': 'day=1 or so'}
    assert "as row 2 of day=2/part.csv '7'; the fullest row of each counts, here row 2 of day=1/part.csv" in caplog.text


def test_a_data_set_in_folders_is_prepared_and_known_by_its_parts(tmp_path):
    config = config_lib.default()
    config.data.update({'kind': 'table', 'source': str(tmp_path), 'interactions_file': 'log', 'user_column': 'customer',
                        'item_column': 'product', 'time_column': 'when', 'filter': 'none'})
    folder = in_parts(FRAME, tmp_path / 'log', '.parquet')
    (tmp_path / 'out').mkdir()
    assert prepare.prepare(config, tmp_path / 'out')['interactions'] == 500
    before = sources.source_checksums(config)
    assert len(before) == len(table_files.parts(folder)) and before[0].startswith('log/part-00000.parquet ')
    FRAME[:3].to_parquet(folder / 'part-00003.parquet', index=False)
    assert sum(one != other for one, other in zip(before, sources.source_checksums(config), strict=True)) == 1
    config.data.kind = 'inter'
    with pytest.raises(UserError, match='log: is a folder; name one file with data.interactions_file'):
        sources.source_files(config)

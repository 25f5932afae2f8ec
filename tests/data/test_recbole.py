"""RecBole's atomic files: found, read as they are, and refused where they are no such files."""

import gzip
import logging

import pytest

from grasp_jax import config as config_lib
from grasp_jax.common.errors import UserError
from grasp_jax.data import recbole, source_reader, sources

LOG = ('user_id:token\titem_id:token\trating:float\ttimestamp:float\n'
       '7\t050\t3\t881250949\n8\t1\t4.0\t881250950.0\n7\t1\t5\t881250900\n')
ITEMS = ('item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n'
         '1\tToy "Story" 2\t1995\tComedy Drama\n050\t"Quo\t\tWar\n')
USERS = 'user_id:token\tage:token\tvector:float_seq\n7\t24\t0.1 0.2\n8\t\t0.3 0.4\n'


@pytest.fixture
def open_folder(tmp_path):
    """Opens a folder of files with some settings of the section `data`."""
    def opened(files, **settings):
        for name, text in files.items():
            content = text.encode()
            (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith('.gz') else content)
        config = config_lib.default()
        config.data.update({'kind': 'table', 'source': str(tmp_path), **settings})
        return source_reader.SourceReader(config)

    return opened


def rows(log):
    return [(log.user_ids[user], log.item_ids[item], time)
            for user, item, time in zip(log.users, log.items, log.times.tolist(), strict=True)]


@pytest.mark.parametrize('ending', ['', '.gz'])
@pytest.mark.parametrize('settings', [
    {}, {'interactions_file': 'ml.inter'}, {'kind': 'inter'}, {'kind': 'amazon', 'interactions_file': 'ml.inter'},
    {'user_column': 'user_id', 'item_column': 'item_id', 'time_column': 'timestamp'},
    {'user_column': 'user_id:token', 'time_column': 'timestamp:float'}])
def test_files_are_found_and_read_as_they_are(open_folder, caplog, ending, settings):
    caplog.set_level(logging.WARNING)
    if 'interactions_file' in settings:
        settings = settings | {'interactions_file': f'ml.inter{ending}'}
    reader = open_folder({f'ml.inter{ending}': LOG, f'ml.item{ending}': ITEMS, f'ml.user{ending}': USERS}, **settings)
    assert rows(reader.log) == [('7', '050', 881250949), ('8', '1', 881250950), ('7', '1', 881250900)]
    assert reader.item_attributes(['050', '1']) == [
        {'title': '"Quo', 'class': 'War'}, {'title': 'Toy "Story" 2', 'release_year': '1995', 'class': 'Comedy Drama'}]
    assert reader.user_attributes(['7', '8']) == [{'age': '24'}, {}]
    assert not caplog.text


@pytest.mark.parametrize('separator', [',', ';', '|', ' '])
def test_other_separators(open_folder, separator):
    text = LOG.replace('\t', separator)
    assert len(open_folder({'x.inter': text}).log) == 3
    quoted = {'y.inter': text, 'y.item': ITEMS.replace('Toy "Story" 2', f'"To{separator}y ""S"""').replace(
        '"Quo', 'Quo').replace('Comedy Drama', 'Comedy').replace('\t', separator)}
    reader = open_folder(quoted, interactions_file='y.inter')
    assert reader.item_attributes(['1'])[0]['title'] == f'To{separator}y "S"'.replace('  ', ' ')


def test_quotes_that_a_writer_of_csv_added(open_folder):
    reader = open_folder({'x.inter': LOG, 'x.item': 'item_id:token\ttitle:token\n1\t"The ""Big"" one"\n050\t"Song"\n'})
    assert [found['title'] for found in reader.item_attributes(['1', '050'])] == ['The "Big" one', '"Song"']


@pytest.mark.parametrize(('header', 'names'), [
    ('user_id:token\tartist_id:token\tweight:float\ttimestamp:float', ('user_id', 'artist_id', 'timestamp')),
    ('session_id:token\titem_id:token\ttimestamp:float\tnumber:float', ('session_id', 'item_id', 'timestamp')),
    ('user_id:token\titem_id:token\tvisit_time:float', ('user_id', 'item_id', 'visit_time')),
    ('item_id:token\tuser_id:token\ttimestamp:float\treview:token_seq', ('user_id', 'item_id', 'timestamp')),
])
def test_columns_that_can_only_be_meant(tmp_path, header, names):
    path = tmp_path / 'x.inter'
    path.write_text(f'{header}\n')
    data = recbole.with_columns(config_lib.default().data, path)
    assert (data.user_column, data.item_column, data.time_column) == names


@pytest.mark.parametrize('header', ['user_id:token\ta:token\tb:token\ttimestamp:float',
                                    'user_id:token\titem_id:token\tstart_time:float\tend_time:float'])
def test_where_several_columns_may_be_meant_the_setting_is_named(open_folder, header):
    with pytest.raises(UserError, match=r'x.inter: has no column .* \(it has user_id, .*; set data\.'):
        open_folder({'x.inter': header + '\n' + '\t'.join('1234') + '\n'})


def test_items_whose_id_has_another_name(open_folder):
    reader = open_folder({'x.inter': LOG, 'x.item': 'movie_id:token\tname:token_seq\tstudio_name:token\n1\tHeat\tW\n'})
    assert reader.item_attributes(['1']) == [{'title': 'Heat', 'studio_name': 'W'}]


@pytest.mark.parametrize(('text', 'words'), [
    ('1\t2\t3\n', "first row .* is no header of RecBole.*call a table with a plain header .tsv"),
    ('user_id\titem_id\ttimestamp\n1\t2\t3\n', 'is no header of RecBole'),
    ('user_id:int\titem_id:token\ttimestamp:float\n1\t2\t3\n', 'is no header'), ('', 'is no header'),
    ('user_id:token\tuser_id:token\ttimestamp:float\n1\t2\t3\n', "two columns 'user_id'"),
    (LOG + '9\t1\n', r'row 4: has 2 cells and the header 4'),
    (LOG + '9\t1\t3\t4\t5\n', r'row 4: has 5 cells and the header 4'),
    (LOG.splitlines()[0] + '\n', 'holds no interactions'),
    (LOG + '\t1\t3\t4\n', 'row 4: column .user_id. is empty'),
    (LOG + '9\t1\t3\tnever\n', 'row 4: column .timestamp. is .never., not a time'),
])
def test_what_is_wrong_is_named(open_folder, text, words):
    with pytest.raises(UserError, match=words) as error:
        open_folder({'x.inter': text})
    assert 'x.inter' in str(error.value) and '\n' not in str(error.value)


def test_parts_of_a_split_are_not_guessed(open_folder):
    with pytest.raises(UserError, match='has 2 files of interactions .x.test.inter, x.train.inter.; name one with'):
        open_folder({'x.train.inter': LOG, 'x.test.inter': LOG})


def test_a_table_of_the_usual_name_comes_first(tmp_path):
    (tmp_path / 'interactions.csv').write_text('user,item,time\n')
    (tmp_path / 'x.inter').write_text(LOG)
    (tmp_path / 'x.item').write_text(ITEMS)
    config = config_lib.default()
    config.data.update({'kind': 'table', 'source': str(tmp_path)})
    assert [path.name for path in sources.source_files(config).values()] == ['interactions.csv']
    config.data.update({'interactions_file': 'x.inter', 'users_file': 'none.user'})
    with pytest.raises(UserError, match='has no none.user'):
        sources.source_files(config)

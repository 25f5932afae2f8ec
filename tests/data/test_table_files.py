"""What a file of text can hide: stray quotes, rows of another length, packing, names."""

import gzip
import logging

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables

pytestmark = pytest.mark.usefixtures('blocks')
HEAD = 'customer,product,when\n'
BODY = ''.join(f'u{row % 9},p{row % 13},{1_700_000_000 + row}\n' for row in range(60))
NOTES = BODY.replace('\n', ',fine\n')
STRAY = 'u1,"p1,1700000000\n'


@pytest.mark.slow
@pytest.mark.parametrize(('text', 'row'), [
    (HEAD + STRAY + BODY, 1), (HEAD + BODY + STRAY + BODY, 61), (HEAD + BODY + '"u1,p1,1700000000\n' + BODY, 61),
    (HEAD + BODY + 'u1,p1,"1700000000\n' + BODY, 61), (HEAD + BODY + STRAY + BODY + STRAY + BODY, 61),
    (HEAD + STRAY + BODY * 4000 + STRAY + BODY, 1),  # more than a block
    (HEAD[:-1] + ',note\n' + NOTES + 'u1,p1,1700000000,"nice\n' + NOTES, 61),
    (HEAD[:-1] + ',note\n' + NOTES + 'u1,p1,1700000000,"nice\n' + NOTES + 'u1,p1,1700000000,"good"\n', 61),
    ('note,' + HEAD + BODY.replace('u', 'fine,u') + '"nice,u1,p1,1700000000\n"good",u2,p2,1700000000\n', 61)],
    ids=range(9))
def test_a_quote_that_swallows_rows_is_refused_with_the_first(tmp_path, config, text, row):
    (tmp_path / 'r.csv').write_text(text)
    with pytest.raises(UserError, match=rf'r\.csv, row {row}: .*a quote opens here.* lines.*take it away') as error:
        own_tables.read_interactions(tmp_path / 'r.csv', config)
    assert '\n' not in str(error.value) and len(str(error.value)) < 500


@pytest.mark.parametrize('text', ['product,title\na,"Soap\nb,Oil\nc,Cream\n',
                                  'product,title,size\na,"Soap,1\nb,Oil,2\nc,"Cream",3\n'])
def test_a_quote_that_swallows_items_is_refused(tmp_path, config, text):
    (tmp_path / 'i.csv').write_text(text)
    with pytest.raises(UserError, match=r'i\.csv, row 1: a quote opens here and joins [34] lines'):
        own_tables.read_attributes(tmp_path / 'i.csv', config, 'item_column', ['a', 'b', 'c'])


def test_text_over_several_lines_is_text(tmp_path, config, caplog):
    (tmp_path / 'i.csv').write_text('product,title\na,"Soap,\nnice, good\nfor you, too"\nb,5" of ""Oil""\n')
    assert own_tables.read_attributes(tmp_path / 'i.csv', config, 'item_column', ['a', 'b']) == {
        'a': {'title': 'Soap,\nnice, good\nfor you, too'}, 'b': {'title': '5" of ""Oil""'}}
    (tmp_path / 'r.csv').write_text(HEAD[:-1] + ',note\n' + NOTES + 'u1,p1,1700000000,"well, yes, no\nor,so,a,b"\n')
    assert len(own_tables.read_interactions(tmp_path / 'r.csv', config)) == 61 and not caplog.messages


@pytest.mark.parametrize(('line', 'words'), [
    ('u1,p1', "column 'when' is not there: this row has 2 cells and the header 3"),
    ('u1', "column 'product' is not there"),
    ('u1,p1,5,6', r'more cells than its header \(4 and 3'), ('u1,p1,5,', 'take away what separates')])
@pytest.mark.parametrize('name', ['r.csv', 'r.tsv', 'r.csv.gz'])
def test_a_row_of_another_length_is_refused(tmp_path, config, name, line, words):
    text = HEAD + BODY + line + '\n' + BODY
    text = text.replace(',', '\t') if '.tsv' in name else text
    (tmp_path / name).write_bytes(gzip.compress(text.encode()) if name.endswith('.gz') else text.encode())
    with pytest.raises(UserError, match=rf'{name}, row 61: .*{words}'):
        own_tables.read_interactions(tmp_path / name, config)


@pytest.mark.parametrize('ends', [(',', ','), (',', ''), (',,', ''), (',,', ','), (', ', ''), (',', ',7')])
@pytest.mark.parametrize('name', ['r.csv', 'r.tsv', 'r.csv.gz'])
def test_a_header_that_ends_in_a_separator_is_read_and_said(tmp_path, config, caplog, name, ends):
    caplog.set_level(logging.INFO)
    head, row = ends
    plain, text = HEAD + BODY, HEAD[:-1] + head + '\n' + BODY.replace('\n', row + '\n')
    for place, written in (('plain', plain), ('ends', text)):
        (tmp_path / place).mkdir()
        written = written.replace(',', '\t') if '.tsv' in name else written
        packed = gzip.compress(written.encode()) if name.endswith('.gz') else written.encode()
        (tmp_path / place / name).write_bytes(packed)
    expected = own_tables.read_interactions(tmp_path / 'plain' / name, config)
    assert not caplog.messages
    found = own_tables.read_interactions(tmp_path / 'ends' / name, config)
    assert (found.users.tolist(), found.items.tolist(), found.user_ids, found.times.tolist()) == (
        expected.users.tolist(), expected.items.tolist(), expected.user_ids, expected.times.tolist())
    said = [record for record in caplog.records if 'has no name for' in record.message]
    assert len(said) == 1 and said[0].levelname == 'INFO' and "behind the column 'when', is not read" in said[0].message


def test_items_with_such_a_header_get_no_empty_attribute(tmp_path, config):
    (tmp_path / 'i.csv').write_text('product,title,\na,Oil\nb,Soap\n')
    assert own_tables.read_attributes(tmp_path / 'i.csv', config, 'item_column', ['a', 'b']) == {
        'a': {'title': 'Oil'}, 'b': {'title': 'Soap'}}


@pytest.mark.parametrize('line', ['u1,p1', 'u1,p1,5,', 'u1,p1,5,6'])
def test_below_such_a_header_a_row_of_another_length_is_refused(tmp_path, config, line):
    (tmp_path / 'r.csv').write_text(HEAD[:-1] + ',\n' + BODY + line + '\n')
    with pytest.raises(UserError, match=r'r\.csv, row 61: '):
        own_tables.read_interactions(tmp_path / 'r.csv', config)


@pytest.mark.parametrize('name', ['LOG.CSV', 'Log.Csv.GZ', 'log.csv', 'log.csv.gz'])
@pytest.mark.parametrize('packed', [False, True])
def test_names_in_any_case_packed_or_not(tmp_path, config, name, packed):
    text = ('\ufeff' + HEAD + '\n' + BODY).replace('\n', '\r\n').encode()
    (tmp_path / name).write_bytes(gzip.compress(text[:500]) + gzip.compress(text[500:]) if packed else text)
    log = own_tables.read_interactions(tmp_path / name, config)
    assert len(log) == 60 and log.user_ids == [f'u{number}' for number in range(9)]


@pytest.mark.parametrize('name', ['LOG.JSONL', 'log.jsonl', 'log.json.gz'])
@pytest.mark.parametrize('packed', [False, True])
def test_json_lines_packed_or_not(tmp_path, config, name, packed):
    text = b'{"customer": "u", "product": "p", "when": 1}\n'
    (tmp_path / name).write_bytes(gzip.compress(text) if packed else text)
    assert len(own_tables.read_interactions(tmp_path / name, config)) == 1


@pytest.mark.parametrize('name', ['r.csv', 'r.csv.gz', 'r.tsv', 'r.jsonl', 'r.jsonl.gz'])
def test_a_gzip_file_that_is_cut_short_is_refused(tmp_path, config, name):
    text = '{"customer": "u", "product": "p", "when": 1}\n' * 60 if 'json' in name else HEAD + BODY
    (tmp_path / name).write_bytes(gzip.compress(text.encode())[:-12])
    with pytest.raises(UserError, match=rf'{name}: '):
        own_tables.read_interactions(tmp_path / name, config)


@pytest.mark.parametrize(('content', 'words'), [
    (b'PK\x03\x04', 'workbook'), (b'\x28\xb5\x2f\xfd', 'zstd'), (b'BZh9', 'bzip2'), (b'\xfd7zXZ\0', 'xz'),
    (b'PAR1', 'a Parquet file')])
def test_what_a_file_is_instead_is_said(tmp_path, config, content, words):
    (tmp_path / 'r.csv').write_bytes(content + bytes(20))
    with pytest.raises(UserError, match=rf'r\.csv: is .*{words}.*save it as'):
        own_tables.read_interactions(tmp_path / 'r.csv', config)


def test_the_row_of_a_byte_that_is_no_text_is_said(tmp_path, config):
    (tmp_path / 'r.csv').write_bytes((HEAD + BODY).encode() + b'u,caf\xe9,1700000000\n')
    with pytest.raises(UserError, match=r'\(byte 0xe9\); save it as UTF-8 \(the byte stands in line 62\)'):
        own_tables.read_interactions(tmp_path / 'r.csv', config)

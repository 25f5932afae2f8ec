"""Where data is looked for, and downloads from a server on this machine."""

import concurrent.futures
import gzip
import http.server
import json
import pathlib
import threading

import pytest

from grasp_jax import config as config_lib
from grasp_jax.common.errors import UserError
from grasp_jax.data import download, sources

THREE_WAYS = ('data.source=DIR', '$GRASP_JAX_DATA/', 'downloaded to ~/.cache/grasp_jax')


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.delenv('GRASP_JAX_DATA', raising=False)
    monkeypatch.setenv('HOME', str(tmp_path / 'home'))
    monkeypatch.setenv('no_proxy', '*')
    config = config_lib.default()
    config.data.name = 'toy'
    return config


@pytest.fixture
def server():
    """Serves `files`; the name `short` announces more than it sends. `asked` counts requests."""
    files: dict[str, bytes] = {}
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.rpartition('/')[2]
            asked.append(name)
            body = files.get(name)
            self.send_response(404 if body is None else 200)
            self.send_header('Content-Length', str(len(body or b'') + (100 if name == 'short' else 0)))
            self.end_headers()
            self.wfile.write(body or b'')

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{running.server_address[1]}/', files, asked
        running.shutdown()


def assert_names_three_ways(error):
    assert all(way in str(error.value) for way in THREE_WAYS) and '\n' not in str(error.value)


def test_config_comes_first_then_the_variable(config, tmp_path, monkeypatch):
    (tmp_path / 'base' / 'toy').mkdir(parents=True)
    (tmp_path / 'own').mkdir()
    monkeypatch.setenv('GRASP_JAX_DATA', str(tmp_path / 'base'))
    assert sources.locate(config) == tmp_path / 'base' / 'toy'
    config.data.source = str(tmp_path / 'own')
    assert sources.locate(config) == tmp_path / 'own'


def test_nowhere_names_all_ways(config, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="data set 'toy' was not found") as error:
        sources.locate(config)
    assert [way in str(error.value) for way in THREE_WAYS] == [True, True, False]  # it is no public data set
    monkeypatch.setenv('GRASP_JAX_DATA', str(tmp_path))
    with pytest.raises(UserError, match=rf'\$GRASP_JAX_DATA is {tmp_path}, which has no folder toy; data'):
        sources.locate(config)
    config.data.category = 'Toy'
    config.data.source = str(tmp_path / 'absent')
    with pytest.raises(UserError, match='absent') as error:
        sources.locate(config)
    assert_names_three_ways(error)


def test_download_into_the_cache_is_reused_and_checked(config, server, monkeypatch):
    address, files, asked = server
    files |= {'reviews_Toy_5.json.gz': gzip.compress(b'{}'), 'meta_Toy.json.gz': gzip.compress(b'{}')}
    for part in ('reviews', 'core', 'metadata'):
        monkeypatch.setitem(download.ADDRESSES, ('2014', part), address)
    config.data.category = 'Toy'
    folder = sources.locate(config)
    assert folder == pathlib.Path.home() / '.cache' / 'grasp_jax' / 'toy'
    assert (folder / 'reviews_Toy_5.json.gz').read_bytes() == files['reviews_Toy_5.json.gz']
    assert sources.locate(config) == folder and len(asked) == 2
    assert len(sources.source_checksums(config)) == 2
    assert not list(folder.glob('*.partial'))
    (folder / 'meta_Toy.json.gz').write_bytes(b'changed')
    with pytest.raises(UserError, match='meta_Toy.json.gz: differs from what was downloaded'):
        sources.locate(config)
    config.data.filter = 'one_pass'  # counts over the full file, which this server has not
    with pytest.raises(UserError, match='reviews_Toy.json.gz: download failed .*404') as error:
        sources.locate(config)
    assert_names_three_ways(error)


def test_a_short_download_leaves_nothing(config, server, tmp_path):
    address, files, _ = server
    files['short'] = b'x' * 50
    with pytest.raises(UserError, match='short: download failed .*50 of 150 bytes'):
        download.fetch(address + 'short', tmp_path / 'short')
    assert [path.name for path in tmp_path.iterdir()] == ['.lock']


def test_two_that_want_the_same_file_download_it_once(config, server, tmp_path):
    address, files, asked = server
    files['big'] = bytes(30_000_000)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: download.fetch(address + 'big', tmp_path / 'big').stat().st_size, range(2)))
    assert found == [30_000_000] * 2 and asked == ['big']
    (tmp_path / 'big.sha256').write_text('')  # as a power cut may leave it
    assert download.fetch(address + 'big', tmp_path / 'big').stat().st_size == 30_000_000 and asked == ['big'] * 2


def test_no_server(config, tmp_path):
    with pytest.raises(UserError, match='download failed'):
        download.fetch('http://127.0.0.1:9/x', tmp_path / 'x')


def test_the_published_core_is_never_taken_for_the_full_file(config, tmp_path):
    (tmp_path / 'reviews_Toy_5.json').write_text(json.dumps({}))
    config.data.update({'source': str(tmp_path), 'category': 'Toy'})
    assert sources.source_files(config)['interactions'].name == 'reviews_Toy_5.json'
    config.data.filter = 'one_pass'
    with pytest.raises(UserError, match='has no reviews_Toy.json.gz or reviews_Toy.json'):
        sources.source_files(config)


def test_files_that_the_config_names_must_be_there(config, tmp_path):
    (tmp_path / 'interactions.csv').write_text('user,item,time\n')
    config.data.update({'kind': 'table', 'source': str(tmp_path)})
    assert set(sources.source_files(config)) == {'interactions'}
    config.data.users_file = 'people.csv'
    with pytest.raises(UserError, match='has no people.csv; put it there or set data.users_file'):
        sources.source_files(config)


def test_checksums_follow_content(config, tmp_path):
    config.data.update({'kind': 'table', 'source': str(tmp_path)})
    (tmp_path / 'interactions.csv').write_text('user,item,time\nu,i,1\n')
    before = sources.source_checksums(config)
    (tmp_path / 'interactions.csv').write_text('user,item,time\nu,i,2\n')
    assert before != sources.source_checksums(config)
    config.data.kind = 'shop'
    assert sources.source_checksums(config) == []


def test_unknown_kind_and_layout(config, tmp_path):
    config.data.update({'source': str(tmp_path), 'layout': '2020'})
    with pytest.raises(UserError, match="data.layout is '2020'; choose one of 2014, 2018, 2023"):
        sources.source_files(config)
    config.data.kind = 'yelp'
    with pytest.raises(UserError, match="data.kind is 'yelp'; choose one of"):
        sources.source_files(config)

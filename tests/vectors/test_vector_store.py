"""Vectors of a server: kept once, in the right row, whatever happens."""

import random
import sqlite3

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.llm.answer_store import AnswerStore
from grasp_jax.vectors.encoders import encoder_of
from grasp_jax.vectors.vector_store import VectorStore, fill
from tests.llm.ask_many import config_for

ITEMS = [f'Item number {number}.' for number in range(70)]
USERS = [f'A user of kind {number % 20}.' for number in range(50)]


def config_of(url, **encode):
    config = config_for(url, {'concurrency': 4})
    config.encode.update({'kind': 'openai', 'model': 'vectors', 'batch_size': 8, **encode})
    return config


def truth(texts):
    """What the scripted server returns, of unit length."""
    def vector(text):
        rng = random.Random(text)
        return [rng.gauss(0, 1) for _ in range(16)]

    found = np.array([vector(text) for text in texts], np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def embed(config, folder, items=ITEMS, users=USERS):
    found = encoder_of(config, folder).encode(items, users)
    return found, found.items[found.item_rows], found.users[found.user_rows]


def test_every_text_gets_its_own_vector_through_all_faults(scripted, tmp_path):
    with scripted({'429': 0.1, '500': 0.1, 'dropped': 0.05, 'wrong': 0.1, 'cut': 0.05, 'slow': 0.2}) as (url, log):
        found, items, users = embed(config_of(url), tmp_path)
        assert np.allclose(items, truth(ITEMS), atol=1e-6) and np.allclose(users, truth(USERS), atol=1e-6)
        assert found.facts['embedded'] == 90 and len({text for block in log() for text in block}) == 90
        sent = len(log())
        more = [*ITEMS, 'A new item.']
        found, items, _ = embed(config_of(url), tmp_path, more)
        assert np.allclose(items, truth(more), atol=1e-6) and found.facts['embedded'] == 1
        assert [text for block in log()[sent:] for text in block] == ['A new item.']


def test_a_cap_holds_where_texts_take_more_than_was_estimated(scripted, tmp_path):
    with scripted({'delay': 0.05, 'dense': 10}) as (url, log):
        config = config_of(url)
        config.llm.update({'max_usd': 2.0, 'prices': (('vectors', 1000.0, 0.0),)})
        with pytest.raises(UserError, match='max_usd=2.0 leaves no room'):
            embed(config, tmp_path)
        spent = sum(10 * len(text.split()) for block in log() for text in block) / 1000
        assert 1.2 < spent <= 2.0


def test_a_cap_of_requests_holds_where_blocks_are_refused(scripted, tmp_path):
    texts = [f'a b {number}' for number in range(8)]
    with scripted({'longest': 3}) as (url, log):
        config = config_of(url)
        config.llm.max_requests = 6
        with pytest.raises(UserError, match='max_requests=6 is reached'):
            embed(config, tmp_path, texts, [])
        assert log() == [[texts[0]], [texts[1]]], 'after 8, 4 and 2 in one'
    with scripted({'longest': 3}) as (url, log):
        assert np.allclose(embed(config_of(url), tmp_path, texts, [])[1], truth(texts), atol=1e-6)
        assert len(log()) == 6


@pytest.mark.parametrize(('faults', 'message'), [
    ({'shift': 1}, r'fails: its vectors are not numbered from 0 to 7|keeps failing .its vectors are not numbered'),
    ({'wrong': 1.0}, 'keeps failing .overloaded.')])
def test_vectors_that_may_be_of_other_texts_are_not_kept(scripted, tmp_path, monkeypatch, faults, message):
    monkeypatch.setattr('grasp_jax.llm.server._PAUSES', (0.01,))
    with scripted(faults) as (url, _), pytest.raises(UserError, match=message):
        embed(config_of(url), tmp_path)
    with scripted({}) as (url, _):
        found, items, _ = embed(config_of(url), tmp_path)
        assert found.facts['embedded'] == 90 and np.allclose(items, truth(ITEMS), atol=1e-6)


@pytest.mark.parametrize(('faults', 'extra'), [
    ({'no_base64': True}, '{}'), ({'base64': True}, '{}'),
    ({'no_base64': True, 'needs': 'input_type'}, '{"input_type": "passage"}'),
    ({'knows': ['model', 'input', 'encoding_format', 'input_type']}, '{"input_type": "passage", "top_p": 0.9}'),
    ({'knows': ['model', 'input', 'encoding_format']}, '{"chat_template_kwargs": {"enable_thinking": false}}')])
def test_servers_with_a_dialect_are_usable(scripted, tmp_path, faults, extra):
    with scripted(faults) as (url, _):
        config = config_of(url)
        config.llm.extra = extra
        found, items, users = embed(config, tmp_path)
        assert np.allclose(items, truth(ITEMS), atol=1e-6) and np.allclose(users, truth(USERS), atol=1e-6)
        assert found.facts['embedded'] == 90 and found.facts['texts_cut'] == 0


def test_what_is_sent_beside_the_texts_tells_vectors_apart(scripted, tmp_path):
    with scripted() as (url, _):
        config = config_of(url)
        plain = encoder_of(config).fingerprint()
        embed(config, tmp_path)
        config.llm.extra = '{"top_p": 0.5}'  # shapes answers alone
        assert embed(config, tmp_path)[0].facts['embedded'] == 0 and encoder_of(config).fingerprint() == plain
        config.llm.extra = '{"input_type": "query"}'
        assert embed(config, tmp_path)[0].facts['embedded'] == 90
        assert encoder_of(config).fingerprint() == {**plain, 'extra': {'input_type': 'query'}}
        config.llm.extra = '{"input": "x"}'
        with pytest.raises(UserError, match="llm.extra: 'input' is set by the program"):
            embed(config, tmp_path)


@pytest.mark.parametrize('counts', [float('inf'), 2 ** 70, -5, 'many', None])
def test_odd_counts_of_tokens_lose_no_vector(scripted, tmp_path, counts):
    with scripted({'counts': counts}) as (url, _):
        found, items, _ = embed(config_of(url), tmp_path)
        assert np.allclose(items, truth(ITEMS), atol=1e-6) and 90 < found.facts['tokens'] < 2000


@pytest.mark.parametrize('content', ['', '[]', '{"model": {"name": "a"}}', None])
def test_a_lost_manifest_is_one_line_and_loses_no_vector(tmp_path, content):
    with VectorStore(tmp_path, {'name': 'a'}) as store:
        store.add(['a', 'b'], np.eye(2))
        path = store.folder / 'manifest.json'
    whole = path.read_text()
    path.unlink()
    if content is not None:
        path.write_text(content)
    for use in (lambda store: store.table(), lambda store: store.add(['c'], np.ones((1, 3)))):
        with pytest.raises(UserError, match='manifest.json: is missing or damaged; write .* into it with the width'), \
                VectorStore(tmp_path, {'name': 'a'}) as store:
            use(store)
    path.write_text(whole.replace('"width": 2', '"width": 0').replace('0', '2'))
    with VectorStore(tmp_path, {'name': 'a'}) as store:
        assert store.table().tolist() == [[1, 0], [0, 1]]


def test_models_never_mix(scripted, tmp_path):
    with scripted() as (url, log):
        embed(config_of(url), tmp_path)
        sent = len(log())
        other = config_of(url, model='others')
        assert embed(other, tmp_path)[0].facts['embedded'] == 90 and len(log()) == 2 * sent
        other.llm.revision = '2'
        assert embed(other, tmp_path)[0].facts['embedded'] == 90
        other.encode.dimensions = 16
        assert embed(other, tmp_path)[0].facts['embedded'] == 90
    assert len(list((tmp_path / 'vectors').iterdir())) == 4


def test_a_stopped_run_keeps_what_it_has(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr('grasp_jax.llm.server._PAUSES', ())
    with scripted({'500': 0.6}) as (url, log):
        with pytest.raises(UserError, match='keeps failing'):
            embed(config_of(url), tmp_path)
        done = {text for block in log() for text in block}
    with scripted() as (url, log):
        _, items, users = embed(config_of(url), tmp_path)
        assert not done & {text for block in log() for text in block}
    assert np.allclose(items, truth(ITEMS), atol=1e-6) and np.allclose(users, truth(USERS), atol=1e-6)


def test_rows_written_by_a_run_that_died_before_its_commit_are_written_again(tmp_path):
    model = {'name': 'a'}
    with VectorStore(tmp_path, model) as store:
        store.add(['a', 'b'], np.eye(2))
        with (store.folder / 'vectors.f32').open('ab') as file:
            file.write(b'x' * 5)  # the beginning of a row that the index never heard of
        store.add(['c'], np.full((1, 2), 3.0))
        assert store.rows(['c', 'x', 'a']).tolist() == [2, -1, 0]
        assert store.table().tolist() == [[1, 0], [0, 1], [3, 3]]
        with pytest.raises(UserError, match='are 3 wide, those before 2'):
            store.add(['d'], np.zeros((1, 3)))
        with pytest.raises(UserError, match='finite'):
            store.add(['d'], np.full((1, 2), np.nan))
        assert list(store.missing(['a', 'd', 'd', 'e', 'f'], 2)) == [['d', 'e'], ['f']]
        rows, made = fill(store, ['a', 'd', 'd'], 2,
                          lambda blocks, _: [store.add(block, np.ones((len(block), 2))) for block in blocks])
        assert rows.tolist() == [0, 3, 3] and made == 1
        folder = store.folder
    with sqlite3.connect(folder / 'index.sqlite') as index:
        assert index.execute('pragma integrity_check').fetchone() == ('ok',)
    (folder / 'vectors.f32').write_bytes(b'')
    with VectorStore(tmp_path, model) as store, pytest.raises(UserError, match='shorter'):
        store.table()


def test_a_store_that_another_process_filled_is_as_wide_as_it_made_it(tmp_path):
    with VectorStore(tmp_path, {'name': 'a'}) as one, VectorStore(tmp_path, {'name': 'a'}) as other:
        one.add(['a', 'b'], np.eye(2))
        assert other.table().tolist() == [[1, 0], [0, 1]] and other.width == 2
    with VectorStore(tmp_path, {'name': 'b'}) as one, VectorStore(tmp_path, {'name': 'b'}) as other:
        one.add(['a', 'b'], np.eye(2))
        with pytest.raises(UserError, match='are 3 wide, those before 2'):
            other.add(['c'], np.zeros((1, 3)))


def test_what_is_embedded_of_a_refused_block_is_kept(scripted, tmp_path):
    texts = ['a b', 'c d', 'e f', 'g h i j']
    with scripted({'longest': 3}) as (url, log):
        with pytest.raises(UserError, match="refuses 'g h i j'"):
            embed(config_of(url), tmp_path, texts, [])
        assert log() == [['a b'], ['c d'], ['e f']]
    with scripted({'longest': 4}) as (url, log):
        assert np.allclose(embed(config_of(url), tmp_path, texts, [])[1], truth(texts), atol=1e-6)
        assert log() == [['g h i j']]


def test_a_text_that_is_halved_again_and_again_is_cut_once(scripted, tmp_path):
    long = ' '.join(['word'] * 320)
    with scripted({'longest': 50}) as (url, log):
        found, items, _ = embed(config_of(url), tmp_path, [long], [])
        assert found.facts['texts_cut'] == 1 and np.allclose(items, truth(log()[0]), atol=1e-6)


@pytest.mark.parametrize('name', ['index.sqlite', 'store.sqlite'])
def test_a_damaged_store_is_one_line(tmp_path, name):
    def used(damaged):
        with VectorStore(tmp_path, {'name': 'a'}) as vectors, AnswerStore(vectors.folder / 'store.sqlite') as answers:
            keys = [f'{number:064}' for number in range(300)]
            if not damaged:
                vectors.add(keys, np.ones((300, 2)))
                for key in keys[:8]:
                    answers.put(key, 'm', {}, 'A text. ' * 200)
                return vectors.folder / name
            (vectors.rows if name == 'index.sqlite' else answers.texts)(keys)

    path = used(False)
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b'\xff' * (len(content) - 4096))
    with pytest.raises(UserError, match=f'{name}: cannot be read .*(delete|copy)') as caught:
        used(True)
    assert '\n' not in str(caught.value)

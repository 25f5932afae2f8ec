"""What is refused over HTTP: by one sentence, without a path or a traceback, and nobody else notices."""

import asyncio
import json
import re
import socket
import time

import pytest

from tests.serving.http_service import FEW, TOKEN, flood, quoted, read_all, running
from tests.tiny_runs import ODD

pytestmark = pytest.mark.slow

LONG = '🙂' * 10_000


@pytest.mark.parametrize(('method', 'path', 'body', 'status', 'words'), [
    ('POST', '/recommend', {}, 400, 'give a user or a history'),
    ('POST', '/recommend', {'user': 'u00', 'history': []}, 400, 'give a user or a history'),
    ('POST', '/recommend', {'user': 'nobody'}, 404, "user 'nobody': is not known"),
    ('POST', '/recommend', {'user': True}, 400, 'user: true is no id'),
    ('POST', '/recommend', {'user': LONG}, 400, 'has 10000 characters'),
    ('POST', '/recommend', {'history': ['i001', 'gone', 'lost']}, 404, r"item 'gone' is not known \(2 of 3"),
    ('POST', '/recommend', {'history': 'i001'}, 400, "history='i001': give a list of ids"),
    ('POST', '/recommend', {'history': [None]}, 400, 'history: null is no id'),
    ('POST', '/recommend', {'history': [['i001']]}, 400, 'history: a list is no id'),
    ('POST', '/recommend', {'history': ['\ud800']}, 404, 'is not known'),
    ('POST', '/recommend', {'history': ['i001'] * 100_000}, 400, 'has 100000 items; give the last 1000'),
    ('POST', '/recommend', {'history': ['i001'], 'k': 10 ** 9}, 400, 'k=1000000000: give a whole number from 1 to 16'),
    ('POST', '/recommend', {'history': ['i001'], 'k': 0}, 400, 'k=0'),
    ('POST', '/recommend', {'history': ['i001'], 'k': True}, 400, 'k=true'),
    ('POST', '/recommend', {'history': ['i001'], 'k': 2.5}, 400, 'k=2.5'),
    ('POST', '/recommend', {'history': ['i001'], 'exact': 1}, 400, 'exact=1: give true or false'),
    ('POST', '/recommend', {'history': ['i001'], 'items_to_recommend': []}, 400, 'items_to_recommend: is empty'),
    ('POST', '/recommend', {'history': ['i001'], 'items_to_exclude': ['x' * 90]}, 404, r"item '(x{80})' is not known"),
    ('POST', '/recommend', {'history': ['i001'], 'topk': 3}, 400, "no field 'topk'; there are user, history, k"),
    ('POST', '/recommend', b'{"history": [', 400, 'the body is no JSON'),
    ('POST', '/recommend', b'\xff\xfe\xfd', 400, 'the body is no JSON'),
    ('POST', '/recommend', b'[' * 500_000, 400, 'the body is no JSON'),
    ('POST', '/recommend', b'{"k": ' + b'9' * 5000 + b'}', 400, 'the body is no JSON'),
    ('POST', '/recommend', b'{"history": ["i001"], "k": ' + b'9' * 4000 + b'}', 400, 'more than 20 digits'),
    ('POST', '/recommend', b'[1, 2]', 400, 'the body is a list'),
    ('POST', '/recommend', b'', 400, 'the body is no JSON'),
    ('POST', '/recommend', b'{"history": ["' + b'x' * (1 << 20) + b'"]}', 413, 'larger than 1048576 bytes'),
    ('GET', '/recommend', None, 405, 'another method'), ('POST', '/nothing', {}, 404, 'nothing at this address'),
    ('GET', '/similar/nothing', None, 404, "item 'nothing' is not known"),
    ('GET', '/similar/i001?k=many', None, 400, "k='many'"), ('GET', '/similar/i001?k=17', None, 400, 'from 1 to 16'),
    ('GET', '/similar/', None, 404, "item '' is not known"), ('GET', '/similar/%FF%00', None, 404, 'is not known'),
    ('GET', '/similar/' + 'x' * 10_000, None, 404, 'is not known'),
    ('GET', '/search', None, 400, 'q: give words'), ('GET', '/search?q=' + 'x' * 2000, None, 400, 'q: give words'),
    ('POST', '/explain', {'history': ['i001']}, 400, 'item: name one'),
    ('POST', '/explain', {'history': [], 'item': ODD}, 400, 'history: is empty'),
    ('POST', '/explain', {'history': ['i001'], 'item': 'gone'}, 404, "item 'gone' is not known"),
    ('POST', '/items', {'items': []}, 400, 'items: give a list of objects'),
    ('POST', '/items', {'items': ['i001']}, 400, 'items: give a list of objects'),
    ('POST', '/items', {'items': [{'item_id': 'new', 'title': {'a': 1}}]}, 400, 'give a text, a number'),
    ('POST', '/items', {'items': [{'item_id': 'new', 'title': 'x' * 20_000}]}, 400, 'more than 10000 characters'),
    ('POST', '/items', {'items': [{'title': 'no id'}]}, 422, 'have no column'),
    ('POST', '/items', {'items': [{'item_id': 'i001', 'title': 'a thing'}]}, 422, "'i001': is known already"),
    ('POST', '/items', {'items': [{'item_id': 'new', 'text': 'zzzz qqqq'}]}, 422, 'says nothing to the encoder'),
    ('POST', '/items', {'items': [{'item_id': 'new', 'titel': 'thing03'}]}, 422, 'are title, brand; it has titel'),
    ('POST', '/items', {'items': [{'item_id': 'new', 'title': '', 'brand': None}]}, 422, 'nothing but its id'),
    ('POST', '/items', {'items': [{'item_id': 'new', 'title': 'xqzz blorp'}]}, 422, 'says nothing to the encoder'),
    ('POST', '/items', {'items': [{'item_id': 'I001', 'title': 'thing03'}]}, 422, "'i001' is known, and they differ"),
    ('POST', '/reload', {'check': 1}, 403, 'only where a token is set'),
    ('POST', '/items', {'items': [{'item_id': f'new{row}'} for row in range(101)]}, 400, 'items: are 101'),
    ('POST', '/reload', {}, 403, 'only where a token is set')])
def test_one_sentence_says_what_is_wrong(service, untrained, tiny_table, method, path, body, status, words):
    found, said = service.ask(method, path, body)
    assert (found, list(said)) == (status, ['error'])
    assert re.search(words, said['error']), said
    assert len(said['error']) < 300 and '\n' not in said['error']
    assert not any(words in said['error'] for words in (str(untrained().parent), str(tiny_table.parent), 'Traceback'))
    assert service.get('/health')[0] == 200


def test_an_address_without_end_is_refused(service):
    status, said = service.get('/similar/' + quoted(LONG))
    assert status in (400, 404) and len(said['error']) < 200, 'some versions of httptools read it, others do not'


def test_long_histories_that_are_allowed_are_answered(service):
    history = [f'i{place % 7:03d}' for place in range(1000)]
    status, said = service.post('/recommend', history=history)
    assert status == 200
    assert said['items'] == service.post('/recommend', history=history[-9:])[1]['items'], 'the model reads 9'


def raw(service, *parts, pause=0.0):
    """Sends bytes, waiting between them, and reads to the end."""
    with socket.create_connection((service.host, service.port)) as client:
        client.settimeout(60)
        for part in parts:
            client.sendall(part)
            time.sleep(pause)
        return read_all(client)


def test_a_body_in_chunks_has_the_same_limit(service):
    head = b'POST /recommend HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n'
    chunk = b'%x\r\n%b\r\n' % (1 << 16, b'x' * (1 << 16))
    answer, body = raw(service, head, *[chunk] * 20, b'0\r\n\r\n')
    assert ' 413 ' in answer and 'larger than' in json.loads(body)['error']
    small = b'{"history": ["i001"]}'
    answer, body = raw(service, head.replace(b'chunked', b'chunked\r\nConnection: close'),
                       b'%x\r\n%b\r\n0\r\n\r\n' % (len(small), small))
    assert ' 200 ' in answer and json.loads(body)['source'] == 'model'


def test_what_is_no_http_is_told_so(service):
    answer, body = raw(service, b'\x16\x03\x01hello\r\n\r\n')
    assert answer.startswith('HTTP/1.1 400') and json.loads(body) == {'error': 'this is no request of HTTP'}


@pytest.mark.parametrize(('headers', 'status'), [
    ({'Host': 'evil.example'}, 421), ({'Host': 'evil.example:8000'}, 421), ({'Host': ''}, 421),
    ({'Host': 'LOCALHOST:1'}, 200), ({'Host': '[::1]:8000'}, 200), ({'Origin': 'http://evil.example'}, 403),
    ({'Origin': 'null'}, 403), ({'Origin': 'http://localhost:1', 'Host': 'localhost:1'}, 200)])
def test_other_names_and_other_sites_are_refused(service, headers, status):
    assert service.ask('GET', '/search?q=thing01', headers=headers)[0] == status
    assert service.ask('POST', '/recommend', {'history': ['i001']}, headers=headers)[0] == status


@pytest.fixture(scope='module')
def strict(untrained, tmp_path_factory):
    """A service that asks for a token, with little patience and little room."""
    with running(tmp_path_factory.mktemp('strict'), f'--workdir={untrained()}', *FEW, '--max_queue=2',
                 '--client_seconds=0.6', '--max_connections=60', '--allowed_hosts=rec.example.com',
                 token=TOKEN) as found:
        yield found


@pytest.mark.parametrize(('path', 'body'), [
    ('/recommend', {'history': ['i001']}), ('/explain', {'history': ['i001'], 'item': ODD}), ('/search?q=x', None),
    ('/similar/i001', None), ('/items', {'items': []}), ('/reload', {}), ('/metrics', None), ('/docs', None),
    ('/openapi.json', None), ('/nothing', None)])
def test_where_a_token_is_set_it_is_asked_for(strict, path, body):
    method = 'GET' if body is None else 'POST'
    for shown in ('', 'Bearer', 'Bearer wrong', f'Bearer {TOKEN}x', f'Basic {TOKEN}', TOKEN, 'Bearer ü'.encode()):
        status, said = strict.ask(method, path, body, headers={'Authorization': shown})
        assert status == 401 and TOKEN not in said['error']
    assert strict.ask(method, path, body)[0] != 401


def test_the_page_and_the_health_need_no_token_and_a_name_can_be_allowed(strict):
    for path in ('/', '/health'):
        assert strict.ask('GET', path, headers={'Authorization': '', 'Host': 'rec.example.com'})[0] == 200
    assert TOKEN not in strict.said()


def test_beyond_the_queue_comes_503_and_then_all_is_well(strict):
    answers = flood(strict, [{'history': ['i001', 'i002']}] * 50)
    statuses = [head.split()[1] for head, _ in answers]
    assert set(statuses) == {'200', '503'}
    refused = next(answer for answer in answers if ' 503 ' in answer[0])
    assert 'retry-after: 1' in refused[0] and 'too many' in json.loads(refused[1])['error']
    assert strict.post('/recommend', history=['i001'])[0] == 200


@pytest.mark.parametrize('parts', [
    (b'POST /recommend HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\nContent-Length: 30\r\n\r\n{'
     % TOKEN.encode(),), (b'GET /health HTT',), ()], ids=('body', 'head', 'nothing'))
def test_a_client_that_hangs_is_sent_away_and_harms_nobody(strict, parts):
    with socket.create_connection((strict.host, strict.port)) as client:
        client.settimeout(60)
        began = time.monotonic()
        for part in parts:
            client.sendall(part)
        assert strict.post('/recommend', history=['i001'])[0] == 200
        head, body = read_all(client)
        assert ' 408 ' in head and 'after 0.6 seconds' in json.loads(body)['error']
        assert 0.5 < time.monotonic() - began < 20


def test_more_clients_than_there_is_room_for_are_sent_away(strict):
    there = [socket.create_connection((strict.host, strict.port)) for _ in range(70)]
    refused = 0
    for client in there:
        with client:
            client.settimeout(60)
            refused += ' 503 ' in read_all(client)[0]
    assert 8 <= refused <= 12  # the others have said nothing in time
    assert strict.get('/health')[0] == 200


def test_a_head_without_end_is_refused(strict):
    lines = [b'X-%d: %b\r\n' % (number, b'x' * 60_000) for number in range(5)]
    answer, body = raw(strict, b'GET / HTTP/1.1\r\n', *lines)
    assert ' 431 ' in answer and 'head of a request' in json.loads(body)['error']


def test_a_mistake_of_the_service_is_told_without_its_words(caplog):
    from grasp_jax.serving.http.guard import Guard
    from grasp_jax.serving.http.limits import Limits
    from grasp_jax.serving.http.metrics import Metrics
    said, metrics = [], Metrics()

    async def app(scope, receive, send):
        raise RuntimeError('/secret/path')

    async def send(message):
        said.append(message)

    guard = Guard(app, {}, Limits(), metrics)
    asyncio.run(guard({'type': 'http', 'method': 'GET', 'path': '/search', 'headers': []}, None, send))
    assert said[0]['status'] == 500
    assert json.loads(said[1]['body']) == {'error': 'the service made a mistake; its log says which'}
    assert b'grasp_jax_requests_total{route="/search",status="500"} 1.0' in metrics.text()

"""The command: how it starts, how it ends, and what it says when it cannot."""

import concurrent.futures
import http.client
import signal
import socket
import time

import pytest

from tests.serving.http_service import FEW, running

BODY = '{"history": ["i001", "i002"]}'


def ask_until_the_door_is_shut(service):
    """Answers that came, and requests that were sent and got none."""
    answered, lost, client = 0, 0, service.client
    while True:
        try:
            client.connect()
        except OSError:
            return answered, lost
        while True:
            try:
                client.request('POST', '/recommend', BODY)
                answer = client.getresponse()
                assert answer.status == 200 and answer.read().startswith(b'{"items":[{')
                answered += 1
            except (OSError, http.client.HTTPException):
                lost += 1
                break
            if answer.headers['connection'] == 'close':
                break
        client.close()


@pytest.mark.slow
def test_sigterm_under_load_loses_nothing_and_ends_with_0(untrained, tmp_path):
    with running(tmp_path, f'--workdir={untrained()}', *FEW) as service:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asking = [pool.submit(ask_until_the_door_is_shut, service) for _ in range(8)]
            time.sleep(0.5)
            assert service.end() == 0
            found = [each.result() for each in asking]
        assert sum(answered for answered, _ in found) > 50
        assert [lost for _, lost in found] == [0] * 8
        assert 'ended; every request was answered' in service.said() and 'Traceback' not in service.said()


@pytest.mark.slow
def test_a_service_that_ends_is_no_longer_ready_and_a_request_that_is_half_there_is_answered(untrained, tmp_path):
    with running(tmp_path, f'--workdir={untrained()}', *FEW) as service, socket.create_connection(
            (service.host, service.port)) as client:
        client.sendall(f'POST /recommend HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(BODY)}\r\n\r\n'.encode())
        time.sleep(0.2)
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        assert service.get('/health') == (503, {'error': 'the service is ending'})
        time.sleep(1)
        client.sendall(BODY.encode())
        client.settimeout(60)
        assert client.recv(1000).startswith(b'HTTP/1.1 200 ')
        assert service.process.wait(60) == 0


@pytest.mark.slow
def test_it_ends_well_also_while_it_starts_and_says_then_that_it_is_not_ready(untrained, tmp_path):
    with running(tmp_path, f'--workdir={untrained()}', *FEW, wait=False) as service:
        service.wait_for('made ready at http://127.0.0.1:')
        service.host, service.port = '127.0.0.1', int(service.said().rpartition(':')[2].split()[0])
        until = time.monotonic() + 20
        while time.monotonic() < until:
            try:
                if service.get('/health') == (503, {'ready': False, 'model': None, 'items': 0, 'users': 0}):
                    break
            except ConnectionRefusedError:
                time.sleep(0.02)
        status, said = service.post('/recommend', history=[])
        assert (status, said) in ((503, {'error': 'the model is being made ready; ask again in a moment'}),
                                  (200, said))
        assert service.end() == 0
        assert 'Traceback' not in service.said()


@pytest.mark.parametrize(('flags', 'words'), [
    ((), '--workdir is missing'), (('--workdir=/nowhere',), '/nowhere'), (('--workdir=.', '--port=70000'), 'port'),
    (('--workdir={run}', '--seed=5'), 'seed 5 is not finished'), (('--workdir={run}', '--max_k=0'), 'max_k'),
    (('--workdir={run}', '--models=/nowhere'), '--models=/nowhere: is no folder'),
    (('--workdir={run}', '--host=192.0.2.1'), '--host=192.0.2.1 --port=0: cannot be listened on'),
    (('--workdir={run}', 'now'), "'now' is not a flag"), (('--workdir={run}', '--token=secret'), 'token')])
def test_what_is_wrong_with_the_command_is_one_line_and_exit_code_2(untrained, module, flags, words):
    run = str(untrained())
    ended = module('serve', '--port=0', *(flag.format(run=run) for flag in flags))
    last = ended.stderr.strip().splitlines()[-1]
    assert ended.returncode == 2 and last.startswith('error: ') and words in last
    assert 'Traceback' not in ended.stderr


def test_a_port_that_is_taken_is_named(untrained, module):
    with socket.create_server(('127.0.0.1', 0)) as taken:
        port = taken.getsockname()[1]
        ended = module('serve', f'--workdir={untrained()}', f'--port={port}')
    assert ended.returncode == 2 and f'--port={port}: cannot be listened on' in ended.stderr


@pytest.mark.slow
def test_who_listens_to_everybody_without_a_token_is_warned(untrained, tmp_path):
    with running(tmp_path, f'--workdir={untrained()}', *FEW, '--host=0.0.0.0', wait=False) as service:
        service.wait_for('warning: anyone who reaches --host=0.0.0.0 can ask')
    with running(tmp_path, f'--workdir={untrained()}', *FEW, '--host=0.0.0.0', token='one', wait=False) as service:
        service.wait_for('made ready at')
        assert 'warning' not in service.said()


def test_help_is_enough_to_get_going(module):
    shown = module('serve', '--help')
    assert shown.returncode == 0
    for words in ('curl -s http://127.0.0.1:8000/recommend', '--workdir', '--max_queue', 'GRASP_JAX_TOKEN', '/reload'):
        assert words in shown.stdout

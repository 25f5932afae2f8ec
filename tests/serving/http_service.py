"""A service in a process of its own, and what a client needs."""

import contextlib
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FEW = ('--max_batch=4', '--max_k=16')  # few programs, so that the service is ready soon
TOKEN = 'a secret of the tests'


class Running:
    """`python -m grasp_jax.serve --port=0 ...`, waited for."""

    def __init__(self, folder, *flags, token='', wait=True):
        self.token, self.log = token, pathlib.Path(folder) / f'serve_{time.monotonic_ns()}.log'
        environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE'], 'GRASP_JAX_TOKEN': token}
        with self.log.open('w') as log:
            self.process = subprocess.Popen([sys.executable, '-m', 'grasp_jax.serve', '--port=0', *flags], cwd=ROOT,
                                            stdout=log, stderr=subprocess.STDOUT, env=environment)
        if wait:
            self.wait_for('\nready\n')
            address = self.said().partition('made ready at ')[2].split()[0]
            self.host, _, port = urllib.parse.urlsplit(address).netloc.rpartition(':')
            self.port = int(port)

    def said(self):
        return self.log.read_text()

    def wait_for(self, words, seconds=300):
        until = time.monotonic() + seconds
        while words not in self.said():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)

    @property
    def client(self):
        return http.client.HTTPConnection(self.host, self.port, timeout=60)

    def ask(self, method, path, body=None, headers=None, client=None):
        """Status and JSON (or text) of an answer."""
        client = client or self.client
        headers = {**({'Authorization': f'Bearer {self.token}'} if self.token else {}), **(headers or {})}
        client.request(method, path, json.dumps(body) if isinstance(body, (dict, list)) else body, headers)
        answer = client.getresponse()
        text = answer.read().decode()
        return answer.status, json.loads(text) if answer.headers['content-type'] == 'application/json' else text

    def post(self, route, /, client=None, **body):
        return self.ask('POST', route, body, client=client)

    def get(self, route, /, **query):
        return self.ask('GET', route + ('?' + urllib.parse.urlencode(query) if query else ''))

    def metric(self, name):
        """The number of a line of /metrics."""
        lines = [line for line in self.get('/metrics')[1].splitlines() if line.startswith(name)]
        return sum(float(line.rpartition(' ')[2]) for line in lines)

    def end(self, how=signal.SIGTERM):
        """Ends it; returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(60)


@contextlib.contextmanager
def running(folder, *flags, **settings):
    """A service that is gone afterwards."""
    service = Running(folder, *flags, **settings)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()


def quoted(item):
    """An id in an address."""
    return urllib.parse.quote(item, safe='')


def flood(service, bodies, path='/recommend'):
    """Statuses of requests that are all sent before any answer is read, each by a client of its own."""
    clients = [socket.create_connection((service.host, service.port)) for _ in bodies]
    head = f'POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n'
    if service.token:
        head += f'Authorization: Bearer {service.token}\r\n'
    for client, body in zip(clients, bodies, strict=True):
        data = json.dumps(body).encode()
        client.sendall(f'{head}Content-Length: {len(data)}\r\n\r\n'.encode() + data)
    found = []
    for client in clients:
        with client:
            client.settimeout(60)
            found.append(read_all(client))
    return found


def read_all(client):
    """Head and body of what a connection says until it ends."""
    data = b''
    with contextlib.suppress(ConnectionResetError):
        while more := client.recv(1 << 16):
            data += more
    head, _, body = data.partition(b'\r\n\r\n')
    return head.decode(), body

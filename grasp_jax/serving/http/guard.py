"""What every request passes before the routes see it: who may ask, from where, how much, and how long it may take.

It is the outermost layer, so that every error that leaves the service is JSON of one sentence.
"""

import asyncio
import hmac
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, MutableMapping, Sequence
from typing import Any

from grasp_jax.serving.http import problems
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.http.metrics import Metrics
from grasp_jax.serving.http.problems import Problem

LOG = logging.getLogger(__name__)
Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Direct = Callable[[bytes], Awaitable[bytes]]
Headers = Sequence[tuple[bytes, bytes]]

ROUTES = ('/', '/recommend', '/similar', '/items', '/explain', '/search', '/health', '/metrics', '/reload', '/docs')
OPEN = ('/', '/health')  # that no token is asked for
_JSON: Headers = [(b'content-type', b'application/json')]
_THROWN_AWAY = 16  # times `max_body` that is read of a body that is too large, so that its sender reads the answer


class Guard:
    """A layer around an app.

    Attributes:
      draining: whether the service ends, and each answer ends its connection.
    """

    def __init__(self, app: App, direct: Mapping[str, Direct], limits: Limits, metrics: Metrics, token: str = '',
                 hosts: Collection[str] | None = None):
        """Takes what is checked.

        Args:
          app: that is guarded.
          direct: by path, what makes answers of bodies (POST) without the app, which takes as long as all the rest.
          limits: of bodies and times.
          metrics: that count.
          token: that must be shown; empty: none.
          hosts: names that the service is called by; None: any.
        """
        self._app, self._direct, self._limits, self._metrics = app, direct, limits, metrics
        self._token, self._hosts = token.encode(), hosts
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handles one request (ASGI)."""
        if scope['type'] != 'http':
            return
        started, status = time.perf_counter(), 0  # it stays so where the client goes away before

        async def answer(message: Message) -> None:
            nonlocal status
            if message['type'] == 'http.response.start':
                status = message['status']
                if self.draining:
                    message['headers'] = [*message.get('headers', ()), (b'connection', b'close')]
            await send(message)

        try:
            self._check(scope)
            if scope['method'] == 'POST':
                body, direct = await self._body(scope, receive), self._direct.get(scope['path'])
                if direct is not None:
                    await _send(200, _JSON, await direct(body), answer)
                    return
                receive = _replayed(body, receive)
            await self._app(scope, receive, answer)
        except Problem as problem:
            await _refuse(problem, answer)
        except Exception:
            LOG.exception('%s %s failed', scope['method'], route_of(scope['path']))
            if not status:
                await _refuse(problems.unexpected(), answer)
        finally:
            self._metrics.answered(route_of(scope['path']), status or 499, time.perf_counter() - started)

    def _check(self, scope: Scope) -> None:
        """Refuses requests to another name, from another site, or without the token.

        Raises:
          Problem: says which.
        """
        if self.draining and scope['path'] == '/health':
            raise Problem(503, 'the service is ending')
        host = origin = given = b''
        for name, value in scope['headers']:
            if name == b'host':
                host = value
            elif name == b'origin':
                origin = value
            elif name == b'authorization':
                given = value
        if self._hosts is not None and _name_of(host) not in self._hosts:
            raise Problem(421, 'the service is not called by this name; --allowed_hosts says by which', close=True)
        if origin and origin.partition(b'://')[2].lower() != host.lower():
            raise Problem(403, 'pages of other sites may not ask')
        if self._token and scope['path'] not in OPEN:
            kind, _, shown = given.partition(b' ')
            if not hmac.compare_digest(shown.strip(), self._token) or kind.lower() != b'bearer':
                raise Problem(401, 'show the token of the service, as Authorization: Bearer TOKEN')

    async def _body(self, scope: Scope, receive: Receive) -> bytes:
        """The whole body.

        Raises:
          Problem: it is too large or too slow.
        """
        most = self._limits.max_body
        length = next((value for name, value in scope['headers'] if name == b'content-length'), b'0')
        too_large = Problem(413, f'the request is larger than {most} bytes', close=True)
        if not length.isdigit() or int(length) > most * _THROWN_AWAY:
            raise too_large
        try:
            async with asyncio.timeout(self._limits.seconds):
                message = await receive()
                found, size = message.get('body', b''), len(message.get('body', b''))
                chunks = [found]
                while message.get('more_body'):
                    message = await receive()
                    size += len(message.get('body', b''))
                    if size <= most:
                        chunks.append(message.get('body', b''))
                    elif size > most * _THROWN_AWAY:
                        break
        except TimeoutError:
            raise Problem(408, f'the request was not there after {self._limits.seconds:g} seconds',
                          close=True) from None
        if size > most:
            raise too_large
        return found if len(chunks) == 1 else b''.join(chunks)


def route_of(path: str) -> str:
    """What metrics call a path."""
    first = '/' + path[1:].partition('/')[0]
    return first if first in ROUTES else 'other'


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives a body that is there, then what comes."""
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {'type': 'http.request', 'body': body, 'more_body': False}

    return again


def _name_of(host: bytes) -> str:
    """The name in a Host header, without the port."""
    name = host.decode('latin-1').lower()
    if name.startswith('['):
        return name.partition(']')[0][1:]
    return name.rpartition(':')[0] if name.count(':') == 1 else name


async def _send(status: int, headers: Headers, body: bytes, send: Send) -> None:
    headers = [*headers, (b'content-length', b'%d' % len(body))]
    await send({'type': 'http.response.start', 'status': status, 'headers': headers})
    await send({'type': 'http.response.body', 'body': body})


async def _refuse(problem: Problem, send: Send) -> None:
    await _send(problem.status, problem.headers(), problem.body, send)

"""The process: sockets, slow clients, signals."""

import asyncio
import contextlib
import ctypes
import logging
import resource
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from grasp_jax.common.errors import UserError
from grasp_jax.serving.http.guard import Guard
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.http.problems import Problem

LOG = logging.getLogger(__name__)
_LONGEST_HEAD = 1 << 18  # bytes
_DRAIN = 0.5  # seconds in which clients are told that their connection ends, before no more are let in
_LAST = 1.0  # seconds for those that were let in last to say what they want
_ATTACH_FILTER = 26  # SO_ATTACH_FILTER, which Python has no name for
_GRACE = 60  # seconds for what is under way


class Connection(HttpToolsProtocol):
    """A connection whose client must say what it wants in time and in few enough words."""

    limits = Limits()
    _deadline: asyncio.TimerHandle | None = None
    _head = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Lets a client in, or sends it away where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.limits.max_connections:
            self._refuse(Problem(503, 'too many clients are connected; ask again in a moment', close=True))
        else:
            self._await_head()

    def data_received(self, data: bytes) -> None:
        """Reads on; a head without end is refused."""
        if self._deadline is not None:
            self._head += len(data)
            if self._head > _LONGEST_HEAD:
                self._refuse(Problem(431, f'the head of a request has at most {_LONGEST_HEAD} bytes', close=True))
                return
        super().data_received(data)

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self._deadline is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        """The head of a request is there."""
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so."""
        self._refuse(Problem(400, 'this is no request of HTTP', close=True))

    def _await_head(self) -> None:
        self._head = 0
        self._deadline = self.loop.call_later(self.limits.seconds, self._late)

    def _late(self) -> None:
        self._deadline = None
        if not self.transport.is_closing():
            self._refuse(Problem(408, f'the request was not there after {self.limits.seconds:g} seconds', close=True))

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, problem: Problem) -> None:
        self._stop_waiting()
        length = (b'content-length', b'%d' % len(problem.body))
        head = b''.join(b'%b: %b\r\n' % header for header in (*problem.headers(), length))
        self.transport.write(b'HTTP/1.1 %d Refused\r\n%b\r\n%b' % (problem.status, head, problem.body))
        self.transport.close()


class Server(uvicorn.Server):
    """A server that ends well: what clients have asked is answered, and the exit code is 0."""

    def __init__(self, guard: Guard, limits: Limits, start: Callable[[], Awaitable[None]]):
        """Makes a server that listens to nothing yet.

        Args:
          guard: the app.
          limits: of connections.
          start: makes the model ready, once the service listens; its error ends the service.
        """
        self._guard, self._start = guard, start
        self._starting: asyncio.Future[None] | None = None
        self.error: BaseException | None = None
        self._ends_at: float | None = None
        connection = type('LimitedConnection', (Connection,), {'limits': limits})
        super().__init__(uvicorn.Config(guard, http=connection, loop='auto', ws='none', lifespan='off',
                                        interface='asgi3', log_config=None, access_log=False, server_header=False,
                                        proxy_headers=False, timeout_keep_alive=75, timeout_graceful_shutdown=_GRACE))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens, and makes the model ready."""
        await super().startup(sockets)
        starting = self._starting = asyncio.ensure_future(self._start())
        starting.add_done_callback(self._started)

    def _started(self, starting: Any) -> None:
        if not starting.cancelled() and starting.exception() is not None:
            self.error, self.should_exit = starting.exception(), True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ends well on SIGTERM and on the first Ctrl+C."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # else the process would end by the signal, not with 0
        self._guard.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Whether it is time to end."""
        ends, now = await super().on_tick(counter), asyncio.get_running_loop().time()
        if not ends or self.error is not None or self.force_exit:
            return ends
        self._ends_at = self._ends_at or now + _DRAIN
        return now >= self._ends_at

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Lets in who is at the door, closes it, and ends when all requests are answered."""
        for door in sockets or []:
            stop_queue(door)
            await self._empty(door)
        for server in self.servers:
            server.close()
        for door in sockets or []:
            door.close()
        ends_at = asyncio.get_running_loop().time() + _LAST
        while self.server_state.connections and asyncio.get_running_loop().time() < ends_at:
            await asyncio.sleep(_LAST / 20)
        await super().shutdown(sockets)

    async def _empty(self, door: socket.socket) -> None:
        """Lets in the clients that the system has let in."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                client, _ = door.accept()
            except OSError:
                return
            await loop.connect_accepted_socket(lambda: self.config.http_protocol_class(  # type: ignore[call-arg]
                config=self.config, server_state=self.server_state, app_state={}, _loop=loop), client)


def stop_queue(door: socket.socket) -> None:
    """Lets no other client queue at a door, so that none is lost between the last that is let in and its closing.

    The system drops the first packet of a connection (SYN); its client tries again a second later and is refused then,
    as by any port that is closed. Only Linux can; elsewhere a client of that moment is lost.

    Args:
      door: a socket that listens; who is in its queue already stays there.
    """
    if not sys.platform.startswith('linux'):
        return
    flags, syn, everything = 13, 0x02, 0xffffffff  # byte of a TCP head that holds the flags
    program = b''.join(struct.pack('HBBI', *line) for line in (  # classic BPF: code, if true, if false, value
        (0x30, 0, 0, flags), (0x45, 0, 1, syn), (0x06, 0, 0, 0), (0x06, 0, 0, everything)))
    held = ctypes.create_string_buffer(program, len(program))
    with contextlib.suppress(OSError):  # a sandbox may forbid it
        door.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack('HP', 4, ctypes.addressof(held)))


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that is bound and does not listen yet.

    Args:
      host: a name or address of this machine.
      port: 0: any that is free.

    Raises:
      UserError: it is taken, or no address of this machine.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
    except OSError as error:
        raise UserError(f'--host={host} --port={port}: cannot be listened on ({error.strerror or error}); choose '
                        'another --port, or end what uses it') from error
    found.setblocking(False)
    return found


def allow_many_files() -> None:
    """Raises the number of open files, and so of clients, to what the system allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def is_loopback(host: str) -> bool:
    """Whether this machine alone reaches an address."""
    return host in ('localhost', '::1') or host.startswith('127.')


def hosts_of(host: str, more: Sequence[str]) -> frozenset[str] | None:
    """Names that a service may be called by; None: any.

    Args:
      host: that it listens on.
      more: that were allowed.
    """
    if not is_loopback(host) and not more:
        return None
    return frozenset(name.lower() for name in ('localhost', '127.0.0.1', '::1', host, *more))


def address_of(door: socket.socket) -> str:
    """The address of the page, as people type it."""
    host, port = door.getsockname()[:2]
    return f'http://[{host}]:{port}' if ':' in host else f'http://{host}:{port}'

"""What a run may still spend at a server: dollars and requests, those under way counted in full."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from grasp_jax.knowledge.server import Server


class Budget:
    """The caps of `Limits`, held by setting aside what a request may cost before it goes out.

    Attributes:
      spent: dollars, those of earlier runs that count as well; the caller adds what an answer cost.
      sent: requests of this run, the client's own repetitions not counted.
    """

    def __init__(self, server: Server, spent: float = 0.0):
        """`server` is stopped where a cap leaves no room; `spent` is what was spent before."""
        self._server, self.spent, self.sent = server, spent, 0
        self._under_way = 0.0  # dollars that answers under way will cost at most
        self._asking = 0  # requests under way

    @contextlib.asynccontextmanager
    async def request(self, most: float) -> AsyncIterator[bool]:
        """Sets `most` dollars aside for the request that is sent inside; gives False where it must not be sent."""
        server = self._server
        while self._no_room(most) and self._asking and not server.stopped:
            await asyncio.sleep(0.02)  # most answers cost less than was set aside for them
        server.stopped = server.stopped or self._no_room(most)
        if server.stopped:
            yield False
            return
        self.sent += 1
        self._under_way += most
        self._asking += 1
        try:
            yield True
        finally:
            self._under_way -= most
            self._asking -= 1

    def _no_room(self, most: float) -> str:
        """Which cap a further request of `most` dollars would pass; empty where none."""
        limits = self._server.limits
        if limits.max_requests and self.sent >= limits.max_requests:
            return f'--config.llm.max_requests={limits.max_requests} is reached'
        if limits.max_usd and self.spent + self._under_way + most > limits.max_usd:
            return f'--config.llm.max_usd={limits.max_usd} leaves no room for more, raise it to go on'
        return ''

"""What a run may still spend at a server: dollars and requests, those under way counted in full."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from grasp_jax.llm.server import Server


class Budget:
    """The caps of `Limits`, held by setting aside what a request may cost before it goes out.

    Attributes:
      spent: dollars, those of earlier runs that count as well; the caller adds what an answer cost.
      sent: requests of this run; a repetition counts where the one before may have been paid for.
    """

    def __init__(self, server: Server, spent: float = 0.0):
        """`server` is stopped where a cap leaves no room; `spent` is what was spent before."""
        self._server, self.spent, self.sent = server, spent, 0
        self._under_way = 0.0  # dollars that answers under way will cost at most
        self._asking = 0  # requests under way

    @contextlib.asynccontextmanager
    async def request(self, most: float) -> AsyncIterator[bool]:
        """Sets `most` dollars aside for the request that is sent inside; gives False where it must not be sent."""
        if not await self._room(most):
            yield False
            return
        self.sent += 1
        self._add(most, 1)
        try:
            yield True
        finally:
            self._add(-most, -1)

    async def lost(self, most: float) -> None:
        """Counts in full a request under way whose answer never came, and waits for room to send it again; where there
        is none the server is stopped."""
        self.spent += most
        self._add(-most, -1)
        try:
            if await self._room(most):
                self.sent += 1
        finally:
            self._add(most, 1)

    def _add(self, dollars: float, requests: int) -> None:
        self._under_way += dollars
        self._asking += requests

    async def _room(self, most: float) -> bool:
        """Waits until `most` dollars are left; stops the server where they will not be."""
        server = self._server
        while self._no_room(most) and self._asking and not server.stopped:
            await asyncio.sleep(0.02)  # most answers cost less than was set aside for them
        server.stopped = server.stopped or self._no_room(most)
        return not server.stopped

    def _no_room(self, most: float) -> str:
        """Which cap a further request of `most` dollars would pass; empty where none."""
        limits = self._server.limits
        if limits.max_requests and self.sent >= limits.max_requests:
            return f'llm.max_requests={limits.max_requests} is reached'
        if limits.max_usd and self.spent + self._under_way + most > limits.max_usd:
            return f'llm.max_usd={limits.max_usd} leaves no room for more, raise it to go on'
        return ''

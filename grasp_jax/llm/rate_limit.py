"""How fast requests may go out."""


class RateLimiter:
    """Waits until a request may go out.

    Attributes:
      limited: whether it ever has to.
    """

    def __init__(self, requests_per_minute: int, tokens_per_minute: int):
        """0 is no limit."""
        from aiolimiter import AsyncLimiter  # comes with the extra
        self._requests = AsyncLimiter(requests_per_minute, 60) if requests_per_minute else None
        self._tokens = AsyncLimiter(tokens_per_minute, 60) if tokens_per_minute else None
        self.limited = bool(self._requests or self._tokens)

    async def wait(self, tokens: int) -> None:
        """Until a request that takes so many tokens may go out."""
        if self._requests:
            await self._requests.acquire()
        if self._tokens:
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))

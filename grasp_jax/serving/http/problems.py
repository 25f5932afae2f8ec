"""Everything that is answered with an error: one sentence as JSON, never a path, a token or a traceback."""

import json

RETRY_SECONDS = 1


class Problem(Exception):
    """A request that is answered with an error.

    Attributes:
      status: of HTTP.
      sentence: what is wrong and what to do.
      close: whether the connection ends with it.
    """

    def __init__(self, status: int, sentence: str, close: bool = False):
        super().__init__(sentence)
        self.status, self.sentence, self.close = status, sentence, close

    @property
    def body(self) -> bytes:
        """JSON in ASCII."""
        return json.dumps({'error': self.sentence}).encode()

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Of the answer, less its length."""
        found = [(b'content-type', b'application/json')]
        if self.status == 503:
            found.append((b'retry-after', str(RETRY_SECONDS).encode()))
        if self.status == 401:
            found.append((b'www-authenticate', b'Bearer'))
        if self.close:
            found.append((b'connection', b'close'))
        return found


def busy() -> Problem:
    """More requests wait than the queue holds."""
    return Problem(503, 'too many requests are waiting; ask again in a moment')


def starting() -> Problem:
    """The model is not ready yet."""
    return Problem(503, 'the model is being made ready; ask again in a moment')


def unexpected() -> Problem:
    """The service made a mistake; its log says which."""
    return Problem(500, 'the service made a mistake; its log says which')

"""What the program warned of while something was made, kept beside it and said again where it is used again."""

import contextlib
import logging
from collections.abc import Iterator

_PACKAGE = 'grasp_jax'


class _Keeper(logging.Handler):
    """Keeps each different warning once, in the order in which they came."""

    def __init__(self, found: list[str]):
        super().__init__(logging.WARNING)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if text not in self._found:
            self._found.append(text)


@contextlib.contextmanager
def kept() -> Iterator[list[str]]:
    """A list that gets what the loggers of this package warn of inside of the block.

    Example:
      >>> with kept() as found:
      ...     logging.getLogger('grasp_jax.data').warning('%d rows are doubles', 3)
      >>> found
      ['3 rows are doubles']
    """
    found: list[str] = []
    keeper, logger = _Keeper(found), logging.getLogger(_PACKAGE)
    logger.addHandler(keeper)
    try:
        yield found
    finally:
        logger.removeHandler(keeper)

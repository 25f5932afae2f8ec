"""Settings in messages: the library names them as `train.loss`, a command shows the flag `--config.train.loss`."""

import functools
import logging
import re

# A name stands for itself where it is part of a longer one, of a path, or of what somebody wrote, which is in quotes.
_BEFORE, _AFTER = r'(?<![\w./\\=\-"\'`])', r'(?![\w/\\\-]|\.\w|["\'`])'


def as_flags(text: object) -> str:
    """A message with the names of settings as flags, to be printed by a command.

    Args:
      text: a message, or an error.

    Example:
      >>> as_flags('train.loss=5: choose bce')
      '--config.train.loss=5: choose bce'
    """
    return _settings().sub(r'--config.\g<0>', str(text))


class Formatter(logging.Formatter):
    """Log lines of the library as a command shows them."""

    def format(self, record: logging.LogRecord) -> str:
        """As `as_flags`."""
        return as_flags(super().format(record))


@functools.cache
def _settings() -> re.Pattern[str]:
    from grasp_jax.config import settings  # not before there is something to say: commands are to start at once
    return re.compile(f'{_BEFORE}(?:{"|".join(map(re.escape, settings.names()))}){_AFTER}')

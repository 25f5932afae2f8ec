"""What every command of the program does alike: progress on the terminal, errors of one line, exit codes."""

import logging
import sys
from collections.abc import Callable, Sequence

from absl import app
from absl import logging as absl_logging

from grasp_jax.errors import UserError

EXIT_USER_ERROR = 2


def run_app(program: Callable[[Sequence[str]], None], parse: Callable[[Sequence[str]], list[str]]) -> None:
    """Runs a program of absl; a UserError becomes one line and exit code 2."""
    _log_own_progress()
    try:
        app.run(program, flags_parser=parse)
    except UserError as error:
        print(f'error: {error}', file=sys.stderr)
        sys.exit(EXIT_USER_ERROR)
    except KeyboardInterrupt:
        print('stopped; the same command goes on from the last checkpoint', file=sys.stderr)
        sys.exit(130)


def _log_own_progress() -> None:
    """Shows what this program says and, of the libraries, warnings only."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter('%(message)s'))
    own = logging.getLogger('grasp_jax')
    own.setLevel(logging.INFO)
    own.addHandler(handler)
    own.propagate = False

"""What every command of the program does alike: progress on the terminal, errors of one line, exit codes."""

import argparse
import contextlib
import logging
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from absl import app, flags
from absl import logging as absl_logging

from grasp_jax.commands import flag_names
from grasp_jax.commands.compiled_programs import keep_compiled_programs
from grasp_jax.commands.flag_names import as_flags
from grasp_jax.common.errors import EndedElsewhere, RunInterrupted, UserError

EXIT_USER_ERROR = 2
EXIT_UNREAD = 141  # what shells say of a program that SIGPIPE ended
flags.disclaim_key_flags()  # a flag that is defined here is its caller's, whose --help shows it


class Parser(argparse.ArgumentParser):
    """Reads a command line without absl; what is wrong with it is a UserError."""

    def error(self, message: str) -> NoReturn:
        """Raises what `argparse` would print.

        Raises:
          UserError: always.
        """
        raise UserError(f'command line: {message} (see --help)')


def define_stopped_code() -> flags.FlagHolder:
    """Defines --stopped_code for the command that calls this."""
    return flags.DEFINE_integer(
        'stopped_code', 0, 'Exit code of a run that SIGTERM or a preemption notice stopped and that is saved. '
        'Controllers that start failed jobs again, as JobSet, want another one than 0.', lower_bound=0, upper_bound=255)


def run_app(program: Callable[[Sequence[str]], None], parse: Callable[[Sequence[str]], list[str]],
            resumable: bool, stopped_code: Callable[[], int] = lambda: 0, keep_programs: bool = True) -> None:
    """Runs a program of absl; a UserError becomes one line and exit code 2.

    Args:
      program: gets what is left of the command line.
      parse: reads the flags.
      resumable: whether the same command goes on where it was interrupted.
      stopped_code: exit code of a run that a signal stopped and that is saved, asked for when it happens.
      keep_programs: whether compiled programs are kept for the next start; not where compiling is measured.
    """
    def started(rest: Sequence[str]) -> None:
        if keep_programs:
            keep_compiled_programs()
        program(rest)

    _log_own_progress()
    try:
        with for_a_reader():
            app.run(started, flags_parser=parse)
    except UserError as error:
        print(f'error: {as_flags(error)}', file=sys.stderr)
        _leave(EXIT_USER_ERROR)
    except EndedElsewhere as ended:
        _leave(ended.code)
    except OSError as error:
        where = f'{error.filename}: ' if error.filename else ''
        print(f'error: {where}{error.strerror or error}; check the path, who may write there and the room on its disk',
              file=sys.stderr)
        _leave(EXIT_USER_ERROR)
    except RunInterrupted as stopped:
        print(f'stopped; {as_flags(stopped)}', file=sys.stderr)
        sys.exit(stopped_code())
    except KeyboardInterrupt as stopped:
        rest = 'the same command goes on from the last checkpoint' if resumable else 'nothing was written'
        rest = str(stopped) or rest
        print(f'stopped; {as_flags(rest)}', file=sys.stderr)
        sys.exit(130)
    except Exception:
        traceback.print_exc()
        _leave(1)


@contextlib.contextmanager
def for_a_reader() -> Iterator[None]:
    """Whoever reads what is printed inside may go away before its end, as `head` does: that is no error, and the
    process ends without a word."""
    try:
        try:
            yield
        except SystemExit:  # so every command ends that is not refused; the interpreter would complain of what is left
            sys.stdout.flush()
            raise
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the interpreter tries again at its end
        _leave(EXIT_UNREAD)


def _leave(code: int) -> NoReturn:
    """Ends the process after an error, also where the other processes wait for it."""
    jax = sys.modules.get('jax')
    if jax is not None and jax.distributed.is_initialized():
        from grasp_jax.distributed import processes
        sys.stdout.flush()
        sys.stderr.flush()
        if not processes.all_leave():  # JAX would wait for the others, which wait for this one, and then crash them all
            os._exit(code)
    sys.exit(code)


@contextlib.contextmanager
def reading_flags(remedy: str) -> Iterator[None]:
    """What is wrong with the flags that are read inside becomes a UserError, an error of one line with a remedy."""
    try:
        yield
    except SystemExit:  # --help and its kin exit with 1
        sys.exit(0)
    except BrokenPipeError:
        raise
    except Exception as error:  # config files are programs
        if (cause := _user_error(error)) is not None:
            raise cause from None
        # An error inside a config file arrives as the text of a traceback; its last line says what is wrong.
        # An error of a key arrives as a quoted string.
        text = str(error).strip() or type(error).__name__
        if 'Traceback (' in text:
            text = text.replace('\\n', '\n').strip('\n"\'').splitlines()[-1]
        text = text.rpartition('Error: ')[2]
        text = ' '.join(text.replace('\\n', ' ').replace("\\'", '').split())
        while len(text) > 1 and text[0] in ('"', "'") and text[-1] == text[0]:
            text = text[1:-1]
        text = re.sub(r' Other fields present: ".*?}"', '', text)  # a whole section
        key, *guess = text.split()
        if key.isidentifier() and (not guess or guess[0] == 'Did'):  # all that an unknown key says of itself
            text = f'there is no setting {key!r}. {" ".join(guess)}'.rstrip('. ')
        raise UserError(f'command line: {text} (see {remedy})') from error


def _user_error(error: BaseException | None) -> UserError | None:
    """A UserError as it was raised: the libraries of flags make errors of their own of every ValueError, and others of
    the same type with the text of a traceback."""
    while error is not None and (not isinstance(error, UserError) or 'Traceback (' in str(error)):
        error = error.__cause__ or error.__context__
    return error


def only_flags(rest: list[str]) -> list[str]:
    """What is left of a command line that takes flags alone.

    Raises:
      UserError: there is something else on it.
    """
    if len(rest) > 1:
        raise UserError(f'command line: {rest[1]!r} is not a flag; see --help')
    return rest


def require_picture(flag: str, path: pathlib.Path) -> None:
    """Refuses a name that no picture can have.

    Raises:
      UserError: its ending is another one.
    """
    if path.suffix not in ('.png', '.pdf', '.svg'):
        raise UserError(f'--{flag}={path}: name a .png, .pdf or .svg file')


def _log_own_progress() -> None:
    """Shows what this program says and, of the libraries, warnings only."""
    absl_logging.set_verbosity(absl_logging.WARNING)
    absl_logging.get_absl_logger().addFilter(_orbax_in_short)
    handler = logging.StreamHandler()
    handler.setFormatter(flag_names.Formatter('%(message)s'))
    own = logging.getLogger('grasp_jax')
    own.setLevel(logging.INFO)
    own.addHandler(handler)
    own.propagate = False


def _orbax_in_short(record: logging.LogRecord) -> bool:
    """Leaves the traceback out of what Orbax logs; False for a save that failed, which it raises as well."""
    if 'orbax' not in record.pathname or not record.exc_info:
        return True
    record.exc_info = None
    return not record.pathname.endswith('async_checkpointer.py')

"""What ends a run early and is no fault of the program."""


class UserError(ValueError):
    """Something outside the program is wrong: a file, a value, a setting.

    The message is one line that names the file (and row), the value and the remedy. A setting is named by its section
    and key, as `train.loss`; commands print it as the flag `--config.train.loss` (`commands.flag_names`), without a
    traceback, and exit with code 2.

    Example:
      >>> from grasp_jax import Recommender, UserError
      >>> try:
      ...     Recommender.load('runs/of_last_year')
      ... except UserError as error:
      ...     print(error)
      runs/of_last_year: there is no such folder; name the --workdir of a finished run
    """


def shown(text: str) -> str:
    """A text from outside as a message shows it: in quotes, on one line and cut at 60 characters."""
    quoted = repr(text)
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}...'"


class Diverged(UserError):
    """The loss is no longer a number: these settings do not train."""


class EndedElsewhere(Exception):
    """The first of several processes ended in an error, and says why.

    Attributes:
      code: what the others exit with.
    """

    def __init__(self, code: int):
        super().__init__(f'the first process ended with {code}')
        self.code = code


class RunInterrupted(Exception):
    """The run was asked to end (SIGTERM, a preemption notice) and has saved where it is; the exit code is 0."""

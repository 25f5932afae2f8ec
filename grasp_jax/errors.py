"""What ends a run early and is no fault of the program."""


class UserError(Exception):
    """Something outside the program is wrong: a file, a value, a flag.

    The message is one line that names the file (and row), the value and the remedy. `grasp_jax.main` prints it
    without a traceback and exits with code 2.
    """


class Diverged(UserError):
    """The loss is no longer a number: these settings do not train."""


class Stopped(Exception):
    """The run was asked to end (SIGTERM, a preemption notice) and has saved where it is; the exit code is 0."""

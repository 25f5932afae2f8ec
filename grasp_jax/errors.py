"""The one kind of error that a user is meant to see."""


class UserError(Exception):
    """Something outside the program is wrong: a file, a value, a flag.

    The message is one line that names the file (and row), the value and the remedy. `grasp_jax.main` prints it
    without a traceback and exits with code 2.
    """

"""Runs commands in processes of their own that need not import the libraries: they are forked from one that has.

`python -m tests.forked` is that one. It knows no command's flags and has no device open, so that a fork of it differs
from `python -m grasp_jax.NAME` in nothing but the time that it takes to start.
"""

import atexit
import gc
import json
import os
import pathlib
import runpy
import subprocess
import sys
import tempfile
import threading
import traceback

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Forks:
    """Runs commands one after the other; the process that they are forked from starts with the first."""

    def __init__(self, environment: dict[str, str]):
        self._server = subprocess.Popen([sys.executable, '-m', 'tests.forked'], cwd=ROOT, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def run(self, module: str, flags: tuple[str, ...], environment: dict[str, str]) -> subprocess.CompletedProcess:
        """Runs `python -m MODULE FLAGS...` from the project's folder.

        Returns:
          Exit code and what it wrote, as `subprocess.run` does.
        """
        with tempfile.TemporaryDirectory() as folder:
            asked = {'module': module, 'flags': flags, 'environment': environment, 'folder': folder}
            self._server.stdin.write(json.dumps(asked) + '\n')
            self._server.stdin.flush()
            code = int(self._server.stdout.readline())
            out, err = ((pathlib.Path(folder) / name).read_text(encoding='utf-8') for name in ('out', 'err'))
        return subprocess.CompletedProcess([module, *flags], code, out, err)

    def close(self) -> None:
        """Ends the process."""
        self._server.communicate()


def serve() -> dict | None:
    """Forks for every line of the standard input.

    Returns:
      What was asked for in a fork, None at the end of the input.
    """
    for line in sys.stdin:
        if not (child := os.fork()):
            return json.loads(line)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    return None


def become(asked: dict) -> None:
    """Makes this process what `python -m` would be, up to the first line of the module."""
    for number, name, mode in ((0, os.devnull, os.O_RDONLY), (1, f'{asked["folder"]}/out', os.O_WRONLY | os.O_CREAT),
                               (2, f'{asked["folder"]}/err', os.O_WRONLY | os.O_CREAT)):
        opened = os.open(name, mode)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(asked['environment'])
    sys.argv = ['', *asked['flags']]


def run(module: str) -> int:
    """Runs a module as `python -m` does.

    Returns:
      Its exit code.
    """
    try:
        runpy.run_module(module, run_name='__main__', alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(code: int) -> None:
    """Does what an interpreter does at its end, without taking all libraries apart."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == '__main__':
    import matplotlib.pyplot  # noqa: F401
    import scipy.stats  # noqa: F401

    import grasp_jax.evaluation.report
    import grasp_jax.pipeline.stages
    import grasp_jax.serving.recommender
    import grasp_jax.training.checkpoints  # noqa: F401
    gc.freeze()  # what is there now is nothing to look through in every fork
    if (command := serve()) is not None:
        become(command)
        leave(run(command['module']))

"""Trains the small run of the tests in a process of its own, so that a test can kill it."""

import pathlib
import sys

import conftest

if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
    data = conftest.small_data.__wrapped__()
    run = conftest.small_run.__wrapped__(data)(train={'max_epochs': 60, 'patience': 60})
    from grasp_jax.training import loop
    loop.train(run, 0, pathlib.Path(sys.argv[1]))

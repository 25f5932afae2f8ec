"""Trains the small run of the tests in a process of its own, so that a test can kill it.

train_small.py FOLDER [EPOCHS [COORDINATOR PROCESSES PROCESS PARTS]]
"""

import pathlib
import sys

import conftest

if __name__ == '__main__':
    sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))
    from grasp_jax.common.errors import RunInterrupted
    from grasp_jax.distributed import processes
    from grasp_jax.training import loop

    given = [*sys.argv[1:], *('60', '', '1', '0', '0')[len(sys.argv) - 2:]]
    folder, epochs, coordinator, number, process, parts = given
    processes.join(coordinator, int(number), int(process))
    data = conftest.small_data.__wrapped__()
    run = conftest.small_run.__wrapped__(data)(mesh=(int(number), 1), train={
        'max_epochs': int(epochs), 'patience': 10_000, 'scan_steps': 2, 'micro_batches': int(parts)})
    try:
        best = loop.train(run, 0, pathlib.Path(folder))
        ranks, lists = loop.test_ranks(run, 0, pathlib.Path(folder), best, depth=6)
        print('lists', lists.ravel().tolist())
    except RunInterrupted as stopped:
        print(f'stopped; {stopped}')

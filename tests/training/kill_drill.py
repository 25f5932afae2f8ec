"""Kills a training run again and again and compares what comes out with an undisturbed one.

    python tests/training/kill_drill.py --workdir=runs/drill --kills=20 --processes=1,2,4

Each leg goes on with the next number of processes (one device each) and ends, at a random moment, by `kill -9` or
SIGTERM of one process or of all. Prints what every leg did, and how far the final parameters are from those of a run
in one process that nobody disturbed. Not part of the suite: a leg takes half a minute.
"""

import argparse
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PARTS = 4
COMMON = ('--config=configs/demo.py', '--config.train.patience=1000', f'--config.train.micro_batches={PARTS}')


def start(count, workdir, stages, epochs, log):
    """The command in `count` processes, without restarts of its own."""
    command = ['bash', 'launch/multiprocess.sh', str(count), *COMMON, f'--workdir={workdir}', f'--stages={stages}',
               f'--config.train.max_epochs={epochs}']
    environment = {**os.environ, 'RESTARTS': '0', 'JAX_PLATFORMS': 'cpu', 'PYTHON': sys.executable}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log, start_new_session=True)


def lines(workdir):
    path = workdir / 'seed42' / 'metrics.jsonl'
    return path.read_text().split('\n')[:-1] if path.exists() else []


def checkpoints(workdir):
    """Epochs whose checkpoints are complete, from 1."""
    return sorted(int(path.name) + 1 for path in (workdir / 'seed42' / 'checkpoints').glob('*') if path.name.isdigit())


def disturb(process, workdir, rng):
    """Waits for a random moment of the training and disturbs it; returns what was done, None where it ended first."""
    before, more = len(lines(workdir)), rng.choice((0, 0, 1, 2, 4))
    while len(lines(workdir)) < before + more or not training(process):
        if process.poll() is not None:
            return None
        time.sleep(0.05)
    time.sleep(rng.uniform(0, 6))
    children = training(process)
    if process.poll() is not None or not children:
        return None
    how, who = rng.choice((signal.SIGKILL, signal.SIGTERM)), rng.choice(('one', 'all'))
    for child in children if who == 'all' else [rng.choice(children)]:
        os.kill(child, how)
    return f'{how.name} to {who}'


def training(process):
    """Process numbers of the training processes."""
    found = subprocess.run(['pgrep', '-P', str(process.pid), '-f', 'grasp_jax.main'], capture_output=True, text=True)
    return [int(number) for number in found.stdout.split()]


def parameters(workdir, stages, epochs):
    """The state after the last epoch."""
    from grasp_jax.config import changed
    from grasp_jax.pipeline.stages import prepare_knowledge, run_on
    from grasp_jax.reproduce.runs import load_config
    from grasp_jax.training.checkpoints import Checkpoints
    config = changed(load_config(str(ROOT / 'configs/demo.py')), {
        'train.max_epochs': epochs, 'train.micro_batches': PARTS})
    run = run_on(config, prepare_knowledge(config, stages))
    with Checkpoints(workdir / 'seed42' / 'checkpoints') as found:
        state = found.load(epochs - 1, run.state_shapes(42), run.mesh)
    import jax
    return jax.tree.leaves(jax.device_get(state))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--workdir', type=pathlib.Path, required=True)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--processes', default='1,2,4')
    parser.add_argument('--epochs', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args()
    given.workdir = given.workdir.resolve()
    given.workdir.mkdir(parents=True, exist_ok=True)
    rng, counts = random.Random(given.seed), [int(count) for count in given.processes.split(',')]
    through, stages = given.workdir / 'through', given.workdir / 'stages'
    disturbed = given.workdir / f'disturbed_{given.processes.replace(",", "_")}'
    with (given.workdir / 'log.txt').open('w+') as log:
        if start(1, through, stages, given.epochs, log).wait():
            raise SystemExit(f'the undisturbed run failed, see {log.name}')
        kills = leg = 0
        while True:
            process = start(counts[leg % len(counts)], disturbed, stages, given.epochs, log)
            done = disturb(process, disturbed, rng) if kills < given.kills else 'left alone'
            code = process.wait()
            kills += done not in (None, 'left alone')
            print(f'leg {leg + 1}: {counts[leg % len(counts)]} processes: {done or "ended by itself"}, exit {code},'
                  f' {len(lines(disturbed))} epochs logged, checkpoints {checkpoints(disturbed)}', flush=True)
            leg += 1
            if code == 0 and (disturbed / 'report.json').exists():
                break
        log.seek(0)
        text = log.read()
    print(f'{kills} kills; {text.count("is damaged")} checkpoints said to be damaged')
    one, two = (parameters(folder, stages, given.epochs) for folder in (through, disturbed))
    apart = max(float(np.abs(np.asarray(a, float) - np.asarray(b, float)).max()) for a, b in zip(one, two, strict=True))
    print(f'largest difference of a number in the final states: {apart:.3g}'
          f'{" (equal bit for bit)" if apart == 0 else ""}')
    steps = [[json.loads(line)['step'] for line in lines(folder)] for folder in (through, disturbed)]
    print(f'same steps in every epoch: {steps[0] == steps[1]}')
    for folder in (through, disturbed):
        found = json.loads((folder / 'report.json').read_text())['test']['sampled']
        print(folder.name, {key: round(value, 6) for key, value in found.items() if key in ('NDCG@10', 'HR@10')})


if __name__ == '__main__':
    main()

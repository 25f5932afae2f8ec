"""This project, started as anybody starts it: a command that trains, and the lists of what it left."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np

from grasp_jax.benchmark.peers import job as jobs
from grasp_jax.commands.flag_names import as_flags

LIBRARIES = ('grasp_jax', 'jax', 'flax', 'numpy')  # whose versions are written down


def command(job: jobs.Job) -> list[str]:
    """The command line that trains.

    Example:
      >>> asked = jobs.Job('s.npz', 'out', 'sasrec', jobs.DEFAULTS, 100, 'configs/beauty.py')
      >>> command(asked)[1:5]
      ['-m', 'grasp_jax.main', '--config=configs/beauty.py', '--recipe=strong']
    """
    settings: dict[str, Any] = {'model.backbone': job.backbone, 'train.max_epochs': job.epochs, 'train.sinks': '()'}
    if not job.texts:
        settings |= {'model.method': 'none', 'model.gate': 'none'}
    if job.same:
        blocks = 1 if job.backbone == 'gru4rec' else jobs.BLOCKS
        settings |= {'model.hidden_size': jobs.WIDTH, 'model.num_layers': blocks, 'model.num_heads': jobs.HEADS,
                     'model.max_length': jobs.LENGTH, 'model.dropout': jobs.DROPOUT,
                     'train.loss': 'softmax', 'train.learning_rate': jobs.RATE, 'train.batch_size': jobs.USERS,
                     'train.patience': jobs.PATIENCE, 'evaluate.selection_protocol': 'full'}
    recipe = 'paper' if job.same else 'strong'
    return [sys.executable, '-m', 'grasp_jax.main', f'--config={job.config}', f'--recipe={recipe}',
            *(as_flags(f'{name}={value}') for name, value in settings.items()),
            f'--stages={job.stages}', f'--workdir={job.folder}/run']


def program(job: jobs.Job, split: jobs.Split, watch: jobs.Stopwatch) -> Any:
    """Trains; returns what makes the lists."""
    subprocess.run(command(job), check=True)
    from grasp_jax.serving import assets
    from grasp_jax.serving.engine import Engine, Request

    workdir = pathlib.Path(job.folder, 'run')
    known = assets.open_folder(workdir)
    log = (workdir / f'seed{known.seed}' / 'metrics.jsonl').read_text(encoding='utf-8').splitlines()
    watch.seconds = [split.num_users / json.loads(epoch)['sequences_per_s'] for epoch in log]
    engine = Engine(known).for_many()

    def lists() -> np.ndarray:
        histories = [split.history(user) for user in range(split.num_users)]
        requests = [Request(history, np.unique(history), user) for user, history in enumerate(histories)]
        return engine.top(requests, jobs.K, exact=True)[0]

    return lists

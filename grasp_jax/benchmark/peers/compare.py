"""`benchmark peers`: starts every program in turn on one split, and puts what they reach side by side.

A row is one program with one backbone under one choice of settings. It is kept as soon as it is there, so that the same
command goes on where it was stopped.
"""

import collections
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import venv
from collections.abc import Iterator
from typing import Any

import numpy as np

from grasp_jax.benchmark import timing
from grasp_jax.benchmark.peers import job as jobs
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation.plots import BLUE, GREY, bar_panel, figure_of, save
from grasp_jax.ranking import metrics

LOG = 'log.txt'
_HERE = {jobs.OURS: 'plain', jobs.OURS_WITH_TEXTS: 'with texts'}


@dataclasses.dataclass(frozen=True)
class Program:
    """A program that others wrote.

    Attributes:
      needs: what pip installs for it.
      backbones: that it has.
    """

    needs: tuple[str, ...]
    backbones: tuple[str, ...]


# Versions that were tried together. RecBole 1.2.1 reads its checkpoints with PyTorch below 2.6 alone.
PROGRAMS = {
    'rectools': Program(('rectools[torch]==0.19.0', 'torch==2.14.1'), ('sasrec', 'bert4rec')),
    'recbole': Program(('recbole==1.2.1', 'torch==2.5.1', 'numpy==1.26.4', 'pandas==2.2.3', 'scipy==1.11.4',
                        'setuptools==80.9.0'), ('sasrec', 'bert4rec', 'gru4rec')),
    'cornac': Program(('cornac==3.0.1', 'torch==2.14.1', 'transformers>=4,<6'), ('sasrec', 'bert4rec', 'gru4rec'))}


@dataclasses.dataclass(frozen=True)
class Options:
    """What `benchmark peers` is asked for.

    Attributes:
      config: config file that this project reads the data with.
      folder: for rows, prepared data and environments.
      programs: of `job.NAMES`.
      backbones: of `job.BACKBONES`.
      settings: SAME, DEFAULTS or both.
      epochs: at most.
    """

    config: str
    folder: pathlib.Path
    programs: tuple[str, ...] = jobs.NAMES
    backbones: tuple[str, ...] = ('sasrec',)
    settings: tuple[str, ...] = jobs.SETTINGS
    epochs: int = 100


def measure(options: Options) -> Iterator[dict[str, Any]]:
    """Yields a row for each program, backbone and choice of settings that there is; `why` stands where it failed.

    Raises:
      UserError: the data cannot be split, or an environment cannot be made.
    """
    options.folder.mkdir(parents=True, exist_ok=True)
    options = dataclasses.replace(options, folder=options.folder.resolve())  # programs run in folders of their own
    split = write_split(options)
    for settings in options.settings:
        for backbone in options.backbones:
            for name in options.programs:
                if _exists(name, backbone, settings):
                    yield _row(name, backbone, settings, split, options)


def _exists(name: str, backbone: str, settings: str) -> bool:
    if name in PROGRAMS:
        return backbone in PROGRAMS[name].backbones
    return settings == jobs.DEFAULTS or name == jobs.OURS  # texts have no place among the same settings


def write_split(options: Options) -> pathlib.Path:
    """Prepares the data as a run of the config does, and writes the sequences for every program.

    Raises:
      UserError: they cannot be prepared, are split by time, or a user has fewer than three items.
    """
    stages, path = options.folder / 'stages', options.folder / 'split.npz'
    command = [sys.executable, '-m', 'grasp_jax.main', f'--config={options.config}', '--recipe=strong', '--mode=audit',
               f'--stages={stages}']
    if subprocess.run(command, check=False).returncode:
        raise UserError(f'--config={options.config}: its data could not be prepared, see above')
    from grasp_jax.data import dataset
    known = dataset.load(stages / 'prepare', negatives=False).interactions
    if known.ends is not None or known.lengths.min() < 3:
        raise UserError(f'--config={options.config}: programs are compared on leave-one-out of users with three items '
                        'or more; set data.split and data.min_user so')
    np.savez(path, indptr=known.indptr, items=known.items)
    return path


def environment(name: str, folder: pathlib.Path) -> pathlib.Path:
    """The Python of a program's environment, which is made at the first call.

    Args:
      name: of the program.
      folder: gets an environment for each program.

    Raises:
      UserError: pip could not install it.
    """
    if name not in PROGRAMS:
        return pathlib.Path(sys.executable)
    made, needs = folder / name, list(PROGRAMS[name].needs)
    python, mark = made / 'bin' / 'python', made / 'installed.json'
    if not (mark.is_file() and json.loads(mark.read_text(encoding='utf-8')) == needs):
        print(f'{name}: an environment is made in {made}, which takes minutes and gigabytes', file=sys.stderr)
        venv.create(made, clear=True, with_pip=True)
        done = subprocess.run([python, '-m', 'pip', 'install', '--quiet', *needs], check=False)
        if done.returncode:
            raise UserError(f'{made}: pip could not install {" ".join(needs)}, see above; without this program: '
                            f'--programs={",".join(other for other in jobs.NAMES if other != name)}')
        artefacts.write_json(mark, needs)
    return python


def _row(name: str, backbone: str, settings: str, split: pathlib.Path, options: Options) -> dict[str, Any]:
    """One row, found or measured."""
    known = {'program': name, 'backbone': backbone, 'settings': settings,
             'split': hashlib.sha256(split.read_bytes()).hexdigest()}
    folder = options.folder / 'rows' / f'{name}_{backbone}_{settings}_{options.epochs}'
    path = folder / 'row.json'
    if path.is_file():
        found: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        if found['split'] == known['split']:  # else it is of other data
            return found
    python = environment(name, options.folder / 'environments')
    print(f'{name}, {backbone}, {settings}: what it says goes to {folder / LOG}', file=sys.stderr)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    file, colon, variant = options.config.partition(':')
    config = f'{pathlib.Path(file).resolve()}{colon}{variant}'
    job = jobs.Job(str(split), str(folder), backbone, settings, options.epochs, config, str(options.folder / 'stages'),
                   name == jobs.OURS_WITH_TEXTS)
    before = timing.matmul_rate()
    status, peak = run(python, name if name in PROGRAMS else 'ours', job)
    rates = [before, timing.matmul_rate()]
    if status:
        last = (folder / LOG).read_text(encoding='utf-8', errors='replace').strip().splitlines()[-1:] or ['']
        return known | {'why': f'exit code {status}: {last[0][:200]}'}
    row = known | {'peak_bytes': peak, 'matmul_flops_per_s': rates} | _judged(folder, split, options.epochs)
    artefacts.write_json(path, row)
    return row


def run(python: pathlib.Path, module: str, job: jobs.Job) -> tuple[int, int]:
    """Runs a program; its exit code, and bytes of memory that it held at most.

    Args:
      python: of its environment.
      module: of this package.
      job: what it is given.
    """
    folder = pathlib.Path(job.folder)
    (folder / 'job.json').write_text(json.dumps(dataclasses.asdict(job)), encoding='utf-8')
    clean = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'PYTHONHOME')}
    with (folder / LOG).open('w', encoding='utf-8') as log:
        call = f'from {__package__} import job, {module}; job.run({module}.program, {module}.LIBRARIES)'
        started = subprocess.Popen([python, '-c', call, str(folder / 'job.json')], cwd=folder, stdout=log, stderr=log,
                                   env=clean | {'PYTHONPATH': str(_alone(folder))})
        before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            _, status, usage = os.wait4(started.pid, 0)
        except BaseException:
            started.terminate()
            raise
        finally:
            signal.signal(signal.SIGTERM, before)
    return os.waitstatus_to_exitcode(status), 1024 * usage.ru_maxrss


def _alone(folder: pathlib.Path) -> pathlib.Path:
    """A folder where other Pythons find this package, and none of the libraries that lie beside it."""
    alone = folder / 'package'
    alone.mkdir()
    (alone / 'grasp_jax').symlink_to(pathlib.Path(__file__).parents[2], target_is_directory=True)
    return alone


def _judged(folder: pathlib.Path, split: pathlib.Path, epochs: int) -> dict[str, Any]:
    """What a program left, with the quality of its lists."""
    result = json.loads((folder / 'result.json').read_text(encoding='utf-8'))
    lists = np.load(folder / 'lists.npy')
    known = jobs.Split(str(split))
    ranks = ranks_in_lists(lists, known.items[known.indptr[1:] - 1])
    seconds = result['epoch_s']
    return {'epochs': len(seconds), 'bound': len(seconds) >= epochs, 'epoch_s': statistics.median(seconds),
            'train_s': result['train_s'], 'list_s': result['list_s'], 'users': known.num_users,
            'ndcg10': float(metrics.ndcg(ranks, jobs.K).mean()), 'hr10': float(metrics.hit_rate(ranks, jobs.K).mean()),
            'versions': result['versions']}


def ranks_in_lists(lists: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Places from 1 of targets [n] in lists [n, k], infinite where a list lacks its target: float [n].

    Example:
      >>> ranks_in_lists(np.array([[3, 5], [1, 2]]), np.array([5, 4])).tolist()
      [2.0, inf]
    """
    hits = lists == targets[:, None]
    return np.where(hits.any(1), hits.argmax(1) + 1.0, np.inf)


def label(row: dict[str, Any]) -> str:
    """A row's name."""
    name: str = row['program']
    return f'{jobs.OURS}, {_HERE[name]}' if name in _HERE else name


def plot(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes a picture of seconds an epoch and NDCG@10, a row of panels for each choice of settings."""
    groups = collections.defaultdict(list)
    for row in rows:
        if 'why' not in row:
            groups[row['settings']].append(row)
    if not groups:
        return
    shown = (('seconds an epoch', 'epoch_s', 1), ('NDCG@10, full ranking, %', 'ndcg10', 100))
    panels = [(f'{title}, {settings}', [(f'{label(row)}, {row["backbone"]}', factor * row[key]) for row in some])
              for settings, some in groups.items() for title, key, factor in shown]
    height = 1.8 + 0.32 * max(len(bars) for _, bars in panels)
    figure, axes = figure_of(len(panels), 'The same split, other programs', 'python -m grasp_jax.benchmark peers',
                             (5.2 * len(panels), height))
    for each, (title, bars) in zip(axes, panels, strict=True):
        bar_panel(each, title, bars, [BLUE if name.startswith(jobs.OURS) else GREY for name, _ in bars])
    save(figure, path)

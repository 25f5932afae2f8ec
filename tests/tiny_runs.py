"""Finished runs on a tiny table, with ids as people have them."""

import csv
import functools
import hashlib
import json
import os
import pathlib
import shutil

import jax
import numpy as np
import pytest

from grasp_jax.common.artefacts import lock
from grasp_jax.config import changed, default, saved_config
from grasp_jax.pipeline.stages import prepare_knowledge, run_on, run_pipeline
from grasp_jax.ranking.metrics import Ranks, save_ranks
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.seeds import claim_run

USERS, ITEMS = 40, 36
ODD = 'a/b "ü" 🙂'  # an id, as one of a hundred thousand will be


def item_id(number):
    return ODD if number == 7 else f'i{number:03d}'


def write_table(folder: pathlib.Path) -> None:
    """Everybody walks on through a circle of items; titles say where on the circle an item is."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with (folder / 'interactions.csv').open('w', newline='', encoding='utf-8') as file:
        rows = csv.writer(file)
        rows.writerow(['user', 'item', 'time'])
        for user in range(USERS):
            walk = (rng.integers(ITEMS) + np.cumsum(rng.integers(1, 3, rng.integers(6, 12)))) % ITEMS
            rows.writerows([f'u{user:02d}', item_id(item), time] for time, item in enumerate(walk))
    with (folder / 'items.jsonl').open('w', encoding='utf-8') as file:
        for item in range(ITEMS):
            # Words of one letter or digit say nothing to the encoder.
            file.write(json.dumps({'item': item_id(item), 'title': f'thing{item:02d} of shelf{item // 6} and row'
                                                                   f'{item % 6}', 'brand': f'brand{item // 9}'}) + '\n')


def tiny_config(folder, **settings):
    config = default()
    config.data.update({'kind': 'table', 'name': 'tiny', 'source': str(folder), 'filter': 'none',
                        'interactions_file': 'interactions.csv', 'items_file': 'items.jsonl'})
    config.text.domain = 'shop'
    config.encode.width = 12
    config.retrieve.update({'k': 4, 'method': 'exact'})
    config.evaluate.negatives = 10
    config.evaluate.ks = (1, 3, 5)
    config.model.update({'hidden_size': 8, 'max_length': 9, 'num_layers': 1})
    config.train.update({'max_epochs': 2, 'batch_size': 16, 'learning_rate': 1e-2})
    return changed(config, {name.replace('__', '.'): value for name, value in settings.items()})


def once(tmp_path_factory, name: str, fill) -> pathlib.Path:
    """A folder that `fill(folder)` fills in one process; all workers of a test run read it."""
    base = tmp_path_factory.getbasetemp()
    base = (base.parent if 'PYTEST_XDIST_WORKER' in os.environ else base) / 'shared'
    with lock(base, f'{name}.lock'):
        if not (base / f'{name}.done').exists():
            shutil.rmtree(base / name, ignore_errors=True)
            fill(base / name)
            (base / f'{name}.done').touch()
    return base / name


def runs(tmp_path_factory, kind: str, fill):
    """Makes (and keeps) the work folder of settings by `fill(config, folder)`: once, with a copy for each worker."""
    own, data = tmp_path_factory.mktemp(kind), once(tmp_path_factory, 'data', write_table)

    @functools.cache
    def make(**settings):
        name = f'{kind}_{hashlib.sha256(repr(sorted(settings.items())).encode()).hexdigest()[:12]}'
        made = once(tmp_path_factory, name, lambda folder: fill(tiny_config(data, **settings), folder))
        return pathlib.Path(shutil.copytree(made, own / name))

    return make


def random_run(config, workdir: pathlib.Path) -> None:
    workdir.mkdir()
    saved_config.save(config, workdir, workdir)
    known = prepare_knowledge(config, workdir)
    run, folder = run_on(config, known), workdir / 'seed42'
    claim_run(folder, config, [known.fingerprint], known.contents)
    state = run.fresh_state(42)
    noisy = jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape),
                         state.params)
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        checkpoints.save(0, state._replace(params=noisy), 0.5)
    users = run.interactions.evaluated_users()
    ranks = np.ones(len(users), np.float32)
    save_ranks(folder, Ranks(users, run.interactions.targets('test'), ranks, ranks))


@pytest.fixture(scope='session')
def tiny_table(tmp_path_factory):
    """The folder of the table that all these runs read."""
    return once(tmp_path_factory, 'data', write_table)


@pytest.fixture(scope='session')
def finished(tmp_path_factory):
    """Makes (and keeps) the work folder of a finished run by its settings, as model__gate='none'."""
    return runs(tmp_path_factory, 'served', run_pipeline)


@pytest.fixture(scope='session')
def untrained(tmp_path_factory):
    """Makes (and keeps) a work folder as of a finished run whose parameters are random numbers: several times quicker,
    and as good where it does not matter what was learned."""
    return runs(tmp_path_factory, 'untrained', random_run)


@pytest.fixture(scope='session')
def gated(finished):
    """A run of GRASP with the calibrated gate."""
    return finished()


@pytest.fixture(scope='session')
def plain(finished):
    """A run whose items look alike to everybody, which reads texts and knows ids."""
    return finished(model__method='grasp_id', model__gate='none', model__id_init='text')

"""Runs the cells of a grid, one after the other; what is done is not done again."""

import collections
import importlib.util
import json
import logging
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, old_keys, recipes
from grasp_jax.evaluation.report import load_report, of_seeds
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline.stages import prepare_knowledge, run_on, run_pipeline, settled
from grasp_jax.reproduce.grid import Cell
from grasp_jax.training import view_weights
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.seeds import claim_run, finished_seeds
from grasp_jax.training.state import ranked_params
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup

LOG = logging.getLogger(__name__)
# Sections of the config whose settings all runs of a table share.
_SHARED = ('data', 'text', 'encode', 'retrieve', 'evaluate')
# What reports state of what was ranked; older ones lack some of it.
_RANKED = {'data': ('users', 'items', 'interactions', 'evaluated_users'),
           'protocol': ('negatives', 'negatives_seed', 'candidates')}


def load_config(path_and_variant: str) -> ml_collections.ConfigDict:
    """The config of a file and a variant, as `configs/beauty.py:minilm`.

    Raises:
      UserError: there is no such file.
    """
    path, _, variant = path_and_variant.partition(':')
    if not pathlib.Path(path).is_file():
        raise UserError(f'{path}: there is no such file; run this from the root of the project')
    spec = importlib.util.spec_from_file_location('config_of_a_data_set', path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: ml_collections.ConfigDict = module.get_config(variant) if variant else module.get_config()
    return found


def config_of(cell: Cell, base: ml_collections.ConfigDict, recipe: str, seeds: Sequence[int],
              changes: dict[str, Any]) -> ml_collections.ConfigDict:
    """The config of one cell.

    Args:
      cell: what it is about.
      base: of the data set.
      recipe: a name in `recipes.RECIPES`.
      seeds: of the runs.
      changes: to every cell, by dotted names.

    Raises:
      UserError: there is no such setting, or it is what the cell is about.
    """
    for key in changes:
        if key in cell.settings:
            raise UserError(f'--changes: {key} is what the row {cell.label!r} is about; leave it out')
    config = ml_collections.ConfigDict(base.to_dict())
    recipes.apply(config, recipe)
    config = changed(config, {'model.id_init': 'random', **cell.settings, **changes})  # as the rows' papers have it
    if 'train.loss' not in changes:
        _fit_loss_to_gate(config)
    config.train.seeds = tuple(seeds)
    return config


def _fit_loss_to_gate(config: ml_collections.ConfigDict) -> None:
    """Of a softmax over all items makes one over negatives where a gate makes items look different to every user, which
    would cost too much. `run_cells` says so."""
    if config.train.loss != 'softmax' or not model_spec(config, num_items=1).items_depend_on_user:
        return
    config.train.loss = 'sampled_softmax'
    if config.model.gate == 'softmax':
        config.train.shared_negatives = False  # this gate depends on what is scored together


def run_cells(cells: Sequence[Cell], base: ml_collections.ConfigDict, recipe: str, seeds: Sequence[int],
              changes: dict[str, Any], folder: pathlib.Path) -> None:
    """Brings every cell up to date, and says after each how long the rest may take.

    Args:
      cells: the grid.
      base, recipe, seeds, changes: as in `config_of`.
      folder: gets a work folder for each cell, and what their stages share.
    """
    begin = time.monotonic()
    fresh = 0
    for number, cell in enumerate(cells, start=1):
        workdir = folder / cell.name
        missing = seeds_left(workdir, seeds)
        LOG.info('%d of %d: %s, %s%s', number, len(cells), cell.group, cell.label, '' if missing else ': up to date')
        fresh += bool(missing)
        if missing:
            config = config_of(cell, base, recipe, sorted({*seeds, *finished_seeds(workdir)}), changes)
            if config.train.loss == 'sampled_softmax':
                LOG.info('%s: its loss is a softmax over %d negatives, not over all items', cell.label,
                         config.train.negatives)
            run_pipeline(config, workdir, stages_of(config, folder), every_seed=True)
        left = sum(bool(seeds_left(folder / other.name, seeds)) for other in cells[number:])
        if fresh and left:
            LOG.info('about %.0f minutes left for %d runs', (time.monotonic() - begin) / fresh * left / 60, left)


def seeds_left(workdir: pathlib.Path, seeds: Sequence[int]) -> list[int]:
    """The seeds of a cell that are yet to be run, or to be reported on."""
    if not is_done(workdir):
        return list(seeds)
    done = {run['seed'] for run in load_report(workdir)['runs']} & set(finished_seeds(workdir))
    return [seed for seed in seeds if seed not in done]


def claim_changes(cells: Sequence[Cell], changes: dict[str, Any], folder: pathlib.Path, note: bool = True) -> None:
    """Refuses a folder whose runs were made on other data, texts, vectors or candidates; notes ours in a new one if
    `note`.

    What changes the model or training is seen by each run itself.

    Args:
      cells: the grid.
      changes: to every cell, by dotted names.
      folder: of the runs.
      note: whether a new folder is made.

    Raises:
      UserError: names both.
    """
    ours = {key: value for key, value in changes.items() if key.partition('.')[0] in _SHARED and key != 'data.source'}
    noted = folder / 'changes.json'
    if not any(path for cell in cells for path in (folder / cell.name).glob('seed*/*')):  # nothing is begun
        if note:
            folder.mkdir(parents=True, exist_ok=True)
            artefacts.write_json(noted, ours)
        return
    try:
        noted_changes = artefacts.read_json(noted) if noted.exists() else {}
    except UserError as error:
        raise UserError(f'{noted}: cannot be read; write into it which --changes to {", ".join(_SHARED)} its runs were '
                        'made with, as {"encode.kind": "lsa"}, or {} if with none') from error
    if noted_changes != ours:
        lost = '' if noted.exists() else f' (there is no {noted.name}; if it got lost, write into it what is so)'
        raise UserError(f'{folder}: its runs were made with --changes={json.dumps(noted_changes)}{lost}, not '
                        f'{json.dumps(ours)}; choose another --workdir')


def require_same(cells: Sequence[Cell], base: ml_collections.ConfigDict, recipe: str, seeds: Sequence[int],
                 changes: dict[str, Any], folder: pathlib.Path) -> None:
    """Refuses finished runs that were made with other settings or of other data, texts or vectors, which a table would
    mix with the rest.

    Args:
      cells: the grid.
      base, recipe, seeds, changes: as in `config_of`.
      folder: of the runs.

    Raises:
      UserError: names a run and what differs.
    """
    made_of: dict[tuple[pathlib.Path, str], dict[pathlib.Path, str]] = {}  # inputs, of runs that read the same stage
    for cell in cells:
        config = config_of(cell, base, recipe, seeds, changes)
        spec = model_spec(config, num_items=1)
        read = spec.start_stage if spec.starts_from_text else 'retrieve' if spec.uses_vectors else 'prepare'
        for seed in finished_seeds(folder / cell.name):
            run_dir = folder / cell.name / f'seed{seed}'
            inputs = _inputs(run_dir)
            claim_run(run_dir, config, inputs)
            alike = made_of.setdefault((stages_of(config, folder), read), {})
            alike[run_dir] = ', '.join(each[:8] for each in inputs)
    for inputs_of in made_of.values():
        if odd := _odd_one(inputs_of):
            run_dir, other = odd
            raise UserError(f'{run_dir}: was made of other data, texts or vectors than {other} (inputs '
                            f'{inputs_of[run_dir]}, not {inputs_of[other]}); move it away, or choose another --workdir')
    reports(cells, seeds, folder)  # refuses other candidates


def _inputs(run_dir: pathlib.Path) -> list[str]:
    try:
        found: list[str] = artefacts.read_json(run_dir / artefacts.MANIFEST)['inputs']
    except UserError as error:
        raise UserError(f'{run_dir}: its {artefacts.MANIFEST} is missing or damaged, so that nothing says what it was '
                        'made of; move the folder away, and the same command runs this seed again') from error
    return found


def _odd_one(stated: Mapping[pathlib.Path, Any]) -> tuple[pathlib.Path, pathlib.Path] | None:
    """A folder that states something else than most do, and one of these; None where all state the same."""
    if len(set(stated.values())) < 2:
        return None
    usual = collections.Counter(stated.values()).most_common(1)[0][0]
    return (next(path for path, value in stated.items() if value != usual),
            next(path for path, value in stated.items() if value == usual))


def stages_of(config: ml_collections.ConfigDict, folder: pathlib.Path) -> pathlib.Path:
    """The folder of prepared data and tables that all cells with the same ones share; other tables would push them
    out of it."""
    config = settled(config)
    what = {section: old_keys.first_named(section, config[section].to_dict())
            for section in ('data', 'text', 'encode', 'retrieve')}
    return folder.parent / 'stages' / artefacts.fingerprint('stages', what, [])[:8]


def restored(config: ml_collections.ConfigDict, workdir: pathlib.Path,
             stages: pathlib.Path) -> tuple[TrainingSetup, Any]:
    """A finished run's data and model, and the parameters of its first seed's best epoch.

    Args:
      config: of the run.
      workdir: of the run.
      stages: of its tables.

    Raises:
      UserError: there is no checkpoint.
    """
    seed = config.train.seeds[0]
    folder = workdir / f'seed{seed}' / 'checkpoints'
    missing = UserError(f'{folder}: there is no checkpoint, as of runs that are handed on; make it anew in another '
                        '--workdir')
    if not folder.is_dir():  # asked first, as opening would make the folder
        raise missing
    run = run_on(config, prepare_knowledge(config, stages))
    with Checkpoints(folder) as checkpoints:
        best = checkpoints.best()
        if best is None:
            raise missing
        params = ranked_params(train_spec(config), checkpoints.load(best.epoch, run.state_shapes(seed), run.mesh))
    return run, view_weights.weighed(run.model.spec, params, folder=folder.parent)


def is_done(workdir: pathlib.Path) -> bool:
    """Whether a run has a report."""
    return (workdir / 'report.json').exists()


def reports(cells: Sequence[Cell], seeds: Sequence[int], folder: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Reports on some seeds of the cells that are done, by name.

    Raises:
      UserError: their candidates are not the same, so that they are of other data or other negatives.
    """
    found = {cell.name: of_seeds(load_report(folder / cell.name), seeds)
             for cell in cells if is_done(folder / cell.name)}
    known = {name: report for name, report in found.items() if report is not None}
    for section, fields in _RANKED.items():
        for field in fields:
            stated = {folder / name: report[section][field] for name, report in known.items()
                      if report.get(section, {}).get(field) is not None}
            if odd := _odd_one(stated):
                workdir, other = odd
                raise UserError(f'{workdir}: was ranked among other candidates than {other} ({section}.{field} '
                                f'{stated[workdir]}, not {stated[other]}), so its data or its negatives are others; '
                                'move it away, or choose another --workdir')
    return known

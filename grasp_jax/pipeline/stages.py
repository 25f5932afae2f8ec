"""The stages in order: prepare, describe, encode, retrieve, train, evaluate, report.

Each leaves an artefact that the next one reads; what is there and still fits is not made again.
"""

import dataclasses
import logging
import pathlib
import time
from collections.abc import Callable, Collection
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import artefacts, kept_warnings
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, saved_config
from grasp_jax.data import cold_start, time_split
from grasp_jax.data import dataset as dataset_files
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.facts import left_out
from grasp_jax.data.prepare import prepare, source_checksums
from grasp_jax.distributed import processes
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.evaluation import against_baselines
from grasp_jax.evaluation.report import load_report, write_report
from grasp_jax.models import methods
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline import cold_start as cold_ranking
from grasp_jax.pipeline import refresh
from grasp_jax.pipeline.checks import check_config, check_devices, warn_of_cut_offs
from grasp_jax.pipeline.known_items import require_texts
from grasp_jax.retrieval import neighbours
from grasp_jax.texts.describe import ITEMS as ITEM_TEXTS
from grasp_jax.texts.describe import USERS as USER_TEXTS
from grasp_jax.texts.describe import describe, load_texts, stage_settings
from grasp_jax.training import warm_start
from grasp_jax.training.seeds import claim_run, finished_seeds, train_and_test
from grasp_jax.training.training_setup import PretrainedInputs, TrainingSetup, make_training_setup
from grasp_jax.vectors.encode import encode
from grasp_jax.vectors.encoders import encoder_of
from grasp_jax.vectors.pca import load_projection, load_reduced, reduce_items
from grasp_jax.vectors.vector_files import ITEMS, item_table, load_tables, searched_items

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What the stages before training leave.

    Attributes:
      dataset: the prepared data set.
      tables: frozen LLM vectors, None where the method needs none.
      pretrained: what some methods get from the vectors before training.
      stages: facts of each stage, for the report.
      fingerprint: of everything above.
      contents: of the files of the stages, see `artefacts.Artefact`.
      folder: of the stages.
    """

    dataset: Dataset
    tables: FrozenVectors | None
    pretrained: PretrainedInputs
    stages: dict[str, dict[str, Any]]
    fingerprint: str
    contents: str
    folder: pathlib.Path


def run_pipeline(config: ml_collections.ConfigDict, workdir: pathlib.Path, shared: pathlib.Path | None = None,
                 command: str = '', every_seed: bool = False) -> dict[str, Any]:
    """Brings a work folder up to date.

    Args:
      config: the full config (see `grasp_jax.config`).
      workdir: gets runs, report and plots.
      shared: gets the stages before training, so that several work folders use them; default: `workdir`.
      command: the command line, for the report.
      every_seed: whether the report is also about seeds that are done in `workdir` and not named by the config.

    Returns:
      The report; of several processes, the first one's alone, the others return nothing.

    Raises:
      UserError: see its message.

    Example:
      >>> from configs import demo  # in the project's folder
      >>> config = changed(demo.get_config(), {'train.max_epochs': 1, 'model.num_layers': 1})  # small, to try
      >>> report = run_pipeline(config, pathlib.Path('runs/demo'))
      >>> report['seeds'], report['counts']['users']
      ([42], 1500)
    """
    check_config(config)
    check_devices(config)
    warm_start.check(config, workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    (shared or workdir).mkdir(parents=True, exist_ok=True)
    knowledge = processes.one_after_another(lambda: prepare_knowledge(config, shared or workdir))
    if processes.is_writer():
        warn_of_cut_offs(config.evaluate.ks, knowledge.dataset.interactions.num_items)
    run = run_on(config, knowledge)
    before = set(config.train.seeds) & set(finished_seeds(workdir))
    for seed in config.train.seeds:
        train_and_test(run, seed, workdir / f'seed{seed}', knowledge.fingerprint, knowledge.contents)
    if not processes.is_writer():
        return {}
    with artefacts.lock(workdir):  # a process that waited for a run may be here at the same moment
        if every_seed:
            config = _with_finished(config, workdir, knowledge.fingerprint)
        saved_config.save(config, workdir, shared or workdir)  # now, as another config would have been refused
        cold = [cold_ranking.evaluate(workdir, seed, config.evaluate.ks) for seed in config.train.seeds
                if cold_start.asked_for(config.evaluate)]
        vectors = None if knowledge.tables is None else item_table(  # as the texts are, mended nowhere
            knowledge.folder / 'encode' / ITEMS, knowledge.dataset.interactions.num_items)
        baselines = against_baselines.ranks_of(knowledge.folder, knowledge.dataset, config, vectors)
        return write_report(workdir, config, [workdir / f'seed{seed}' for seed in config.train.seeds],
                            _as_reported(knowledge.stages, workdir, before), knowledge.dataset.interactions, command,
                            cold, vectors, baselines, knowledge.dataset)


def _with_finished(config: ml_collections.ConfigDict, workdir: pathlib.Path, inputs: str) -> ml_collections.ConfigDict:
    """A config that names the seeds that are done as well, which have to be its own."""
    others = set(finished_seeds(workdir)) - set(config.train.seeds)
    for seed in others:
        claim_run(workdir / f'seed{seed}', config, [inputs])
    return changed(config, {'train.seeds': tuple(sorted({*config.train.seeds, *others}))})


def _as_reported(stages: dict[str, dict[str, Any]], workdir: pathlib.Path,
                 seeds: Collection[int]) -> dict[str, dict[str, Any]]:
    """Facts of the stages that `seeds`, done before, were made from, if there is a report on one of them: stages that
    are made again, as for results that were handed on, take other seconds."""
    try:
        report = load_report(workdir)
    except UserError:  # none yet, or a damaged one that is about to be replaced
        return stages
    if not any(run['seed'] in seeds for run in report['runs']):
        return stages
    earlier = {name: {key: value for key, value in facts.items() if key != 'warnings'}  # those of now hold
               for name, facts in report.get('stages', {}).items()}
    return {name: {**facts, **earlier.get(name, {})} for name, facts in stages.items()}


def prepare_knowledge(config: ml_collections.ConfigDict, folder: pathlib.Path) -> Knowledge:
    """Runs the stages before training: prepare, and for methods with text describe, encode and retrieve."""
    with artefacts.lock(folder):
        return _prepare_knowledge(settled(config), folder)


def settled(config: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """The config with what it leaves to the method: `retrieve.smoothing`."""
    if config.retrieve.smoothing >= 0:
        return config
    return changed(config, {'retrieve.smoothing': methods.named(config.model.method).default_smoothing})


def refresh_knowledge(config: ml_collections.ConfigDict, folder: pathlib.Path,
                      previous: pathlib.Path) -> list[tuple[str, int | float]]:
    """Makes the stages before training in a new folder from those of another one, and says what changed.

    Args:
      config: the full config.
      folder: a new one, or one whose refresh was interrupted.
      previous: folder of the stages of before.

    Raises:
      UserError: see its message.
    """
    check_config(config)
    if not methods.named(config.model.method).uses_vectors:
        raise UserError(f'--mode=refresh: method {config.model.method} has neither texts nor vectors; run it as it is')
    refresh.start(folder, previous, answers_folder(config, previous), config)
    done = prepare_knowledge(config, folder)
    known = refresh.before(folder)
    assert known is not None, 'it was just said'
    return refresh.churn(known, done.dataset, load_texts(folder / 'describe'), done.stages)


class _Stages:
    """Runs stages in one folder, each made from those before, and keeps what each said about itself."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.facts: dict[str, dict[str, Any]] = {}
        self.contents = ''

    def run(self, name: str, settings: Any, inputs: list[str], make: Callable[[pathlib.Path], dict[str, Any]]) -> str:
        """Runs one unless it is up to date; returns its fingerprint."""
        begin = time.perf_counter()

        def timed(partial: pathlib.Path) -> dict[str, Any]:
            LOG.info('%s: started', name)
            with kept_warnings.kept() as said:
                facts = make(partial)
            return {**facts, 'seconds': round(time.perf_counter() - begin, 1), **({'warnings': said} if said else {})}

        done = artefacts.build(self.folder / name, settings, inputs, timed, self.contents)
        LOG.info('%s: %s (%s)', name, 'up to date' if done.reused else f'{done.facts["seconds"]} s', done.path)
        if done.reused and processes.speaks():
            for warning in done.facts.get('warnings', ()):  # older stages kept none
                LOG.warning('%s', warning)
        self.facts[name], self.contents = done.facts, done.contents
        return done.fingerprint


def prepare_data(config: ml_collections.ConfigDict, folder: pathlib.Path) -> Dataset:
    """Runs the stage `prepare` alone."""
    with artefacts.lock(folder):
        return _prepare_data(config, _Stages(folder))[0]


def _prepare_data(config: ml_collections.ConfigDict, stages: _Stages) -> tuple[Dataset, str]:
    data = time_split.stage_settings(config.data.to_dict())
    del data['source']  # where the files lie does not matter, their checksums do
    if not data['keep_unsold']:  # as before there was such a setting
        del data['keep_unsold']
    drawn = {key: config.evaluate[key] for key in ('negatives', 'seed')} | cold_start.asked_for(config.evaluate)
    digest = stages.run('prepare', {'data': data, 'evaluate': drawn}, source_checksums(config),
                        lambda partial: prepare(config, partial))
    facts = stages.facts['prepare']
    LOG.info('%s users (%s with attributes), %s items (%s with attributes), %s interactions; left out of the '
             'source: %s', *(f'{facts[key]:,}' for key in (
                 'users', 'users_with_attributes', 'items', 'items_with_attributes', 'interactions')),
             left_out(facts))
    return dataset_files.load(stages.folder / 'prepare'), digest


def _prepare_knowledge(config: ml_collections.ConfigDict, folder: pathlib.Path) -> Knowledge:
    stages = _Stages(folder)
    dataset, digest = _prepare_data(config, stages)
    if not methods.named(config.model.method).uses_vectors:
        return Knowledge(dataset, None, PretrainedInputs(), stages.facts, digest, stages.contents, folder)
    encoder = encoder_of(config)
    if encoder.reads_texts:
        require_texts(dataset, config)
    known = refresh.before(folder)
    answers = answers_folder(config, folder)

    def write_texts(partial: pathlib.Path) -> dict[str, Any]:
        if known is not None:
            refresh.check(known, config)  # before anybody is asked
        encoder.require()
        return describe(dataset, config, partial, answers, encoder.reads_texts)

    digest = stages.run('describe', stage_settings(config), [digest], write_texts)
    texts = []
    if config.text.source == 'model':  # no two answers are alike, so what follows depends on the texts themselves
        texts = [artefacts.file_checksum(folder / 'describe' / name) for name in (ITEM_TEXTS, USER_TEXTS)]

    earlier = [] if known is None else [known.marks['encode'], known.marks['retrieve']]

    def encode_texts(partial: pathlib.Path) -> dict[str, Any]:
        found = load_texts(folder / 'describe')
        if known is not None:
            refresh.check(known, config)
            return refresh.encode(known, dataset, found, config, partial, answers)
        spec = model_spec(config, num_items=1)
        return encode(dataset, *found, config, partial, answers, spec.uses_user_vectors or spec.uses_similar_users)

    def find_neighbours(partial: pathlib.Path) -> dict[str, Any]:
        if known is not None:
            refresh.check(known, config)
            return refresh.retrieve(known, dataset, folder / 'encode', config, partial)
        return neighbours.retrieve(dataset, folder / 'encode', config, partial)

    inputs = [digest, *texts, *encoder.checksums(), *earlier]
    digest = stages.run('encode', encoder.fingerprint(), inputs, encode_texts)
    encoder.require_same(stages.facts['encode'], folder / 'encode')
    digest = stages.run('retrieve', neighbours.stage_settings(config.retrieve), [digest], find_neighbours)
    found = load_tables(folder / 'encode', folder / 'retrieve', dataset.interactions.num_users,
                        dataset.interactions.num_items)
    spec, pretrained = model_spec(config, dataset.interactions.num_items, found.width), PretrainedInputs()
    if spec.starts_from_text:
        digest = stages.run(spec.start_stage, {'width': spec.hidden_size}, [digest], lambda partial: reduce_items(
            item_table(searched_items(folder), dataset.interactions.num_items), spec.hidden_size, partial,
            spec.facts.projects_vectors))
        pretrained = PretrainedInputs(start=load_reduced(folder / spec.start_stage),
                                      projection=load_projection(folder / spec.start_stage))
    if spec.uses_similar_users:
        pretrained = pretrained._replace(similar_users=np.load(folder / 'retrieve' / neighbours.USER_NEIGHBOURS,
                                                               allow_pickle=False))
    tables = FrozenVectors(users=found.users, users_similar=found.users_similar, items=found.items,
                           items_similar=found.items_similar)
    return Knowledge(dataset, tables, pretrained, stages.facts, digest, stages.contents, folder)


def answers_folder(config: ml_collections.ConfigDict, folder: pathlib.Path) -> pathlib.Path:
    """Where the answers of language models are kept: beside the folder of the stages, so that others find them too; a
    refreshed folder has those of the one that it follows."""
    if config.llm.store:
        return pathlib.Path(config.llm.store)
    return refresh.answers_of(folder) or folder.absolute().parent / 'llm'


def run_on(config: ml_collections.ConfigDict, knowledge: Knowledge) -> TrainingSetup:
    """A run of a config on what the stages before training left, on the mesh that the config asks for."""
    run = make_training_setup(config, make_mesh(tuple(config.train.mesh)), knowledge.dataset.interactions,
                              knowledge.dataset.negatives, knowledge.tables, knowledge.pretrained)
    return dataclasses.replace(run, stages=knowledge.folder)

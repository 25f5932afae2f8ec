"""A finished run that another one starts from: found, looked at whether it fits, and its state read."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np
from jax.sharding import Mesh

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import default, old_keys, saved_config
from grasp_jax.distributed import processes
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import ModelSpec, model_spec
from grasp_jax.ranking.metrics import finished_seeds
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.metrics_log import read_metrics
from grasp_jax.training.state import TrainState, init_state, ranked_params
from grasp_jax.training.train_spec import train_spec
from grasp_jax.vectors import vector_files
from grasp_jax.vectors.encoders import ENCODERS, encoder_of
from grasp_jax.vectors.vector_writer import mean_of

_SIZES = ('method', 'backbone', 'hidden_size', 'num_layers', 'num_heads', 'max_length')


@dataclasses.dataclass(frozen=True)
class Earlier:
    """One seed of a finished run.

    Attributes:
      name: its work folder as the config names it.
      seed: the seed.
      config: of the run, as far as it shapes the parameters that are ranked with.
      stages: folder of the stages that it was trained on.
    """

    name: str
    seed: int
    config: ml_collections.ConfigDict
    stages: pathlib.Path

    @property
    def folder(self) -> pathlib.Path:
        """Folder of the seed."""
        return pathlib.Path(self.name) / f'seed{self.seed}'

    @functools.cached_property
    def spec(self) -> ModelSpec:
        """Of its model, without what the data decide."""
        return model_spec(self.config, num_items=1)

    @functools.cached_property
    def encoder(self) -> dict[str, Any]:
        """Manifest of its vectors."""
        found: dict[str, Any] = artefacts.read_json(self.stages / 'encode' / artefacts.MANIFEST)
        return found

    def refused(self, why: str) -> UserError:
        """An error that names the setting."""
        return UserError(f'train.start_from={self.name}: {why}')


def find(config: ml_collections.ConfigDict, seed: int) -> Earlier:
    """The same seed of the run to start from, else its first one.

    Args:
      config: the full config, with a run to start from.
      seed: of the new run.

    Raises:
      UserError: there is no finished run, its stages are not those that it was trained on, or it is of another model.
    """
    name, setting = config.train.start_from, f'train.start_from={config.train.start_from}'
    if not pathlib.Path(name).is_dir():
        raise UserError(f'{setting}: there is no such folder; name the --workdir of a finished run')
    stages = saved_config.load(pathlib.Path(name))[1]
    seeds = finished_seeds(pathlib.Path(name))
    if not seeds:
        raise UserError(f'{setting}: no seed of it is finished; let its own command end first')
    chosen = seed if seed in seeds else seeds[0]
    # The file of the work folder names the settings of its last command; the seed's own are those of the parameters.
    manifest = artefacts.read_json(pathlib.Path(name) / f'seed{chosen}' / artefacts.MANIFEST)
    known = default()
    earlier = old_keys.named_now('', manifest['config'])
    known.model.update({key: value for key, value in earlier['model'].items() if key in known.model})
    known.train.ema_decay = earlier['train'].get('ema_decay', known.train.ema_decay)
    found = Earlier(name, chosen, known, stages)
    if not (found.folder / 'checkpoints').is_dir():
        raise found.refused(f'{found.folder} has no checkpoints, as of runs that are handed on; make it anew in '
                            'another --workdir')
    _require_same_model(found, config)
    _require_stages(found, manifest['inputs'])
    if found.spec.uses_vectors_in_forward:
        _require_same_encoder(found, config)
    return found


def _require_same_model(earlier: Earlier, config: ml_collections.ConfigDict) -> None:
    now = model_spec(config, num_items=1)
    for key in (*_SIZES, *now.facts.settings):
        earlier_value, ours = getattr(earlier.spec, key), getattr(now, key)
        if earlier_value != ours:
            raise earlier.refused(f'was trained with model.{key}={earlier_value!r}, not {ours!r}; give the '
                                  'same, or leave start_from out')


def _require_stages(earlier: Earlier, inputs: Sequence[str]) -> None:
    """Refuses stages that the earlier run was not trained on: their numbers would mean other items."""
    marks = {artefacts.read_json(path)['fingerprint'] for path in earlier.stages.glob(f'*/{artefacts.MANIFEST}')}
    needed = ('prepare', 'encode') if earlier.spec.uses_vectors_in_forward else ('prepare',)
    there = all((earlier.stages / stage / artefacts.MANIFEST).is_file() for stage in needed)
    if not there or not marks & set(inputs):
        raise earlier.refused(f'the stages that it was trained on are not in {earlier.stages} any more; bring them '
                              'back')
    artefacts.require_intact(earlier.stages / 'prepare', 'bring it back as it was')


def _require_same_encoder(earlier: Earlier, config: ml_collections.ConfigDict) -> None:
    before, now = earlier.encoder['config'], artefacts.as_json(encoder_of(config).fingerprint())
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            setting = f'{"llm" if key in ("revision", "extra") else "encode"}.{key}'
            raise earlier.refused(f'its vectors were made with {setting}={before.get(key)!r}, not {now.get(key)!r}; '
                                  'give the same, or leave start_from out')


def require_same_vectors(earlier: Earlier, stages: pathlib.Path, spec: ModelSpec) -> None:
    """Refuses vectors with which parameters that read those of an earlier run can do nothing.

    That both were made with the same settings is known (`find`).

    Args:
      earlier: that run.
      stages: folder of the stages of the new run.
      spec: of the new run, whose model reads vectors.

    Raises:
      UserError: another encoder made them, or the same one fitted or centred anew.
    """
    before, now = earlier.encoder, artefacts.read_json(stages / 'encode' / artefacts.MANIFEST)
    for key in ('width', 'model_files'):
        if before['facts'].get(key) != now['facts'].get(key):
            raise earlier.refused(f'its vectors are of another model than those in {stages} ({key} '
                                  f'{before["facts"].get(key)}, not {now["facts"].get(key)}); leave start_from out')
    encoder, why = ENCODERS[now['config']['kind']], ''
    if not all(_same_file(before, now, name) for name in encoder.fitted_files):
        why = f'its vectors are of another fit of {encoder.kind}'
    means = [mean_of(pathlib.Path(name)).name
             for name in (vector_files.ITEMS, *[vector_files.USERS] * spec.uses_user_vectors)]
    if not why and now['config']['center'] and not all(_same_file(before, now, name) for name in means):
        why = 'another mean was taken away from its vectors'
    if why:
        remedy = ('run both with encode.center=False' if not encoder.reads_texts else
                  f'make those of a new --workdir with --mode=refresh --previous={earlier.stages}')
        raise earlier.refused(f'{why} than of those in {stages}; {remedy}')


def _same_file(before: dict[str, Any], now: dict[str, Any], name: str) -> bool:
    """Whether two manifests have a file with the same bytes; one that is in neither tells nothing."""
    return name in before['files'] and before['files'][name] == now['files'].get(name)


def best_state(earlier: Earlier, mesh: Mesh) -> tuple[TrainState, Any, int]:
    """The state of the epoch that a run ranks with; all processes together.

    Returns:
      It, the parameters that it ranks with, both as numpy arrays, and the epoch (from 0).

    Raises:
      UserError: its checkpoint is damaged or gone.
    """
    spec = train_spec(earlier.config)
    logged = max(read_metrics(earlier.folder), key=lambda line: line['valid_ndcg10'], default=None)
    try:
        with Checkpoints(earlier.folder / 'checkpoints') as checkpoints:
            best = checkpoints.best()
            if best is None or (logged is not None and best.epoch != logged['epoch'] - 1):
                raise UserError(f'{earlier.folder}: the checkpoint of the best epoch is damaged or gone')
            state = checkpoints.load(best.epoch, _state_shapes(earlier), mesh)
    except UserError as error:  # its remedy is that of the earlier run itself, to be trained anew
        raise earlier.refused(f'{str(error).partition(";")[0]}; name another run, or leave it out') from error
    return (*jax.tree.map(processes.on_host, (state, ranked_params(spec, state))), best.epoch)


def _state_shapes(earlier: Earlier) -> TrainState:
    """Shapes of the state of an earlier run; of its tables it is the width alone that matters."""
    items, frozen = artefacts.read_json(earlier.stages / 'prepare' / 'dataset.json')['num_items'], None
    spec = dataclasses.replace(earlier.spec, num_items=items)
    if spec.uses_vectors_in_forward:
        width = earlier.encoder['facts']['width']
        spec = dataclasses.replace(spec, llm_width=width)
        vectors: Any = jax.ShapeDtypeStruct((2, width), np.float32)
        frozen = FrozenVectors(vectors, vectors, vectors, vectors)
    init = functools.partial(init_state, Recommender(spec), train_spec(earlier.config), seed=earlier.seed)
    return jax.eval_shape(init, frozen)

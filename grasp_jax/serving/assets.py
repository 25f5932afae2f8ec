"""What a finished run leaves for those who ask it: parameters, ids, histories, vectors. Checked when it is opened.

A work folder and an exported bundle hold the same files below `prepare`, `encode` and `retrieve`; a bundle has the
parameters as safetensors, a work folder as checkpoints.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import ml_collections
import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import saved_config
from grasp_jax.data import dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models import methods
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import ModelSpec, model_spec
from grasp_jax.retrieval.neighbours import ITEM_NEIGHBOURS
from grasp_jax.training import view_weights
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.seeds import finished_seeds
from grasp_jax.training.state import TrainState, init_state
from grasp_jax.training.train_spec import TrainSpec, train_spec
from grasp_jax.vectors import vector_files

BUNDLE = 'bundle.json'  # the manifest that tells a bundle from a work folder
_NO_USERS = np.zeros((0, 1), np.float32)


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Frozen vectors, memory-mapped.

    Attributes:
      items, items_similar: [m + 1, E], row 0 is zero.
      users, users_similar: [n, E]; empty where the model does not rank by them.
      neighbours: int32 [m, k], item ids, 0 where there is none.
      searched: [m + 1, E], the table in which these were searched for, which `items_similar` are means of.
    """

    items: np.ndarray
    items_similar: np.ndarray
    users: np.ndarray
    users_similar: np.ndarray
    neighbours: np.ndarray
    searched: np.ndarray


@dataclasses.dataclass(frozen=True)
class Assets:
    """A trained model and what it knows.

    Attributes:
      source: the folder that was opened.
      stages: folder that holds `prepare`, `encode` and `retrieve`.
      config: of the run.
      seed: the seed that is used, and `seeds`, all that are there.
      epoch: the best one, from 1.
      spec: of the model.
      params: its parameters, a tree of arrays.
      interactions: all sequences.
      user_ids, item_ids: n and m ids of the person's own files.
      item_attributes: m dicts.
      vectors: None where the method reads none.
    """

    source: pathlib.Path
    stages: pathlib.Path
    config: ml_collections.ConfigDict
    seed: int
    seeds: tuple[int, ...]
    epoch: int
    spec: ModelSpec
    params: Any
    interactions: Interactions
    user_ids: Sequence[str]
    item_ids: Sequence[str]
    item_attributes: Sequence[dict[str, Any]]
    vectors: Vectors | None


def open_folder(path: pathlib.Path, seed: int | None = None) -> Assets:
    """Opens the work folder of a finished run, or a bundle.

    Args:
      path: the folder.
      seed: which seed's parameters; None: the first that is finished.

    Raises:
      UserError: there is no finished run, or a file is missing, damaged, or of another run than the others.
    """
    if (path / BUNDLE).is_file():
        from grasp_jax.serving.opening import open_bundle
        return open_bundle(path, seed)
    config, stages = saved_config.load(path)
    seeds = finished_seeds(path)
    if not seeds:
        raise UserError(f'{path}: no seed is finished; run the same command as before to its end')
    chosen = seeds[0] if seed is None else seed
    if chosen not in seeds:
        raise UserError(f'{path}: seed {chosen} is not finished; choose one of {", ".join(map(str, seeds))}')
    _require_stages(path / f'seed{chosen}', stages, config)
    known = read_stages(path, stages, config, (chosen, tuple(seeds)))
    params, epoch = _best_params(path / f'seed{chosen}', chosen, config, known)
    return dataclasses.replace(known, params=params, epoch=epoch)


def read_stages(source: pathlib.Path, stages: pathlib.Path, config: ml_collections.ConfigDict,
                seeds: tuple[int, tuple[int, ...]]) -> Assets:
    """Everything but the parameters.

    Args:
      source: what was opened.
      stages: holds `prepare`, and `encode` and `retrieve` where the method reads texts.
      config: of the run.
      seeds: the seed that is used, and all.

    Raises:
      UserError: a file is missing or damaged, or they do not fit each other.
    """
    known = dataset.load(stages / 'prepare', negatives=False)
    vectors, width = None, 0
    if methods.named(config.model.method).uses_vectors:
        vectors = _vectors(stages, known.interactions, config)
        width = vectors.items.shape[1]
    return Assets(source, stages, config, *seeds, 0, model_spec(config, known.interactions.num_items, width), None,
                  known.interactions, list(known.user_ids), list(known.item_ids), known.item_attributes, vectors)


def version(known: Assets) -> str:
    """Twelve letters that change with the parameters, the ids and the histories."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(known.params):
        digest.update(jax.tree_util.keystr(path).encode() + np.ascontiguousarray(leaf).tobytes())
    digest.update(json.dumps([known.user_ids, known.item_ids]).encode())
    for array in (known.interactions.indptr, known.interactions.items):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:12]


def require_finite(params: Any, where: pathlib.Path) -> Any:
    """Parameters that are numbers, as they are.

    Raises:
      UserError: one is not.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not np.isfinite(leaf).all():
            raise UserError(f'{where}: parameter {jax.tree_util.keystr(path)} has numbers that are not finite; train '
                            'this seed anew')
    return params


def parameter_shapes(config: ml_collections.ConfigDict, known: Assets) -> Any:
    """The state that a run of these assets trains, as shapes."""
    found = known.vectors
    frozen = None if found is None else FrozenVectors(
    found.users, found.users_similar, found.items, found.items_similar)
    if found is not None and not len(found.users):  # parameters are made by a pass over one user
        no_users = np.zeros((1, found.items.shape[1]), np.float32)
        frozen = FrozenVectors(no_users, no_users, found.items, found.items_similar)
    init = functools.partial(init_state, Recommender(known.spec), train_spec(config), seed=known.seed)
    return jax.eval_shape(init, frozen)


def _best_params(folder: pathlib.Path, seed: int, config: ml_collections.ConfigDict,
                 known: Assets) -> tuple[Any, int]:
    """Parameters of the best epoch, as numpy arrays, and that epoch from 1."""
    where = folder / 'checkpoints'
    missing = UserError(f'{where}: there is no checkpoint, as of runs that are handed on; train this seed in another '
                        '--workdir')
    if not where.is_dir():  # asked first, as opening would make the folder
        raise missing
    with Checkpoints(where) as checkpoints:
        best = checkpoints.best()
        if best is None:
            raise missing
        mesh = make_mesh((1, 1), jax.devices()[:1])
        state = checkpoints.load(best.epoch, parameter_shapes(config, known), mesh)
    params = view_weights.weighed(known.spec, ranked_on_host(train_spec(config), state), folder=folder)
    return require_finite(params, where), best.epoch + 1


def ranked_on_host(spec: TrainSpec, state: TrainState) -> Any:
    """`ranked_params` as numpy arrays, without a program to compile, seconds long."""
    if not spec.ema_decay:
        return jax.tree.map(np.asarray, state.params)
    mean = state.optimizer[-1]
    correction = np.float32(1 - np.float32(spec.ema_decay) ** int(mean.count))
    return jax.tree.map(lambda leaf: np.asarray(leaf) / correction, mean.ema)


def _require_stages(folder: pathlib.Path, stages: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Refuses stages that are not those that a seed was trained on, or are not whole."""
    names = ['prepare', *['encode', 'retrieve'] * model_spec(config, 1).uses_vectors]
    for name in names:
        if not (stages / name / artefacts.MANIFEST).is_file():
            raise UserError(f'{stages / name}: is not there; a run is served from its own stages, bring them back')
        artefacts.require_intact(stages / name, 'bring it back as it was')
    last = stages / names[-1]
    spec = model_spec(config, 1)
    if spec.starts_from_text:
        last = stages / spec.start_stage
        if not last.is_dir():
            return  # needed to train, not to serve
    mark = artefacts.read_json(last / artefacts.MANIFEST)['fingerprint']
    trained_on = artefacts.read_json(folder / artefacts.MANIFEST)['inputs']
    if mark not in trained_on:
        raise UserError(f'{folder}: was trained on other data or vectors than lie in {stages} now; bring those back, '
                        'or train again')


def _vectors(stages: pathlib.Path, interactions: Interactions, config: ml_collections.ConfigDict) -> Vectors:
    users, items = interactions.num_users, interactions.num_items
    own = vector_files.item_table(vector_files.own_items(stages), items)
    width = own.shape[1]
    people = _NO_USERS, _NO_USERS
    if model_spec(config, items, width).ranks_with_user_vectors:
        people = (vector_files.open_table(stages / 'encode' / vector_files.USERS, users, width),
                  vector_files.open_table(stages / 'retrieve' / vector_files.USERS_SIMILAR, users, width))
    neighbours = _array(stages / 'retrieve' / ITEM_NEIGHBOURS)
    if neighbours.ndim != 2 or len(neighbours) != items:
        raise UserError(f'{stages / "retrieve" / ITEM_NEIGHBOURS}: has not one row for each of {items} items')
    searched = vector_files.searched_items(stages)
    return Vectors(own, vector_files.item_table(stages / 'retrieve' / vector_files.ITEMS_SIMILAR, items, width),
                   *people, neighbours, own if searched.name == vector_files.ITEMS else
                   vector_files.item_table(searched, items, width))  # each opening looks at every number


def _array(path: pathlib.Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode='r', allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f'{path}: cannot be read ({error}); bring it back as it was') from error

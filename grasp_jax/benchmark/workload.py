"""What is measured on: data sets of a given size with random items and vectors, and real lengths of sequences."""

import atexit
import dataclasses
import pathlib
import shutil
import tempfile

import jax
import ml_collections
import numpy as np

from grasp_jax.common import disk
from grasp_jax.config import default
from grasp_jax.data.interactions import Interactions, draw_negatives
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.spec import ModelSpec
from grasp_jax.training.training_setup import PretrainedInputs

# Amazon Beauty 2014, 5-core: how many users (second line) have so many interactions (first line), 22,363 in all.
_LENGTHS = (*range(5, 61), 66, 75, 84, 99, 124, 176)
_USERS = (7162, 4221, 2680, 1811, 1366, 881, 695, 558, 439, 361, 262, 207, 213, 141, 118, 112, 117, 84, 66, 73, 74, 61,
          54, 44, 44, 38, 30, 38, 20, 19, 21, 19, 23, 24, 22, 15, 17, 7, 10, 10, 15, 7, 11, 8, 4, 8, 9, 8, 9, 6, 8, 2,
          6, 4, 7, 3, 21, 27, 15, 13, 10, 5)
_SHORTEST = 3  # with fewer interactions there is nothing to evaluate


@dataclasses.dataclass(frozen=True)
class Size:
    """Sizes of a workload.

    Attributes:
      users, items: n and m.
      mean_length: interactions a user; the lengths follow those of Amazon Beauty, stretched to this mean.
      width: E.
      max_length: L.
      batch_size: B.
      tables: 'device', or 'host' for tables that stay memory-mapped on disk in half precision.
    """

    users: int
    items: int
    mean_length: float
    width: int
    max_length: int = 100
    batch_size: int = 128
    tables: str = 'device'


SIZES = {
    'tiny': Size(200, 300, 8.0, 32, max_length=20, batch_size=16),
    'beauty_5core': Size(22_363, 12_101, 8.88, 384),
    'beauty_paper': Size(52_204, 57_289, 7.56, 1536),
    'industry_12k': Size(99_711, 12_052, 20.88, 4096, tables='host'),
    'industry': Size(99_711, 1_205_282, 20.88, 4096, tables='host'),
    'industry_narrow': Size(99_711, 1_205_282, 20.88, 256),
}


def config_of(size: Size, recipe: str = 'paper', **model: object) -> ml_collections.ConfigDict:
    """A recipe at a size, the paper's with the equations as printed; `model` changes settings of the model section."""
    config = default(recipe)
    config.data.name = 'benchmark'
    if recipe == 'paper':
        config.model.update({'gate': 'paper', 'user_context': 'text', 'max_length': size.max_length})
        config.train.batch_size = size.batch_size
    config.model.update(model)
    config.train.vector_placement = size.tables
    return config


def interactions_of(size: Size, seed: int = 0) -> Interactions:
    """Sequences of random items."""
    rng = np.random.default_rng(seed)
    lengths = rng.choice(_LENGTHS, size.users, p=np.array(_USERS) / sum(_USERS)).astype(float)
    lengths *= size.mean_length / lengths.mean()
    whole = np.maximum(np.floor(lengths + rng.random(size.users)), _SHORTEST).astype(np.int64)
    items = rng.integers(1, size.items + 1, whole.sum(), dtype=np.int32)
    return Interactions(np.concatenate([[0], np.cumsum(whole)]), items, size.items)


def negatives_of(interactions: Interactions) -> dict[str, np.ndarray]:
    """Stored candidates of the sampled protocol."""
    return {'valid': draw_negatives(interactions, 100, 1), 'test': draw_negatives(interactions, 100, 2)}


def tables_of(size: Size, seed: int = 0) -> FrozenVectors:
    """Random unit vectors; item row 0 is zero. Host tables are memory-mapped files of a temporary folder.

    Raises:
      UserError: the files do not fit the disk.
    """
    rows = (size.users, size.users, size.items + 1, size.items + 1)
    folder = _folder(sum(rows) * size.width * 2) if size.tables == 'host' else None
    made: list[np.ndarray] = []
    for number, count in enumerate(rows):
        table = (np.empty((count, size.width), np.float32) if folder is None else
                 np.lib.format.open_memmap(folder / f'{number}.npy', 'w+', np.float16, (count, size.width)))
        fill_with_unit_vectors(table, seed + number)
        if number >= 2:
            table[0] = 0
        made.append(table)
    users, users_similar, items, items_similar = made
    return FrozenVectors(users, users_similar, items, items_similar)


def pretrained_of(size: Size, spec: ModelSpec, similar: int = 10, seed: int = 0) -> PretrainedInputs:
    """Random starts of id embeddings and random similar users, for methods that need them."""
    rng = np.random.default_rng(seed)
    start = rng.normal(0, 0.02, (size.items + 1, spec.hidden_size)).astype(np.float32)
    people = rng.integers(0, size.users, (size.users, similar), dtype=np.int32)
    projection = rng.normal(0, 1, (size.width, spec.hidden_size)).astype(np.float32)
    return PretrainedInputs(start if spec.starts_from_text else None, people if spec.uses_similar_users else None,
                            projection if spec.facts.projects_vectors else None)


def _folder(size: int) -> pathlib.Path:
    """A folder that goes when the program ends, on a disk that has room for `size` bytes."""
    disk.require(pathlib.Path(tempfile.gettempdir()), size, 'the tables of this size', 'name another folder in TMPDIR')
    folder = pathlib.Path(tempfile.mkdtemp(prefix='grasp_jax_benchmark'))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def fill_with_unit_vectors(table: np.ndarray, seed: int) -> None:
    """Random directions, block by block; JAX draws them, which is faster than NumPy."""
    @jax.jit
    def draw(key: jax.Array) -> jax.Array:
        vectors = jax.random.normal(key, (block, table.shape[1]))
        return vectors * jax.lax.rsqrt((vectors ** 2).sum(1, keepdims=True))

    block = min(len(table), 8192)
    for start in range(0, len(table), block):
        vectors = draw(jax.random.fold_in(jax.random.key(seed), start))
        table[start:start + block] = np.asarray(vectors)[:len(table) - start]

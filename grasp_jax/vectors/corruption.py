"""Wrong texts on purpose: what a language model that hallucinates would do to the vectors, by a dial.

`swap` gives some entities each other's vectors, `noise` gives them random directions of the same length. Neighbours
are looked for afterwards, so they are as wrong as they would be. (The synthetic shop can also write texts from wrong
profiles: `config.data.shop.hallucination`.)
"""

import math
import pathlib

import numpy as np

from grasp_jax.vectors import vector_files

KINDS = ('swap', 'noise')
TARGETS = ('users', 'items', 'both')
CORRUPTED = {'users': 'users_corrupted.npy', 'items': 'items_corrupted.npy'}


def chosen(count: int, share: float, seed: int) -> np.ndarray:
    """int64, the entities of `count` that get a wrong vector, in random order; a larger share holds a smaller one."""
    return np.random.default_rng(seed).permutation(count)[:math.ceil(share * count - 1e-9)]


def swapped(rows: np.ndarray, who: np.ndarray) -> np.ndarray:
    """`rows` [r] with the entries of `who` passed on in a circle, so that none keeps its own (if there are two)."""
    result = rows.copy()
    result[who] = rows[np.roll(who, 1)]
    return result


def fill_with_noise(table: np.ndarray, who: np.ndarray, seed: int) -> None:
    """Overwrites rows `who` of a table [r, E] with random directions of the same length, in place, block by block."""
    rng = np.random.default_rng((seed, 1))
    for block in vector_files.blocks(len(who), table.shape[1]):
        rows = who[block]
        noise = rng.standard_normal((len(rows), table.shape[1]), np.float32)
        length = np.linalg.norm(np.asarray(table[rows], np.float32), axis=1, keepdims=True)
        table[rows] = noise * (length / np.linalg.norm(noise, axis=1, keepdims=True))


def write_mask(folder: pathlib.Path, name: str, count: int, who: np.ndarray) -> None:
    """Keeps bool [count], which entities have a wrong vector."""
    mask = np.zeros(count, bool)
    mask[who] = True
    np.save(folder / CORRUPTED[name], mask, allow_pickle=False)

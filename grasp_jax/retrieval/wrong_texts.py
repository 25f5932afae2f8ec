"""Which texts do not fit what their items are bought with, and vectors in which such texts count less.

A text that belongs to another item fits its neighbours as well or as badly as anybody's, so that the share of other
texts that fit worse is anything from 0 to 1. A right text fits better than nearly all others. From the mixture of both
follows how many texts are wrong (Storey, "A direct approach to false discovery rates", J. R. Stat. Soc. B 64, 2002),
and for each one the chance that it is (local false discovery rate; Efron et al., J. Am. Stat. Assoc. 96, 2001).
"""

import csv
import logging
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import scipy.optimize
from scipy import sparse

from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.retrieval.bought_together import means_in_blocks, smoothed, together
from grasp_jax.retrieval.exact import unit
from grasp_jax.texts.prompts import title_or_id
from grasp_jax.vectors import vector_files

LOG = logging.getLogger(__name__)
TRUST, DOUBTFUL = 'item_trust.npy', 'doubtful_texts.csv'
UNKNOWN = 0.5  # trust in the text of an item without neighbours
_OTHERS = 1000  # vectors that an item's own is compared with
_TIE = 1e-6  # cosines that differ by less are equal
_LOW = 0.3  # below it nearly all trust is that of wrong texts
_BINS = 20  # of the histogram of trust
_FEW = 100  # items with neighbours from which on a share of them is told
_MANY = 0.3  # share of wrong texts from which on people are warned
_BOUGHT_WITH = 3  # titles that are written behind a doubtful item


def trust(vectors: np.ndarray, means: np.ndarray, others: np.ndarray | None = None) -> np.ndarray:
    """float32 [r], how well each item's vector fits its neighbours: the share of items' vectors that fit them worse,
    ties counting half.

    Args:
      vectors: [r, E], of unit length.
      means: [r, E], of `bought_together.neighbours_mean`; where a row is zero the trust is `UNKNOWN`.
      others: [x, E], vectors of unit length to compare with; None: evenly spread ones of `vectors`, of which row 0 is
        the padding item.

    Example:
      >>> vectors = np.array([[0, 0], [1, 0], [1, 0.1], [0, 1], [0.1, 1]], np.float32)
      >>> means = np.array([[0, 0], [1, 0], [1, 0], [1, 0], [0, 0]], np.float32)
      >>> trust(unit(vectors), means).tolist()  # item 3 is bought with items unlike it; item 4 has no neighbours
      [0.5, 0.875, 0.625, 0.125, 0.5]
    """
    compared = some_of(vectors) if others is None else others
    found = np.full(len(vectors), UNKNOWN, np.float32)
    for start in range(0, len(vectors), _OTHERS):
        rows = slice(start, start + _OTHERS)
        fits = (vectors[rows] * means[rows]).sum(1, keepdims=True)
        against = means[rows] @ compared.T
        found[rows] = ((against < fits - _TIE).mean(1) + (against < fits + _TIE).mean(1)) / 2
    found[~means.any(1)] = UNKNOWN
    return found


def some_of(vectors: np.ndarray) -> np.ndarray:
    """Evenly spread rows of `vectors` [m + 1, E] but the first, that of the padding item.

    Example:
      >>> some_of(np.array([[0], [7], [8]])).tolist()
      [[7], [8]]
    """
    return np.asarray(vectors[1 + evenly_spread(len(vectors) - 1, _OTHERS)])


def share_wrong(known: np.ndarray) -> float:
    """How many of the texts do not fit, as a share, from their trust [k]; 0 where there are too few to tell.

    Texts that are right and odd are among them: of Beauty as it is 0.10, with half of its texts swapped 0.59.

    Example:
      >>> right, wrong = np.full(300, 0.95), np.linspace(0, 1, 100)
      >>> share_wrong(np.concatenate([right, wrong]))
      0.25
    """
    return min(1.0, float((known < _LOW).mean() / _LOW)) if len(known) >= _FEW else 0.0


def chance_wrong(found: np.ndarray, known: np.ndarray) -> np.ndarray:
    """float32 [m + 1], the chance that a text does not fit: the density of wrong texts among all of the same trust.

    Densities are those of a histogram, made to rise with trust by isotonic regression.

    Args:
      found: [m + 1], of `trust`.
      known: bool [m + 1], of which items there is something known; the others have 0.

    Example:
      >>> found = np.concatenate([np.full(300, 0.95), np.linspace(0, 1, 100)])
      >>> chance_wrong(found, np.ones(400, bool))[[0, 300]].round(2)
      array([0.03, 1.  ], dtype=float32)
    """
    chance = np.zeros(len(found), np.float32)
    share = share_wrong(found[known])
    if share:
        counts = np.histogram(found[known], _BINS, (0, 1))[0]
        density = scipy.optimize.isotonic_regression(counts * (_BINS / counts.sum())).x
        places = np.minimum((found[known] * _BINS).astype(int), _BINS - 1)
        chance[known] = np.minimum(1, share / density[places])
    return chance


def mended(vectors: np.ndarray, means: np.ndarray, chance: np.ndarray) -> np.ndarray:
    """[r, E] of unit length: each vector hands over to the mean of its neighbours by the chance that it is wrong.

    Args:
      vectors, means: [r, E], of unit length, or zero.
      chance: float32 [r].

    Example:
      >>> own, means = np.array([[1, 0], [1, 0]], np.float32), np.array([[0, 1], [0, 1]], np.float32)
      >>> mended(own, means, np.array([0, 1], np.float32)).tolist()
      [[1.0, 0.0], [0.0, 1.0]]
    """
    return unit(vectors * (1 - chance[:, None]) + means * chance[:, None])


def write_mended(dataset: Dataset, vectors: np.ndarray, share: float, folder: pathlib.Path) -> dict[str, Any]:
    """Writes `items_mended.npy`, in which wrong texts count less, and `items_smoothed.npy`, for neighbours, both
    [m + 1, E] in the dtype of `vectors`; `item_trust.npy`, of `trust`; and `doubtful_texts.csv`, for people.

    Args:
      dataset: the prepared data set; what it holds for validation and test is not read.
      vectors: [m + 1, E], row 0 the padding item.
      share: how much of its neighbours' mean is mixed into a smoothed vector.
      folder: where the files go.

    Returns:
      Facts: how many items have neighbours, the share of their texts that do not fit, and how many are doubtful: as
      likely wrong as right, or likelier.
    """
    table = together(dataset.interactions)
    scratch = folder / 'unit.npy', folder / 'near.npy'
    own, near = (_new(path, vectors.shape, np.float32) for path in scratch)
    for block in vector_files.blocks(*vectors.shape):
        own[block] = unit(vectors[block])
    found, known = _trust_of_all(table, own, near)
    chance = chance_wrong(found, known)
    whole, mixed = (_new(folder / name, vectors.shape, vectors.dtype)
                    for name in (vector_files.ITEMS_MENDED, vector_files.ITEMS_SMOOTHED))
    for block, means in means_in_blocks(table, own, 1 - chance, near):
        better = mended(own[block], means, chance[block])
        whole[block], mixed[block] = better, smoothed(better, means, share)
    for written in (whole, mixed):
        written[0] = 0
        written.flush()
    for path in scratch:
        path.unlink()
    np.save(folder / TRUST, found, allow_pickle=False)
    facts = {'items_with_neighbours': int(known.sum()), 'share_wrong': round(share_wrong(found[known]), 4),
             'doubtful': write_doubtful(dataset, table, found, chance, folder / DOUBTFUL)}
    if facts['share_wrong'] >= _MANY:
        LOG.warning('%s See whether each item has a text of its own, or leave the texts out: '
                        'model.method=none', sentence(facts))
    return facts


def sentence(facts: Mapping[str, Any]) -> str:
    """What `write_mended` found, for people.

    Example:
      >>> sentence({'items_with_neighbours': 12068, 'share_wrong': 0.1, 'doubtful': 479}).partition('; ')[0]
      '10% of the texts of 12,068 items do not fit what these items are bought with'
    """
    return (f'{facts["share_wrong"]:.0%} of the texts of {facts["items_with_neighbours"]:,} items do not fit what '
            f'these items are bought with; retrieve/{DOUBTFUL} lists the {facts["doubtful"]:,} most doubtful ones.')


def write_doubtful(dataset: Dataset, table: sparse.csr_matrix, found: np.ndarray, chance: np.ndarray,
                   path: pathlib.Path) -> int:
    """Writes the items whose texts are as likely wrong as right, or likelier, the least trusted first, beside titles of
    what they are bought with most.

    Args:
      dataset: with ids and titles.
      table: of `bought_together.together`.
      found, chance: [m + 1], of `trust` and `chance_wrong`.
      path: of the CSV file: item, title, trust, chance_wrong, bought_with.

    Returns:
      how many they are.
    """
    doubtful = np.flatnonzero(chance >= 1 / 2)
    doubtful = doubtful[np.argsort(found[doubtful], kind='stable')]
    with path.open('w', encoding='utf-8', newline='') as file:
        lines = csv.writer(file)
        lines.writerow(['item', 'title', 'trust', 'chance_wrong', 'bought_with'])
        for item in doubtful.tolist():
            near = slice(*table.indptr[item:item + 2])
            best = table.indices[near][np.argsort(-table.data[near], kind='stable')[:_BOUGHT_WITH]].tolist()
            lines.writerow([dataset.item_ids[item - 1], title_or_id(dataset, item), f'{found[item]:.3f}',
                            f'{chance[item]:.2f}', '; '.join(title_or_id(dataset, other) for other in best)])
    return len(doubtful)


def _trust_of_all(table: sparse.csr_matrix, own: np.ndarray, near: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trust in each text, and of which items something is known."""
    found, known = np.full(len(own), UNKNOWN, np.float32), np.zeros(len(own), bool)
    others = some_of(own)
    for block, means in means_in_blocks(table, own, None, near):
        found[block], known[block] = trust(own[block], means, others), means.any(1)
    return found, known


def _new(path: pathlib.Path, shape: tuple[int, ...], dtype: Any) -> np.memmap:
    return np.lib.format.open_memmap(path, mode='w+', dtype=dtype, shape=shape)

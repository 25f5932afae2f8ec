"""NDCG, hit rate and MRR as functions of the target's rank, and the file that the ranks of a run are kept in.

A rank is 1 + (items scored better) + (items scored equal) / 2, so ties give half ranks such as 1.5. Everything here
looks at the rank alone and a target counts at k when `rank <= k`: all of a tie counts where its middle does, nothing
of it where its middle does not. A target tied with one other for the first place has rank 1.5 and is no hit at 1.

A scorer that answers a constant puts each target at rank 1 + n / 2 among n others, the mean rank of a random order.
With k < 1 + n / 2 it has no hit: HR@10 is 0 among 100 negatives, where a random order has 10/101. From there on every
target is a hit, and for k up to n that is more than chance: HR@10 is 1 among 18 negatives, where a random order has
10/19. MRR never is. So a cut-off says something only below 1 + n / 2, and the report warns of others (`tied_hits`).
"""

import dataclasses
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from grasp_jax.common import archives
from grasp_jax.common.errors import UserError
from grasp_jax.ranking import windows

RANKS_FILE = 'test_ranks.npz'
COLD_RANKS_FILE = 'cold_ranks.npz'
PROTOCOLS = ('sampled', 'full')
UNMASKED = 'full_unmasked'


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean kept as its sum and count, so that the parts of several batches or hosts merge into that of the whole.

    Attributes:
      total: sum of the values.
      count: number of values.
    """

    total: float = 0.0
    count: int = 0

    def merge(self, other: 'Mean') -> 'Mean':
        """The pair of both parts together."""
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean; NaN where nothing was counted."""
        return self.total / self.count if self.count else float('nan')


class Ranks(NamedTuple):
    """Where the test item of each user landed under both protocols.

    Attributes:
      users: int32 [v], the evaluated users.
      targets: int32 [v], their test items.
      sampled: float32 [v], rank among the target and the stored negatives, 1 is best, NaN where there are none.
      full: float32 [v], rank among all items that are not in the input, or with `evaluate.repeats` among all items; NaN
        where there are no others.
      full_unmasked: float32 [v], rank among all items; None where it was not asked for, as in older files, and where
        `full` is that already.
      hits: uint8 [v, K], with `evaluate.targets=all` which places of each user's list hold an item of the window;
        None where the next item alone is the target. Metrics under full ranking are then about all of them.
      wanted: int32 [v], how many there are; None likewise.

    Example:
      >>> ranks = Ranks(np.arange(2), np.array([7, 9]), sampled=np.array([1, 1]), full=np.array([1, 3]))
      >>> ranks.full.mean().item()
      2.0
    """

    users: np.ndarray
    targets: np.ndarray
    sampled: np.ndarray
    full: np.ndarray
    full_unmasked: np.ndarray | None = None
    hits: np.ndarray | None = None
    wanted: np.ndarray | None = None

    def values(self, protocol: str, ks: Sequence[int], mask: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """Every metric of each user, float64 [v], NaN of users who do not count.

        Args:
          protocol: 'sampled', 'full' or 'full_unmasked'.
          ks: cut-offs.
          mask: bool [v], the users that count; default: all.

        Example:
          >>> ranks = Ranks(np.arange(2), np.array([7, 9]), sampled=np.array([1, 1]), full=np.array([1, 3]))
          >>> ranks.values('full', ks=[10])['NDCG@10'].tolist()
          [1.0, 0.5]
        """
        chosen = slice(None) if mask is None else mask
        if protocol == 'full' and self.hits is not None and self.wanted is not None:
            return windows.values(self.hits[chosen], self.wanted[chosen], ks)
        return of_ranks(getattr(self, protocol)[chosen], ks)


def ndcg(ranks: np.ndarray, k: int) -> np.ndarray:
    """NDCG@k with one relevant item: 1 / log2(rank + 1) where rank <= k, else 0.

    Half ranks go into the formula as they are (rank 1.5 gives 0.756, between 1 and 0.631): the logarithm is smooth, and
    rounding either way would favour or punish ties.

    Args:
      ranks: [v], 1 is best.
      k: cut-off.

    Returns:
      float64 [v], NaN where the rank is.

    Example:
      >>> ndcg(np.array([1, 3, 11]), k=10).tolist()
      [1.0, 0.5, 0.0]
    """
    ranks = np.asarray(ranks, np.float64)
    return np.where(ranks > k, 0.0, 1.0 / np.log2(ranks + 1.0))


def hit_rate(ranks: np.ndarray, k: int) -> np.ndarray:
    """HR@k: float64 [v], 1 where rank <= k, else 0, NaN where the rank is. Equals Recall@k, since one item is
    relevant.

    Example:
      >>> hit_rate(np.array([1, 3, 11]), k=10).tolist()
      [1.0, 1.0, 0.0]
    """
    return np.where(np.isnan(ranks), np.nan, np.asarray(ranks) <= k)


def tied_hits(ks: Iterable[int], others: int) -> list[int]:
    """The cut-offs at which a target that ties with all `others` of its candidates is a hit, 1 + others / 2 <= k."""
    return [k for k in ks if 1 + others / 2 <= k]


def reciprocal_rank(ranks: np.ndarray) -> np.ndarray:
    """1 / rank, float64 [v]; its mean is MRR.

    Example:
      >>> reciprocal_rank(np.array([1, 4])).tolist()
      [1.0, 0.25]
    """
    return 1.0 / np.asarray(ranks, np.float64)


def accumulate(ranks: np.ndarray, ks: Sequence[int], mask: np.ndarray | None = None) -> dict[str, Mean]:
    """Sums and counts of every metric over some users.

    Args:
      ranks: [v], 1 is best; NaN is left out.
      ks: cut-offs.
      mask: bool [v], False where a row only fills up a batch; all rows count where it is left out.

    Returns:
      `NDCG@k` and `HR@k` for each k, and `MRR`.
    """
    return means(of_ranks(np.asarray(ranks) if mask is None else np.asarray(ranks)[mask], ks))


def of_ranks(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, np.ndarray]:
    """`NDCG@k` and `HR@k` for each k, and `MRR`, of each rank [v], NaN where it is."""
    values = {f'NDCG@{k}': ndcg(ranks, k) for k in ks}
    values |= {f'HR@{k}': hit_rate(ranks, k) for k in ks}
    return {**values, 'MRR': reciprocal_rank(ranks)}


def means(values: Mapping[str, np.ndarray]) -> dict[str, Mean]:
    """Sums and counts of values of users, without those that are NaN."""
    known = {name: value[~np.isnan(value)] for name, value in values.items()}
    return {name: Mean(float(value.sum()), len(value)) for name, value in known.items()}


def merge(left: Mapping[str, Mean], right: Mapping[str, Mean]) -> dict[str, Mean]:
    """Merges two results of `accumulate` over the same cut-offs."""
    return {name: left[name].merge(right[name]) for name in left}


def summarise(ranks: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """`NDCG@k`, `HR@k` and `MRR` as fractions; NaN where there are no users.

    Args:
      ranks: [v], 1 is best; NaN is left out.
      ks: cut-offs.

    Example:
      >>> summarise(np.array([1, 2]), ks=[1])
      {'NDCG@1': 0.5, 'HR@1': 0.5, 'MRR': 0.75}
    """
    return {name: mean.value for name, mean in accumulate(ranks, ks).items()}


def with_hits(ranks: Ranks, lists: np.ndarray, found: windows.Wanted | None) -> Ranks:
    """Ranks beside what lists [v, K] hold of all items of a window; the same ones where None are looked for."""
    return ranks if found is None else ranks._replace(hits=windows.hits(lists, found), wanted=found.counts)


def summary(ranks: Ranks, protocol: str, ks: Sequence[int], mask: np.ndarray | None = None) -> dict[str, float]:
    """Means of `Ranks.values` as fractions; NaN where no user counts.

    Example:
      >>> ranks = Ranks(np.arange(2), np.array([7, 9]), sampled=np.array([1, 1]), full=np.array([1, 3]))
      >>> summary(ranks, 'full', ks=[2])
      {'NDCG@2': 0.5, 'HR@2': 0.5, 'MRR': 0.6666666666666666}
    """
    return {name: mean.value for name, mean in means(ranks.values(protocol, ks, mask)).items()}


def save_ranks(run_dir: pathlib.Path, ranks: Ranks) -> None:
    """Writes `test_ranks.npz` into the folder of a run, complete or not at all."""
    types = {'users': np.int32, 'targets': np.int32, 'hits': np.uint8, 'wanted': np.int32}
    archives.write(run_dir / RANKS_FILE, {
        name: values.astype(types.get(name, np.float32)) for name, values in ranks._asdict().items()
        if values is not None})


def finished_seeds(workdir: pathlib.Path) -> list[int]:
    """The seeds of a work folder whose test items are ranked, in order."""
    names = (path.parent.name.removeprefix('seed') for path in workdir.glob(f'seed*/{RANKS_FILE}'))
    return sorted(int(name) for name in names if name.isdecimal())  # not of a copy, as seed42_old


def load_ranks(run_dir: pathlib.Path) -> Ranks:
    """Reads the ranks of a run.

    Raises:
      UserError: `test_ranks.npz` is missing, damaged or holds values that are no ranks.

    Example:
      >>> ranks = load_ranks(pathlib.Path('runs/demo/seed42'))
      >>> len(ranks.users), bool((ranks.full >= 1).all())
      (1500, True)
    """
    path, remedy = run_dir / RANKS_FILE, 'delete it and run again'
    found = archives.read(path, [name for name in Ranks._fields if name not in (UNMASKED, 'hits', 'wanted')])
    there = {name: values for name, values in found.items() if name in Ranks._fields}
    ranks = Ranks(**there)
    for name, values in there.items():
        if values.shape[:1] != ranks.users.shape or values.ndim != 1 + (name == 'hits'):
            raise UserError(f'{path}: {name} has shape {values.shape}, users {ranks.users.shape}; {remedy}')
    for protocol in (*PROTOCOLS, UNMASKED):
        values = there.get(protocol, np.ones(0))
        wrong = np.flatnonzero(~((values >= 1) & (values < np.inf) | np.isnan(values)))
        if len(wrong):
            raise UserError(f'{path}: row {wrong[0]} of {protocol} is {values[wrong[0]]}, not a rank; {remedy}')
    return ranks


def seed_ranks(workdir: pathlib.Path, report: dict[str, Any]) -> dict[int, Ranks]:
    """Ranks by seed of the runs that a report is about; errors as in `load_ranks`."""
    return {run['seed']: load_ranks(workdir / run['run_dir']) for run in report['runs']}

"""Is one method better than another on the same users? Paired bootstrap interval and Wilcoxon signed-rank test.

The interval is the percentile bootstrap of Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13.
"""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.ranking.metrics import Ranks

_CELLS = 1 << 22  # numbers held at once by the bootstrap: 32 MiB


@dataclasses.dataclass(frozen=True)
class UserScores:
    """One number per user, the quality of a method for that user.

    Attributes:
      name: how messages call the method.
      users: int [v].
      targets: int [v], test items.
      values: float64 [v], for example NDCG@10; NaN of users that have no rank.

    Example:
      >>> ours = UserScores('ours', users=np.arange(3), targets=np.array([7, 9, 7]), values=np.array([1.0, 0.5, 0.0]))
      >>> ours.values.mean().item()
      0.5
    """

    name: str
    users: np.ndarray
    targets: np.ndarray
    values: np.ndarray


def user_scores(name: str, runs: Sequence[Ranks], protocol: str = 'sampled', k: int = 10) -> UserScores:
    """NDCG@k of each user, averaged over the seeds of a method.

    Args:
      name: how messages call the method.
      runs: ranks of each seed, all over the same users.
      protocol: 'sampled' or 'full'.
      k: cut-off.

    Raises:
      UserError: the seeds were evaluated on different users.

    Example:
      >>> users, targets = np.arange(2), np.array([7, 9])
      >>> runs = [Ranks(users, targets, ranks, ranks) for ranks in (np.array([1, 3]), np.array([3, 3]))]
      >>> user_scores('two seeds', runs, 'full').values.tolist()
      [0.75, 0.5]
    """
    first = runs[0]
    for run in runs[1:]:
        _require_same(name, (first.users, first.targets), f'{name}, another seed', (run.users, run.targets))
    values = np.mean([run.values(protocol, [k])[f'NDCG@{k}'] for run in runs], axis=0)
    return UserScores(name, first.users, first.targets, values)


def compare(
    a: UserScores, b: UserScores, seed: int, resamples: int = 1000, confidence: float = 0.95,
) -> dict[str, float]:
    """Compares two methods user by user, over the users that have a rank under both.

    The negatives must be the same too, which ranks cannot show: the caller sees to that.

    Args:
      a: the method in question.
      b: the one it is compared with.
      seed: of the bootstrap.
      resamples: bootstrap samples of the users.
      confidence: coverage of the interval.

    Returns:
      difference (mean of a less mean of b), low and high (its bootstrap interval), p_value (two-sided Wilcoxon
      signed-rank test; 1 where no user differs), ranks (-1 to 1, the difference of that test's two rank sums as a share
      of both: many small gains and a few large losses make it positive where the mean is negative).

    Raises:
      UserError: the two were evaluated on different users or test items, or no user has a rank under both.

    Example:
      >>> users = np.arange(20)
      >>> ours = UserScores('ours', users, users, np.full(20, 0.5))
      >>> found = compare(ours, UserScores('theirs', users, users, np.full(20, 0.4)), seed=0)
      >>> [round(found[key], 2) for key in ('difference', 'low', 'high', 'ranks')], found['p_value'] < 0.01
      ([0.1, 0.1, 0.1, 1.0], True)
    """
    import scipy.stats
    _require_same(a.name, (a.users, a.targets), b.name, (b.users, b.targets))
    # Averages over seeds leave differences of 1e-17 that would count as wins and losses in the signed-rank test.
    differences = np.round(a.values - b.values, 12)
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        raise UserError(f'{a.name} and {b.name}: no user has a candidate beside the test item; give more items')
    low, high = bootstrap_interval(differences, seed, resamples, confidence)
    changed = differences[differences != 0]
    if not len(changed):
        return {'difference': 0.0, 'low': low, 'high': high, 'p_value': 1.0, 'ranks': 0.0}
    ranks = scipy.stats.rankdata(np.abs(changed))
    return {'difference': float(differences.mean()), 'low': low, 'high': high,
            'p_value': float(scipy.stats.wilcoxon(differences).pvalue),
            'ranks': float(ranks @ np.sign(changed) / ranks.sum())}


def compare_runs(a: str, of_a: Mapping[int, Ranks], b: str, of_b: Mapping[int, Ranks], protocol: str, k: int,
                 seed: int) -> dict[str, float]:
    """Compares two methods user by user over the seeds that both have, or as many of each where they share none.

    A mean over more seeds is spread in another way, which a signed-rank test would take for a difference.

    Args:
      a, of_a: the method in question, and its ranks by seed.
      b, of_b: the one it is compared with.
      protocol: 'sampled' or 'full'.
      k: cut-off of NDCG.
      seed: of the bootstrap.

    Returns:
      as `compare`.

    Example:
      >>> users, first, third = np.arange(20), np.ones(20), np.full(20, 3)
      >>> ours, theirs = ({42: Ranks(users, users, ranks, ranks)} for ranks in (first, third))
      >>> round(compare_runs('ours', ours, 'theirs', theirs, 'full', k=10, seed=0)['difference'], 2)
      0.5
    """
    shared = sorted(of_a.keys() & of_b.keys())
    fewest = min(len(of_a), len(of_b))
    scores = [user_scores(name, [runs[each] for each in shared or sorted(runs)[:fewest]], protocol, k)
              for name, runs in ((a, of_a), (b, of_b))]
    return compare(scores[0], scores[1], seed)


def mark(found: Mapping[str, float]) -> str:
    """'*' or '**' for p below 0.05 and 0.01 where the interval leaves out 0 and the rank sums say the same, else ''.

    Example:
      >>> mark({'difference': 0.1, 'low': 0.05, 'high': 0.15, 'p_value': 0.001, 'ranks': 0.4})
      '**'
      >>> mark({'difference': 0.1, 'low': -0.05, 'high': 0.25, 'p_value': 0.2, 'ranks': 0.1})
      ''
    """
    if found['p_value'] >= 0.05 or found['low'] <= 0 <= found['high'] or found['difference'] * found['ranks'] <= 0:
        return ''
    return '**' if found['p_value'] < 0.01 else '*'


def bootstrap_interval(
    values: np.ndarray, seed: int, resamples: int = 1000, confidence: float = 0.95,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean.

    Drawing v values with replacement is the same as drawing how often each *different* value occurs, a multinomial.
    Differences of NDCG@10 take a few hundred values however many users there are, so this is fast and small.

    Args:
      values: float [v], v > 0.
      seed: makes the draw repeatable.
      resamples: number of bootstrap samples.
      confidence: coverage of the interval.

    Returns:
      Lower and upper end.

    Example:
      >>> low, high = bootstrap_interval(np.repeat([0.0, 1.0], 50), seed=0)  # half of 100 users
      >>> round(low, 1), round(high, 1)  # 0.5 less and plus two standard errors of 0.05
      (0.4, 0.6)
    """
    rng = np.random.default_rng(seed)
    different, counts = np.unique(values, return_counts=True)
    block = max(1, _CELLS // len(different))
    means = np.concatenate([
        rng.multinomial(len(values), counts / len(values), size=min(block, resamples - start)) @ different / len(values)
        for start in range(0, resamples, block)])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _require_same(
    a: str, of_a: tuple[np.ndarray, np.ndarray], b: str, of_b: tuple[np.ndarray, np.ndarray],
) -> None:
    for what, left, right in zip(('users', 'test items'), of_a, of_b, strict=True):
        if not np.array_equal(left, right):
            raise UserError(f'{a} and {b}: were evaluated on different {what} ({len(left)} and {len(right)}); '
                            'compare runs on the same data and split')
    if not len(of_a[0]):
        raise UserError(f'{a} and {b}: no user was evaluated; use data in which users have 3 interactions or more')

"""A trained model against the baselines, which are ranked once for each prepared data set and compared user by user."""

import hashlib
import logging
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from grasp_jax.common import artefacts
from grasp_jax.data.dataset import Dataset
from grasp_jax.evaluation import baselines, significance
from grasp_jax.evaluation.protocol import in_order
from grasp_jax.ranking.metrics import PROTOCOLS, Ranks, summary

LOG = logging.getLogger(__name__)
FOLDER = 'baselines'  # in the folder of the stages
PROTOCOL = 'full'  # lists are made of all items, so that the first line of a report is about all items
_VERSION = 3  # of the ranks; another one makes them anew
Tree = dict[str, Any]


def ranks_of(stages: pathlib.Path, dataset: Dataset, config: ConfigDict,
             vectors: np.ndarray | None = None) -> dict[str, Ranks]:
    """Ranks of all baselines, read from the folder of the stages where they were made from the same ones.

    Args:
      stages: folder of the stages, with `prepare`, and `encode` where there are vectors.
      dataset: what `prepare` left.
      config: the full config.
      vectors: [m + 1, E], of the items' texts, row 0 is no item; None where the method reads none.

    Returns:
      by name, as in `baselines.NAMES`; `content` and `graph_texts` only where there are vectors.
    """
    known = _kept(stages, 'prepare', config)
    found = baselines.load(known) if known.exists() else None
    begin, sample = time.perf_counter(), None
    if found is None:
        LOG.info('baselines: started')
        sample = _sample(dataset, config)
        found = baselines.by_counts(dataset.interactions, sample, config.evaluate.repeats)
        _keep(known, found)
    if vectors is not None:
        path = _kept(stages, 'encode', config)
        if not path.exists():
            sample = sample or _sample(dataset, config)
            _keep(path, baselines.by_vectors(dataset.interactions, sample, vectors[1:], config.evaluate.repeats))
        found |= baselines.load(path)
    if sample is not None:
        LOG.info('baselines: %.1f s', time.perf_counter() - begin)
    return found


def _sample(dataset: Dataset, config: ConfigDict) -> baselines.Sample:
    return baselines.ranked(dataset.interactions, dataset.negatives['test'], config.evaluate.max_users,
                            depth=_depth(config), repeats=config.evaluate.repeats)


def _kept(stages: pathlib.Path, stage: str, config: ConfigDict) -> pathlib.Path:
    """The file of what was made from a stage; its name holds a fingerprint of all that it depends on."""
    manifest = artefacts.read_json(stages / stage / artefacts.MANIFEST)
    files = {name: mark for name, mark in manifest['files'].items() if not name.startswith(f'{artefacts.EXPORT}/')}
    asked = [_VERSION, manifest['fingerprint'], files, config.evaluate.max_users, config.evaluate.repeats]
    asked += [_depth(config)] if _depth(config) else []
    mark = hashlib.sha256(artefacts.json_text(asked, sort_keys=True).encode()).hexdigest()
    return stages / FOLDER / f'{stage}-{mark[:16]}.npz'


def _depth(config: ConfigDict) -> int:
    """How many items the lists of baselines need; 0 where ranks of the next item say it all."""
    return max(config.evaluate.ks) if config.evaluate.targets == 'all' else 0


def _keep(path: pathlib.Path, ranks: dict[str, Ranks]) -> None:
    path.parent.mkdir(exist_ok=True)
    baselines.save(path, ranks)


def beside(runs: Sequence[Ranks], found: Mapping[str, Ranks], ks: Sequence[int]) -> tuple[Tree | None, Tree | None]:
    """The entries `baselines` and `standing` of report.json.

    Args:
      runs: of the model, one of each seed, over the same users.
      found: of the baselines, over these users or some of them.
      ks: cut-offs of the report.

    Returns:
      baselines: `users`, how many of them were ranked; by baseline and protocol the metrics; under `model` those of
      the model on the same users. standing: `k`; `best`, the baseline with the highest NDCG@k under full ranking;
      `behind`, the baselines with a higher one than the model; and `difference`, `low`, `high`, `p_value` and
      `mark` of the model against `best`. None, None where there are no baselines or no ranked user.
    """
    if not found or not len(next(iter(found.values())).users):
        return None, None
    users = next(iter(found.values())).users
    mine = [_of(run, users) for run in runs]
    k = 10 if 10 in ks else max(ks)
    table: Tree = {'users': len(users)}
    table |= {name: {which: summary(ranks, which, ks) for which in PROTOCOLS}
              for name, ranks in found.items()}
    seeds = [{which: summary(run, which, ks) for which in PROTOCOLS} for run in mine]
    table['model'] = {which: {name: float(np.mean([each[which][name] for each in seeds])) for name in seeds[0][which]}
                      for which in PROTOCOLS}
    values = {name: table[name][PROTOCOL][f'NDCG@{k}'] for name in found}
    best = max(values, key=lambda name: values[name])
    behind = [name for name in values if values[name] > table['model'][PROTOCOL][f'NDCG@{k}']]
    compared = significance.compare(significance.user_scores('the model', mine, PROTOCOL, k),
                                    significance.user_scores(best, [found[best]], PROTOCOL, k), seed=0)
    numbers = {key: compared[key] for key in ('difference', 'low', 'high', 'p_value')}
    return table, {'k': k, 'best': best, 'behind': behind, **numbers, 'mark': significance.mark(compared)}


def _of(run: Ranks, users: np.ndarray) -> Ranks:
    """The ranks of some of a run's users."""
    if np.array_equal(run.users, users):
        return run
    rows = np.searchsorted(run.users, users)
    some = {name: values[rows] for name, values in run._asdict().items() if values is not None}
    return Ranks(**{**some, 'users': users})


def first_line(report: Tree) -> str:
    """Whether the model is ahead of every baseline, in one sentence; empty where a report has none."""
    found, table = report.get('standing'), report.get('baselines')
    if not found or not table:  # older reports do not have them
        return ''
    metric = f'NDCG@{found["k"]}'
    mine, best = (100 * table[name][PROTOCOL][metric] for name in ('model', found['best']))
    gain, low, high = (100 * found[key] for key in ('difference', 'low', 'high'))
    by = f'{gain:+.2f} points, 95% interval {low:+.2f} to {high:+.2f}'
    names = [baselines.NAMES[name] for name in found['behind']]
    among = f' of {table["users"]:,} users' if table['users'] < report['counts']['users'] else ''
    figures = f'{PROTOCOL} {metric}{among} {mine:.2f}%, {baselines.NAMES[found["best"]]} {best:.2f}% ({by})'
    if names:
        unsure = '' if found['mark'] else ', though not significantly' + ' behind the best of them' * (len(names) > 1)
        return f'Behind {_listed(names)}{unsure}: {figures}'
    count = len(table) - 2  # less users and model
    if not found['mark']:
        return f'Not clearly ahead of every baseline: {figures}, no significant difference'
    return f'Ahead of all {count} baselines: {figures}'


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f'{", ".join(names[:-1])} and {names[-1]}'


def rows(report: Tree) -> list[list[str]]:
    """A row for each baseline and one for the model, the protocol of the selection first; none where there are no
    baselines."""
    found, standing = report.get('baselines'), report.get('standing')
    if not found or not standing:
        return []
    k, protocols = standing['k'], in_order(report)
    table = [['baselines, %', *(f'{metric}@{k} {which}' for which in protocols for metric in ('NDCG', 'HR'))]]
    for name in [*(each for each in baselines.NAMES if each in found), 'model']:
        table.append([baselines.NAMES.get(name, 'this model'), *(
            f'{100 * found[name][which][f"{metric}@{k}"]:.2f}' for which in protocols for metric in ('NDCG', 'HR'))])
    return table

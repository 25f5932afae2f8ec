"""The report of a finished run: report.json for programs, report.md for people, render_terminal for the console.

Keys of report.json (fractions, not percent; null where a group is empty):

| key | what it holds |
|---|---|
| `schema` | version of this table, 1 |
| `dataset`, `method`, `backbone`, `recipe` | names |
| `gate`, `space`, `user_context` | settings of GRASP; null for the other methods |
| `start_from` | work folder of the run that this one goes on from; null where it began afresh |
| `encoder` | of the texts; null where the method reads none |
| `vectors_from` | what made the vectors, in words, as LSA over the texts, no language model; null where the method reads none |
| `seeds`, `seed` | all seeds of the run; `seed` only where there is one |
| `command` | the command that makes this report again, where it is known |
| `data` | `users`, `items`, `interactions`, `mean_length`, `density`, `evaluated_users` |
| `protocol` | sentences on `split`, `sampled`, `full`, `ties`, `selection`, `groups`; `warning` of cut-offs that ties alone can reach, null where there are none; `negatives` asked for, `fewest_negatives` and `most_negatives` that a user got (a small catalogue has no more), `negatives_seed`; `selection_protocol`, the protocol of the validation figures; `repeats`, whether items of a user's input are candidates of full ranking; `targets`, `next` or `all`; `candidates`, a fingerprint that two reports share when users, test items, negatives and `repeats` are the same |
| `thresholds` | `head_user`, `head_item`: training interactions from which a user or item is head |
| `counts` | evaluated users in all and in each group; `without_negatives` and `without_candidates`, users with nothing to be ranked against under the sampled and the full protocol, who are left out of its means |
| `test.sampled`, `test.full` | `NDCG@k`, `HR@k` for each k, `MRR`: all evaluated users under either protocol; with `evaluate.targets=all` those of `test.full` are about all items of the window, and `Recall@k` stands beside them |
| `test.full_unmasked` | the same under full ranking with the items of a user's input among the candidates, as several public programs rank; null where a run's ranks are of a version without it, and with `protocol.repeats`, where `test.full` is that |
| `test.beyond_accuracy` | values of the lists of the best max(k) items of all evaluated users under full ranking, as `evaluation/beyond.py` defines them: `Coverage@k`, `Gini@k`, `Popularity@k`, `Novelty@k`, `Diversity@k`, and in `groups.tail_user` and `groups.head_user` `PopularityLift@k` and `PopularityDeviation@k`; null where the run has no lists as deep as k |
| `test.groups.GROUP` | the same for tail_user, head_user, tail_item, head_item, new_target (users whose test item no training interaction has) and repeat (users whose test item is in their input), sampled protocol |
| `test.groups_full.GROUP` | the same groups, full protocol |
| `validation` | `NDCG@10`, `HR@10` of the best epoch, `epoch` |
| `training` | `seconds` of all seeds together, `epochs` that were run |
| `std` | only with several seeds: `test` and `validation` as standard deviations (n - 1) over the seeds; these two are then means |
| `runs` | per seed: `seed`, `run_dir` (relative), `test`, `validation`, `training` |
| `baselines` | `users`, how many of the evaluated ones were ranked; of `popularity`, `item_knn`, `item_knn_last3`, `transitions`, `graph`, `content` and `graph_texts` (where there are vectors) and `model`, on these users, the metrics under `sampled` and `full`; null where none were ranked |
| `standing` | the model against the baselines in NDCG@`k` under full ranking: `best`, the best of them; `behind`, those that the model is behind; `difference` to `best` with its interval `low` and `high`, `p_value` and `mark` (** below 0.01, * below 0.05, empty: no significant difference) |
| `unfinished` | seeds that ended by `train.max_epochs` with their best epoch among the last three |
| `examples` | lists of ten users of the first seed: `user`, `newest` (titles of the newest items), `list` (titles), `held_out`, its `place` in the list, its `rank` under full ranking |
| `cold_start` | null unless items or users were set aside (`evaluate.cold_items`, `cold_users`); else `items` and `users`, each with `cases`, `candidates` and, under full ranking, the metrics of `model`, `content` and `chance`; means over the seeds |
| `stages` | what each stage said about itself |
| `warnings` | what the stages warned of when they were made, stages in order; also where they were found up to date |
| `mixed` | which seeds were trained on stages of the same settings that came out otherwise, null where none were |
| `versions` | Python and libraries |
"""  # noqa: E501 (a table row is one line)

import math
import os
import pathlib
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions, evenly_spread
from grasp_jax.evaluation import against_baselines, baseline_plot, beyond_accuracy, examples, groups, plots, protocol
from grasp_jax.evaluation.history import History, load_history
from grasp_jax.evaluation.report_markdown import render_markdown, render_terminal
from grasp_jax.models import methods
from grasp_jax.ranking import alone, metrics
from grasp_jax.ranking.lists import LISTS_FILE, load_lists
from grasp_jax.vectors.encoders import encoder_of

__all__ = ['load_report', 'render_markdown', 'render_terminal', 'write_report']

SCHEMA = 1
Tree = dict[str, Any]


def write_report(
    workdir: pathlib.Path, config: ConfigDict, run_dirs: Sequence[pathlib.Path], stages: dict[str, Tree],
    interactions: Interactions, command: str = '', cold: Sequence[Tree] = (), vectors: np.ndarray | None = None,
    baselines: Mapping[str, metrics.Ranks] | None = None, dataset: Dataset | None = None,
) -> Tree:
    """Writes report.json, report.md and plots/ into the workdir.

    Args:
      workdir: where they go.
      config: the full config.
      run_dirs: folder of each seed in the order of `config.train.seeds`, with test_ranks.npz and metrics.jsonl.
      stages: facts of each stage by name.
      interactions: the prepared data set.
      command: what to type to make this report again.
      cold: of each seed, what `cold_start.evaluate` found; empty where nothing was set aside.
      vectors: [m + 1, E], of the items' texts, row 0 is no item; None where there are none.
      baselines: ranks of `standing.ranks_of`; None for a report without them.
      dataset: ids and titles for the examples; None for a report without them.

    Returns:
      What report.json holds.

    Raises:
      UserError: a file of a run is missing, damaged or of another data set.
    """
    histories = [load_history(run_dir) for run_dir in run_dirs]
    runs, all_ranks, counts, known = [], [], {}, beyond_accuracy.known_of(interactions, vectors)
    for seed, run_dir, history in zip(config.train.seeds, run_dirs, histories, strict=True):
        ranks = metrics.load_ranks(run_dir)
        _require_data_set(run_dir, ranks, interactions, config.evaluate.max_users)
        ranks = alone.without(ranks, interactions, config.evaluate.repeats)
        masks = groups.group_masks(interactions, ranks.users, ranks.targets, config)
        counts = {'users': len(ranks.users), **{name: int(mask.sum()) for name, mask in masks.items()},
                  'without_negatives': int(np.isnan(ranks.sampled).sum()),
                  'without_candidates': int(np.isnan(ranks.full).sum())}
        all_ranks.append(ranks)
        runs.append({
            'seed': int(seed), 'run_dir': os.path.relpath(run_dir, workdir),
            'test': {**_test(ranks, masks, config),
                     'beyond_accuracy': _beyond(run_dir, ranks.users, masks, interactions, known, config)},
            'validation': _best(history), 'training': {'seconds': history.seconds, 'epochs': len(history.epochs)}})
    table, place = against_baselines.beside(all_ranks, baselines or {}, config.evaluate.ks)
    report = {
        'schema': SCHEMA, **_names(config), 'command': command, 'data': _data_facts(interactions, counts['users']),
        'protocol': protocol.described(config, interactions, stages),
        'thresholds': groups.thresholds(interactions, config),
        'counts': counts, **_over_seeds(runs), 'runs': runs, 'stages': stages,
        'warnings': [warning for facts in stages.values() for warning in facts.get('warnings', ())],
        'baselines': table, 'standing': place,
        'unfinished': [int(seed) for seed, history in zip(config.train.seeds, histories, strict=True)
                       if history.is_unfinished(config)],
        'examples': examples.of_run(run_dirs[0], all_ranks[0], dataset) if dataset else [],
        'cold_start': _merge(cold, statistics.fmean) if cold else None,
        'mixed': _mixed(config.train.seeds, run_dirs), 'versions': _versions(run_dirs)}
    (workdir / 'plots').mkdir(parents=True, exist_ok=True)
    plots.training_curve(report, histories, workdir / 'plots' / 'training_curve.png')
    plots.metric_by_k(report, workdir / 'plots' / 'metric_by_k.png')
    plots.group_bars(report, workdir / 'plots' / 'groups.png')
    baseline_plot.baseline_bars(report, workdir / 'plots' / 'baselines.png')
    artefacts.write_text(workdir / 'report.md', render_markdown(report))
    artefacts.write_json(workdir / 'report.json', report)
    return report


def load_report(workdir: pathlib.Path) -> Tree:
    """Reads the report.json of a workdir.

    Raises:
      UserError: it is no folder, or the file is missing, damaged or no report of this program.

    Example:
      >>> report = load_report(pathlib.Path('runs/demo'))
      >>> report['dataset'], report['data']['users'], report['data']['items']
      ('demo_shop', 1500, 400)
    """
    if workdir.is_file():
        raise UserError(f'{workdir}: is a file; name the folder that --workdir was')
    path = workdir / 'report.json' if workdir.is_dir() else workdir
    if not path.exists():
        raise UserError(f'{path}: there is no report; name a --workdir in which a run has finished')
    report = artefacts.read_json(path)
    if not isinstance(report, dict) or report.get('schema') != SCHEMA:
        raise UserError(f'{path}: is not a report of schema {SCHEMA}; run the program on its workdir again')
    return report


def _manifest(run_dir: pathlib.Path) -> Tree:
    path = run_dir / artefacts.MANIFEST
    found: Tree = artefacts.read_json(path) if path.exists() else {}
    return found


def _mixed(seeds: Sequence[int], run_dirs: Sequence[pathlib.Path]) -> str | None:
    """Stages that are made again, or made elsewhere, may come out otherwise; what was trained before stays."""
    alike: dict[str, list[str]] = {}
    for seed, run_dir in zip(seeds, run_dirs, strict=True):
        if made_of := _manifest(run_dir).get('made_of'):  # older ones do not say
            alike.setdefault(made_of, []).append(str(seed))
    if len(alike) < 2:
        return None
    return (f'seeds {" and seeds ".join(map(", ".join, alike.values()))} were trained on other texts or vectors, made '
            'by the same settings; means and deviations are over both')


def _versions(run_dirs: Sequence[pathlib.Path]) -> dict[str, str]:
    """Versions that the seeds were made with, as their manifests say; several of a name where they differ."""
    found: dict[str, list[str]] = {}
    for run_dir in run_dirs:
        for name, version in (_manifest(run_dir).get('versions') or artefacts.versions()).items():
            known = found.setdefault(name, [])
            known += [version] if version not in known else []
    return {name: ' and '.join(versions) for name, versions in found.items()}


def of_seeds(report: Tree, seeds: Sequence[int]) -> Tree | None:
    """What a report says of some seeds; None where it is about none of them."""
    runs = [run for run in report['runs'] if run['seed'] in seeds]
    if not runs or len(runs) == len(report['runs']):
        return report if runs else None
    return {**{key: value for key, value in report.items() if key != 'std'}, **_over_seeds(runs), 'runs': runs,
            **_seeds([run['seed'] for run in runs]), 'standing': None,  # which is of all of them
            'unfinished': [seed for seed in report.get('unfinished', ()) if seed in seeds]}


def _names(config: ConfigDict) -> Tree:
    seeds = [int(seed) for seed in config.train.seeds]
    facts = methods.named(config.model.method)
    return {
        'dataset': config.data.name, 'method': config.model.method, 'backbone': config.model.backbone,
        'recipe': config.train.recipe, 'start_from': config.train.start_from or None, **_seeds(seeds),
        'encoder': config.encode.kind if facts.uses_vectors else None,
        'vectors_from': encoder_of(config).origin() if facts.uses_vectors else None,
        **{key: config.model[name] if facts.gated else None for key, name in (
            ('gate', 'gate'), ('space', 'gate_space'), ('user_context', 'user_context'))}}


def _seeds(seeds: list[int]) -> Tree:
    return {'seeds': seeds, **({'seed': seeds[0]} if len(seeds) == 1 else {})}


def _data_facts(interactions: Interactions, evaluated: int) -> Tree:
    users, items, total = interactions.num_users, interactions.num_items, len(interactions.items)
    return {'users': users, 'items': items, 'interactions': total, 'mean_length': total / max(users, 1),
            'density': total / max(users * items, 1), 'evaluated_users': evaluated}


def _require_data_set(run_dir: pathlib.Path, ranks: metrics.Ranks, interactions: Interactions, count: int) -> None:
    all_users, targets = interactions.evaluated_users(), interactions.targets('test')
    chosen = evenly_spread(len(all_users), count)
    expected = all_users[chosen], targets[chosen]
    if not (np.array_equal(ranks.users, expected[0]) and np.array_equal(ranks.targets, expected[1])):
        raise UserError(f'{run_dir / metrics.RANKS_FILE}: holds {len(ranks.users)} users that are not the '
                        f'{len(expected[0])} evaluated users of the data set; delete it and run again')


def _test(ranks: metrics.Ranks, masks: dict[str, np.ndarray], config: ConfigDict) -> Tree:
    ks = config.evaluate.ks
    by_group = {which: {name: _summary(ranks, which, ks, mask) for name, mask in masks.items()}
                for which in metrics.PROTOCOLS}
    unmasked = None if ranks.full_unmasked is None else _summary(ranks, metrics.UNMASKED, ks)
    return {'sampled': _summary(ranks, 'sampled', ks), 'full': _summary(ranks, 'full', ks), metrics.UNMASKED: unmasked,
            'groups': by_group['sampled'], 'groups_full': by_group['full']}


def _beyond(run_dir: pathlib.Path, users: np.ndarray, masks: dict[str, np.ndarray], interactions: Interactions,
            known: beyond_accuracy.Known, config: ConfigDict) -> Tree | None:
    """The values of a run's lists; None where it has none that are deep enough."""
    lists, ks = load_lists(run_dir), config.evaluate.ks
    if lists is None or lists.items.shape[1] < min(max(ks), interactions.num_items):
        return None
    if not np.array_equal(lists.users, users) or lists.items.max(initial=0) > interactions.num_items:
        raise UserError(f'{run_dir / LISTS_FILE}: holds lists of other users or items than the ranks beside it; delete '
                        'it and run again')
    groups_of_users = {name: mask for name, mask in masks.items() if name.endswith('_user')}
    return {**beyond_accuracy.of_lists(lists.items, ks, known),
            'groups': beyond_accuracy.of_groups(lists.items, users, interactions, groups_of_users, ks, known)}


def _summary(ranks: metrics.Ranks, which: str, ks: Sequence[int],
             mask: np.ndarray | None = None) -> dict[str, float | None]:
    """JSON has no NaN, so an empty group's values become null."""
    return {name: None if math.isnan(value) else value
            for name, value in metrics.summary(ranks, which, ks, mask).items()}


def _best(history: History) -> Tree:
    best = history.best
    return {'NDCG@10': history.valid_ndcg10[best], 'HR@10': history.valid_hr10[best], 'epoch': history.epochs[best]}


def _over_seeds(runs: list[Tree]) -> Tree:
    parts = [{key: run[key] for key in ('test', 'validation')} for run in runs]
    training = {key: sum(run['training'][key] for run in runs) for key in ('seconds', 'epochs')}
    if len(runs) == 1:
        return {**parts[0], 'training': training}
    return {**_merge(parts, statistics.fmean), 'training': training, 'std': _merge(parts, statistics.stdev)}


def _merge(trees: Sequence[Any], merge: Callable[[list[float]], float]) -> Any:
    """Merges equal trees of numbers leaf by leaf; what one of them lacks is None."""
    if any(tree is None for tree in trees):
        return None
    if isinstance(trees[0], dict):
        return {key: _merge([tree[key] for tree in trees], merge) for key in trees[0]}
    return merge([float(leaf) for leaf in trees])

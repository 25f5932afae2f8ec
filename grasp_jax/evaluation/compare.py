"""Finished runs side by side: the table, its legend, and what is said of runs that cannot be compared."""

import itertools
import pathlib
from collections.abc import Sequence
from typing import Any

from grasp_jax.evaluation import against_baselines, report_markdown, significance
from grasp_jax.evaluation.baselines import NAMES
from grasp_jax.evaluation.beyond_accuracy_table import comparison_rows
from grasp_jax.evaluation.protocol import GROUP_TREES, in_order
from grasp_jax.ranking.metrics import seed_ranks

Tree = dict[str, Any]
LEGEND = """All numbers in percent. The columns of tail and head users and items are NDCG at the same k, under the
protocol that the first run's epoch was selected by. The gain is the mean over users of the difference of NDCG (under
that protocol, or what --protocol says) to the first run, in points of percent, with its bootstrap interval; * and **
mark p below 0.05 and 0.01 in a Wilcoxon signed-rank test over users, where the interval leaves out zero as well and the
test's rank sums point the same way as the mean. Both are about the trained models, on these users: another seed of the
same method would differ too. Several seeds of a run, those that both have, are averaged per user first. Runs on other
users or other negatives, or with another evaluate.repeats or evaluate.targets, are listed but not tested. The
baselines are those of the first run's report."""


def compare_workdirs(workdirs: Sequence[pathlib.Path], reports: Sequence[Tree], seed: int = 0,
                     protocol: str = '') -> list[list[str]]:
    """The table of several finished workdirs, header first.

    Args:
      workdirs: folders of the runs, the one to compare with first.
      reports: their reports.
      seed: of the bootstrap.
      protocol: of the gain and its test, 'sampled' or 'full'; empty: the one that the first run was selected by.

    Raises:
      UserError: the ranks of a run cannot be read.
    """
    k, protocols = report_markdown.shared_k(reports) or report_markdown.headline_k(reports[0]), in_order(reports[0])
    protocol, tree = protocol or protocols[0], GROUP_TREES[protocols[0]]
    header = ['run', 'data', 'recipe', 'model', 'seeds',
              *(f'{name}@{k} {column}' for column in protocols for name in ('NDCG', 'HR')),
              *report_markdown.GROUP_NAMES.values(), f'gain, {protocol} (95% interval)', 'p']
    rows = [header]
    for workdir, run, report in zip(workdirs, run_names(workdirs), reports, strict=True):
        test = report['test']
        cells = [test[column].get(f'{name}@{k}') for column in protocols for name in ('NDCG', 'HR')]
        hidden = _other_borders(report, reports[0])
        cells += [None if _border(group) in hidden else test[tree][group].get(f'NDCG@{k}')
                  for group in report_markdown.GROUP_NAMES]
        rows.append([
            run, report['dataset'], report['recipe'], _model(report), str(len(report['seeds'])),
            *(report_markdown.percent(cell) for cell in cells),
            *(('', '') if report is reports[0] else
              _gain(workdirs[0], reports[0], workdir, report, k, seed, protocol))])
    return rows + _baselines(reports[0], protocols, k, len(header))


def _baselines(report: Tree, protocols: Sequence[str], k: int, width: int) -> list[list[str]]:
    """Rows of the baselines of the first run; none where they are of some of its users alone."""
    found = report.get('baselines')  # older reports do not have them
    if not found or found['users'] < report['counts']['users']:
        return []
    rows = [['baseline', report['dataset'], '', shown, '',
             *(report_markdown.percent(found[name][column].get(f'{metric}@{k}'))
               for column in protocols for metric in ('NDCG', 'HR'))]
            for name, shown in NAMES.items() if name in found]
    return [row + ['-'] * (width - len(row)) for row in rows]


def notes(workdirs: Sequence[pathlib.Path], reports: Sequence[Tree]) -> list[str]:
    """A line on each run that is not ahead of every baseline, and on each that is not finished."""
    found = []
    for name, report in zip(run_names(workdirs), reports, strict=True):
        behind = against_baselines.first_line(report)
        lines = ([] if behind.startswith('Ahead') else [behind], [report_markdown.unfinished(report)])
        found += [f'{name}: {line[:1].lower()}{line[1:]}.' for part in lines for line in part if line]
    return found


def beyond_rows(workdirs: Sequence[pathlib.Path], reports: Sequence[Tree]) -> list[list[str]]:
    """The values beyond accuracy of several finished workdirs, header first; empty where no report has them."""
    k = report_markdown.shared_k(reports) or report_markdown.headline_k(reports[0])
    return comparison_rows(run_names(workdirs), reports, k)


def run_names(workdirs: Sequence[pathlib.Path]) -> list[str]:
    """The shortest ends of the paths that tell the folders apart: `sasrec`, or `first/sasrec` and `second/sasrec`."""
    paths = [workdir.resolve() for workdir in workdirs]
    ends = ([str(pathlib.Path(*path.parts[-depth:])) for path in paths] for depth in itertools.count(1))
    return next(names for names in ends if len(set(names)) == len(set(paths)))


def border_note(workdirs: Sequence[pathlib.Path], reports: Sequence[Tree]) -> str:
    """One line on the runs whose head and tail are not those of the first; empty where there are none."""
    first, *names = run_names(workdirs)
    other = [f'{name} ({", ".join(borders.values())})' for name, report in zip(names, reports[1:], strict=True)
             if (borders := _other_borders(report, reports[0]))]
    return (f'Tail and head are left out (-) where their border, in training interactions, is not that of {first}: '
            f'{", ".join(other)}.') if other else ''


def _border(group: str) -> str:
    """The threshold that makes a group: tail_user -> head_user."""
    return 'head_' + group.partition('_')[2]


def _other_borders(report: Tree, first: Tree) -> dict[str, str]:
    """The thresholds that are not those of the first report, each with a word on both."""
    mine, first_thresholds = report['thresholds'], first['thresholds']
    return {key: f'{key[5:]}s from {value}, not {first_thresholds[key]}'
            for key, value in mine.items() if value != first_thresholds[key]}


def _model(report: Tree) -> str:
    found = report_markdown.variant(report)
    return report_markdown.model_name(report) + (f' ({", ".join(found)})' if found else '')


def _gain(first_dir: pathlib.Path, first: Tree, other_dir: pathlib.Path, other: Tree, k: int, seed: int,
          protocol: str) -> tuple[str, str]:
    """Difference with its interval, and p with its mark; a word instead where the two cannot be compared."""
    if first['protocol'].get('repeats', False) != other['protocol'].get('repeats', False):  # older ones do not say
        return 'another evaluate.repeats', ''
    if first['protocol'].get('targets', 'next') != other['protocol'].get('targets', 'next'):
        return 'another evaluate.targets', ''
    if first['protocol']['candidates'] != other['protocol']['candidates']:
        return 'other users or negatives', ''
    found = significance.compare_runs(str(other_dir), seed_ranks(other_dir, other), str(first_dir),
                                      seed_ranks(first_dir, first), protocol, k, seed)
    gain, low, high = (100 * found[key] for key in ('difference', 'low', 'high'))
    p_value, mark = found['p_value'], significance.mark(found)
    return (f'{gain:+.2f} ({low:+.2f} to {high:+.2f})',
            _short(p_value) + (f' {mark}' if mark else ''))


def _short(p_value: float) -> str:
    if p_value < 1e-300:
        return '< 1e-300'
    return f'{p_value:.3f}' if p_value >= 0.001 else f'{p_value:.0e}'

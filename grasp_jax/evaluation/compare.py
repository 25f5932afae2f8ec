"""Compares finished runs: `python -m grasp_jax.evaluation.compare WORKDIR_A WORKDIR_B ... [--out FILE.md]`."""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from grasp_jax import artefacts
from grasp_jax.errors import UserError
from grasp_jax.evaluation import significance, tables
from grasp_jax.evaluation.metrics import seed_ranks
from grasp_jax.evaluation.plots import comparison
from grasp_jax.evaluation.report import load_report

Tree = dict[str, Any]
LEGEND = """All numbers in percent. The columns of tail and head users and items are NDCG, sampled protocol, at the
same k. The gain is the mean over users of the difference of NDCG (sampled) to the first run, in points of percent, with
its bootstrap interval; * and ** mark p below 0.05 and 0.01 in a Wilcoxon signed-rank test over users, where the
interval leaves out zero as well. Both are about the trained models, on these users: another seed of the same method
would differ too. Several seeds of a run, those that both have, are averaged per user first. Runs on other users or
other negatives are listed but not tested."""


def compare_workdirs(workdirs: Sequence[pathlib.Path], seed: int = 0) -> list[list[str]]:
    """The table of several finished workdirs, header first.

    Args:
      workdirs: folders with a report.json, the one to compare with first.
      seed: of the bootstrap.

    Raises:
      UserError: a report or the ranks of a run cannot be read.
    """
    reports = [load_report(workdir) for workdir in workdirs]
    k = tables.headline_k(reports[0])
    header = ['run', 'data', 'recipe', 'model', 'seeds',
              *(f'{name}@{k} {protocol}' for protocol in ('sampled', 'full') for name in ('NDCG', 'HR')),
              *tables.GROUP_NAMES.values(), 'gain (95% interval)', 'p']
    rows = [header]
    for workdir, report in zip(workdirs, reports, strict=True):
        test = report['test']
        cells = [test[protocol].get(f'{name}@{k}') for protocol in ('sampled', 'full') for name in ('NDCG', 'HR')]
        cells += [test['groups'][group].get(f'NDCG@{k}') for group in tables.GROUP_NAMES]
        rows.append([
            workdir.resolve().name, report['dataset'], report['recipe'], _model(report), str(len(report['seeds'])),
            *(tables.percent(cell) for cell in cells),
            *(('', '') if report is reports[0] else _gain(workdirs[0], reports[0], workdir, report, k, seed))])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 with one line on standard error where something is wrong."""
    parser = argparse.ArgumentParser(
        'python -m grasp_jax.evaluation.compare', epilog=LEGEND,
        description='Prints a table of finished runs; the first is what the others are compared with.')
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path, metavar='WORKDIR',
                        help='what --workdir was when the run was made')
    parser.add_argument('--out', type=pathlib.Path, metavar='FILE.md', help='also write the table as Markdown')
    parser.add_argument('--plot', type=pathlib.Path, metavar='FILE.png',
                        help='also draw NDCG@10 by backbone and method')
    parser.add_argument('--seed', type=int, default=0, help='seed of the bootstrap (default: 0)')
    flags = parser.parse_args(arguments)
    try:
        rows = compare_workdirs(flags.workdirs, flags.seed)
        print(tables.aligned(rows, 4), LEGEND, sep='\n\n')
        if flags.out:
            _write(flags.out, f'{tables.markdown(rows, 4)}\n\n{LEGEND}\n')
        if flags.plot:
            flags.plot.parent.mkdir(parents=True, exist_ok=True)
            comparison([load_report(workdir) for workdir in flags.workdirs], flags.plot)
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


def _model(report: Tree) -> str:
    found = tables.variant(report)
    return tables.model_name(report) + (f' ({", ".join(found)})' if found else '')


def _gain(first_dir: pathlib.Path, first: Tree, other_dir: pathlib.Path, other: Tree, k: int, seed: int,
          ) -> tuple[str, str]:
    """Difference with its interval, and p with its mark; a word instead where the two cannot be compared."""
    if first['protocol']['candidates'] != other['protocol']['candidates']:
        return 'other users or negatives', ''
    found = significance.compare_runs(str(other_dir), seed_ranks(other_dir, other), str(first_dir),
                                      seed_ranks(first_dir, first), 'sampled', k, seed)
    gain, low, high = (100 * found[key] for key in ('difference', 'low', 'high'))
    p_value, mark = found['p_value'], significance.mark(found)
    return (f'{gain:+.2f} ({low:+.2f} to {high:+.2f})',
            ('< 0.001' if p_value < 0.001 else f'{p_value:.3f}') + (f' {mark}' if mark else ''))


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    artefacts.write_text(path, text)


if __name__ == '__main__':
    sys.exit(main())

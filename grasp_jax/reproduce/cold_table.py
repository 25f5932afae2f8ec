"""Cold start of several runs side by side: `python -m grasp_jax.reproduce.cold_table WORKDIR ... [--out=STEM]`.

Without --out the table is printed; with it STEM.md, STEM.csv and the picture STEM.png are written as well. The runs
were made with `evaluate.cold_items` or `evaluate.cold_users`, and their reports say how they did.
"""

import argparse
import csv
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from grasp_jax.commands.command import Parser, for_a_reader
from grasp_jax.commands.flag_names import as_flags
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation import report_markdown
from grasp_jax.evaluation.plots import BLUE, GREY, figure_of, panel_of, save
from grasp_jax.evaluation.report import load_report

HEADER = ['who', 'recipe', 'scored by', 'cases', 'NDCG@10', 'HR@10', 'chance HR@10', 'times chance']
Tree = dict[str, Any]


def rows_of(reports: Sequence[Tree]) -> list[list[str]]:
    """The table, header first: for each report its model, and once for each recipe the content baseline.

    Args:
      reports: of runs that set something aside.

    Raises:
      UserError: one has nothing set aside, or was not ranked at 10.
    """
    rows, baselines = [HEADER], set()
    for report in reports:
        found = report.get('cold_start')
        if not found:
            raise UserError(f'{report["dataset"]}, {report_markdown.model_name(report)}: nothing was set aside; run it '
                            'with evaluate.cold_items=0.1')
        for who in ('items', 'users'):
            part = found.get(who)
            if not part:
                continue
            if 'HR@10' not in part['chance']:
                raise UserError(f'{report["dataset"]}: was not ranked at 10; use evaluate.ks with 10')
            rows.append(_row(who, report, name_of(report), part, part['model']))
            content = (who, report['recipe'], part['cases'])
            if part['content'] and content not in baselines:
                baselines.add(content)
                rows.append(_row(who, report, 'content baseline', part, part['content']))
    return [rows[0], *sorted(rows[1:], key=lambda row: (row[0], row[1]))]


def name_of(report: Tree) -> str:
    """The model, and what its gate is."""
    gate = f', gate {report["gate"]}' if report['gate'] else ''
    return f'{report_markdown.model_name(report)}{gate}'


def _row(who: str, report: Tree, name: str, part: Tree, values: Tree | None) -> list[str]:
    chance = part['chance']['HR@10']
    found = [None if values is None else values[f'{metric}@10'] for metric in ('NDCG', 'HR')]
    times = '-' if found[1] is None else f'{found[1] / chance:.1f}'
    return [who, report['recipe'], name, f'{part["cases"]:,.0f}',
            *map(report_markdown.percent, (*found, chance)), times]


def picture(rows: Sequence[Sequence[str]], path: pathlib.Path) -> None:
    """HR@10 of every row, a panel for cold items and one for cold users.

    Args:
      rows: as `rows_of` gives them.
      path: the PNG to write.
    """
    parts = {who: [row for row in rows[1:] if row[0] == who] for who in ('items', 'users')}
    shown = {who: some for who, some in parts.items() if some}
    longest = max(map(len, shown.values()))
    figure, panels = figure_of(len(shown), 'Cold start: HR@10 among all items', 'items by their texts alone, users by '
                               'the history in a request; the line is chance', (6.6 * len(shown), 1.8 + 0.4 * longest))
    for axes, (who, some) in zip(panels, shown.items(), strict=True):
        places = list(reversed(range(len(some))))
        axes.barh(places, [0.0 if row[5] == '-' else float(row[5]) for row in some], height=0.66,
                  color=[GREY if 'baseline' in row[2] else BLUE for row in some])
        axes.axvline(float(some[0][6]), color='black', linewidth=1.0)
        panel_of(axes, f'cold {who}', '%', '')
        axes.set_yticks(places, [f'{row[2]} ({row[1]})' for row in some])
    save(figure, path)


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table and writes what --out names; returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path, help='work folders of finished runs')
    parser.add_argument('--out', type=pathlib.Path, help='stem of the files to write, as docs/tables/cold_start')
    try:
        given = parser.parse_args(arguments)
        rows = rows_of([load_report(workdir) for workdir in given.workdirs])
        if given.out:
            artefacts.write_text(given.out.with_suffix('.md'), report_markdown.markdown(rows, 3) + '\n')
            with artefacts.replacing(given.out.with_suffix('.csv')) as partial, partial.open('w', newline='') as file:
                csv.writer(file, lineterminator='\n').writerows(rows)
            picture(rows, given.out.with_suffix('.png'))
    except (UserError, OSError) as error:
        print(f'error: {as_flags(error)}', file=sys.stderr)
        return 2
    print(report_markdown.aligned(rows, 3))
    return 0


if __name__ == '__main__':
    with for_a_reader():
        sys.exit(main())

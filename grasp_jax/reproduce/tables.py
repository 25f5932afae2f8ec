"""Tables 2 to 4: the paper's figure, ours with its spread over seeds, the difference, and a paired mark."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Sequence
from typing import Any

from grasp_jax.evaluation import significance
from grasp_jax.evaluation.metrics import load_ranks
from grasp_jax.evaluation.tables import markdown
from grasp_jax.reproduce.grid import Cell
from grasp_jax.reproduce.published import Row

Tree = dict[str, Any]
PROTOCOLS = ('sampled', 'full')
OVERALL = tuple(f'{metric}@{k}' for metric in ('N', 'H') for k in (1, 3, 5, 10, 20))
GROUPS = tuple(f'{group}:{metric}@{k}' for group in ('tail_user', 'tail_item', 'head_user', 'head_item')
               for k in (5, 10) for metric in ('N', 'H'))
LEGEND = """Percent, mean ± standard deviation over seeds. Under the sampled protocol the second line of a cell is the
paper's figure and our difference to it; in brackets where the paper contradicts itself."""
MARKS = """* and ** mark NDCG@10 over all users that differs from the best method that is not a form of GRASP on the
same backbone, p below 0.05 and 0.01 in a Wilcoxon signed-rank test over users, each one's NDCG averaged over the seeds;
the arrow says which way."""


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a finished table.

    Attributes:
      cell: what was run.
      report: its report.
      published: the paper's row, None where it has none.
      against: comparison with the best other method per protocol, where there is one.
    """

    cell: Cell
    report: Tree
    published: Row | None
    against: dict[str, dict[str, float]]


def lines(cells: Sequence[Cell], found: dict[str, Tree], published: dict[tuple[str, ...], Row],
          folder: pathlib.Path) -> list[Line]:
    """Rows of all cells that are done, compared within their groups."""
    result = []
    for cell in cells:
        if cell.name not in found:
            continue
        against: dict[str, dict[str, float]] = {}
        for protocol in PROTOCOLS:
            rivals = [other for other in cells if other.group == cell.group and not other.ours and other.name in found]
            if cell.ours and rivals:
                best = max(rivals, key=lambda other: value(found[other.name], protocol, 'N@10')[0])
                against[protocol] = significance.compare(
                    _scores(cell, found, protocol, folder), _scores(best, found, protocol, folder), seed=0)
        result.append(Line(cell, found[cell.name], published.get(cell.published or ()), against))
    return result


def value(report: Tree, protocol: str, column: str) -> tuple[float, float | None]:
    """Mean and standard deviation over seeds of a column, as 'N@10' or 'tail_item:H@5', in percent."""
    group, _, name = column.rpartition(':')
    name = name.replace('N@', 'NDCG@').replace('H@', 'HR@')

    def of(test: Tree) -> Any:
        if not group:
            return test[protocol][name]
        return test['groups' if protocol == 'sampled' else 'groups_full'][group][name]

    spread = of(report['std']['test']) if 'std' in report else None
    return 100 * of(report['test']), None if spread is None else 100 * spread


def as_markdown(rows: Sequence[Line], protocol: str, columns: Sequence[str]) -> str:
    """The table of one protocol."""
    header = ['backbone', 'method', 'seeds', *(column.replace('_', ' ').replace(':', ' ') for column in columns)]
    body = [[line.cell.group, line.cell.label, str(len(line.report['seeds'])),
             *(_cell(line, protocol, column) for column in columns)] for line in rows]
    return markdown([header, *body], 2)


def as_csv(rows: Sequence[Line], columns: Sequence[str]) -> str:
    """One line for each row, protocol and column."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('backbone', 'method', 'protocol', 'metric', 'ours', 'std', 'seeds', 'paper', 'difference', 'p',
                     'note'))
    for line in rows:
        for protocol in PROTOCOLS:
            for column in columns:
                mean, spread = value(line.report, protocol, column)
                paper = _paper(line, protocol, column)
                p_value = line.against.get(protocol, {}).get('p_value') if column == 'N@10' else None
                writer.writerow((
                    line.cell.group, line.cell.label, protocol, column, f'{mean:.4f}', _or_empty(spread),
                    len(line.report['seeds']), _or_empty(paper, '.2f'),
                    _or_empty(None if paper is None else mean - paper), _or_empty(p_value, '.2e'),
                    line.published.note if line.published and protocol == 'sampled' else ''))
    return text.getvalue()


def _cell(line: Line, protocol: str, column: str) -> str:
    mean, spread = value(line.report, protocol, column)
    text = f'{mean:.2f}' + ('' if spread is None else f' ± {spread:.2f}')
    if column == 'N@10':
        text += _mark(line.against.get(protocol))
    paper = _paper(line, protocol, column)
    if paper is None:
        return text
    below = f'{paper:.2f}, {mean - paper:+.2f}'
    return f'{text}<br>' + (f'[{below}]' if line.published and line.published.note else below)


def _paper(line: Line, protocol: str, column: str) -> float | None:
    """The paper ranks among sampled candidates only."""
    return line.published.values.get(column) if line.published and protocol == 'sampled' else None


def _mark(found: dict[str, float] | None) -> str:
    if found is None or found['p_value'] >= 0.05:
        return ''
    return (' ↑' if found['difference'] > 0 else ' ↓') + ('**' if found['p_value'] < 0.01 else '*').replace('*', '\\*')


def _or_empty(number: float | None, form: str = '.4f') -> str:
    return '' if number is None else format(number, form)


def _scores(cell: Cell, found: dict[str, Tree], protocol: str, folder: pathlib.Path) -> significance.UserScores:
    runs = [load_ranks(folder / cell.name / run['run_dir']) for run in found[cell.name]['runs']]
    return significance.user_scores(cell.name, runs, protocol, 10)

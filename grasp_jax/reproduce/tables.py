"""Tables 2 to 4: the paper's figure, ours with its spread over seeds, the difference, and a paired mark."""

import csv
import dataclasses
import io
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from grasp_jax.common import artefacts
from grasp_jax.evaluation import significance
from grasp_jax.evaluation.protocol import GROUP_TREES
from grasp_jax.evaluation.report_markdown import BACKBONES, markdown
from grasp_jax.ranking.metrics import PROTOCOLS, seed_ranks
from grasp_jax.reproduce.grid import Cell
from grasp_jax.reproduce.published import Row

Tree = dict[str, Any]
OVERALL = tuple(f'{metric}@{k}' for metric in ('N', 'H') for k in (1, 3, 5, 10, 20))
GROUPS = tuple(f'{group}:{metric}@{k}' for group in ('tail_user', 'tail_item', 'head_user', 'head_item')
               for k in (5, 10) for metric in ('N', 'H'))
LEGEND = 'Percent, mean ± standard deviation over seeds.'
PUBLISHED = """ Under the sampled protocol the second line of a cell is the
paper's figure and our difference to it; in brackets where the paper contradicts itself."""
MARKS = """* and ** mark NDCG@10 over all users that differs from {rival}, p below 0.05 and 0.01 in a Wilcoxon
signed-rank test over users where the bootstrap interval leaves out zero as well and mean and rank sums agree, each
user's NDCG averaged over the seeds that both have; the arrow says which way. It is about the trained models on these
users: two seeds of one method can differ as well."""
RIVAL = 'the best method that is done and not a form of GRASP on the same backbone'


@dataclasses.dataclass(frozen=True)
class Line:
    """A row of a finished table.

    Attributes:
      cell: what was run.
      report: its report.
      published: the paper's row, None where it has none.
      against: comparison with the best of the cells that are not `ours` per protocol, where there is one.
      rivals: what that best one is called, per protocol.
    """

    cell: Cell
    report: Tree
    published: Row | None
    against: dict[str, dict[str, float]]
    rivals: dict[str, str]


def lines(cells: Sequence[Cell], found: dict[str, Tree], published: dict[tuple[str, ...], Row],
          folder: pathlib.Path) -> list[Line]:
    """Rows of all cells that are done, compared within their groups."""
    result = []
    for cell in cells:
        if cell.name not in found:
            continue
        against: dict[str, dict[str, float]] = {}
        names: dict[str, str] = {}
        for protocol in PROTOCOLS:
            rivals = [other for other in cells if other.group == cell.group and not other.ours and other.name in found]
            if cell.ours and rivals:
                best = max(rivals, key=lambda other: value(found[other.name], protocol, 'N@10')[0])
                names[protocol] = best.label
                cell_ranks, best_ranks = (seed_ranks(folder / each.name, found[each.name]) for each in (cell, best))
                against[protocol] = significance.compare_runs(cell.name, cell_ranks, best.name, best_ranks, protocol,
                                                              k=10, seed=0)
        result.append(Line(cell, found[cell.name], published.get(cell.published or ()), against, names))
    return result


def value(report: Tree, protocol: str, column: str) -> tuple[float, float | None]:
    """Mean and standard deviation over seeds of a column, as 'N@10' or 'tail_item:H@5', in percent; NaN where no user
    is in the group."""
    group, _, name = column.rpartition(':')
    name = name.replace('N@', 'NDCG@').replace('H@', 'HR@')

    def of(test: Tree) -> Any:
        values = test[GROUP_TREES[protocol]][group] if group else test[protocol]
        return values.get(name)

    mean, spread = of(report['test']), of(report['std']['test']) if 'std' in report else None
    return math.nan if mean is None else 100 * mean, None if spread is None else 100 * spread


def as_markdown(rows: Sequence[Line], protocol: str, columns: Sequence[str]) -> str:
    """The table of one protocol."""
    header = ['backbone', 'method', 'seeds', *(column.replace('_', ' ').replace(':', ' ') for column in columns)]
    body = [[line.cell.group, line.cell.label, str(len(line.report['seeds'])),
             *(_cell(line, protocol, column) for column in columns)] for line in rows]
    return markdown([header, *body], 2)


def _group(cell: Cell) -> dict[str, str | int]:
    return {'group': '' if cell.group == BACKBONES[cell.settings['model.backbone']] else cell.group}


def as_csv(rows: Sequence[Line], columns: Sequence[str],
           under: Callable[[Cell], dict[str, str | int]] = _group) -> str:
    """One line for each row, protocol and column; `gain_points` over the row that it is compared with, on the seeds
    that both have, in points of percent as the figures are.

    Args:
      rows: at least one.
      columns: as in `value`.
      under: names and values of what a row stands under besides its backbone.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerow(('backbone', *under(rows[0].cell), 'method', 'protocol', 'metric', 'ours', 'std', 'seeds', 'paper',
                     'difference', 'against', 'gain_points', 'p', 'note'))
    for line in rows:
        start = BACKBONES[line.cell.settings['model.backbone']], *under(line.cell).values(), line.cell.label
        for protocol in PROTOCOLS:
            for column in columns:
                mean, spread = value(line.report, protocol, column)
                paper = _paper(line, protocol, column)
                against = line.against.get(protocol, {}) if column == 'N@10' else {}
                gain = 100 * against['difference'] if against else None
                writer.writerow((
                    *start, protocol, column, _or_empty(mean), _or_empty(spread),
                    len(line.report['seeds']), _or_empty(paper, '.2f'),
                    _or_empty(None if paper is None else mean - paper), line.rivals[protocol] if against else '',
                    _or_empty(gain), _or_empty(against.get('p_value'), '.2e'),
                    line.published.note if line.published and protocol == 'sampled' else ''))
    return text.getvalue()


def losses(rows: Sequence[Line], folder: pathlib.Path) -> str:
    """A sentence on which rows were trained with which loss; nothing where it is one and the same."""
    found: dict[str, list[str]] = {}
    for line in rows:
        manifest = folder / line.cell.name / line.report['runs'][0]['run_dir'] / artefacts.MANIFEST
        if manifest.exists():
            labels = found.setdefault(artefacts.read_json(manifest)['config']['train']['loss'], [])
            labels += [line.cell.label] if line.cell.label not in labels else []
    if len(found) < 2:
        return ''
    return 'Losses: ' + '; '.join(f'{loss} for {", ".join(labels)}' for loss, labels in found.items()) + '.'


def _cell(line: Line, protocol: str, column: str) -> str:
    mean, spread = value(line.report, protocol, column)
    text = number(mean) + ('' if spread is None else f' ± {spread:.2f}')
    if column == 'N@10':
        text += _mark(line.against.get(protocol))
    paper = _paper(line, protocol, column)
    if paper is None:
        return text
    below = f'{paper:.2f}, {number(mean - paper, "+.2f")}'
    return f'{text}<br>' + (f'[{below}]' if line.published and line.published.note else below)


def _paper(line: Line, protocol: str, column: str) -> float | None:
    """The paper ranks among sampled candidates only."""
    return line.published.values.get(column) if line.published and protocol == 'sampled' else None


def _mark(found: dict[str, float] | None) -> str:
    stars = significance.mark(found) if found else ''
    return (' ↑' if found['difference'] > 0 else ' ↓') + stars.replace('*', '\\*') if found and stars else ''


def number(value: float, form: str = '.2f') -> str:
    """A number in a table, a dash where there is none."""
    return '-' if math.isnan(value) else format(value, form)


def _or_empty(value: float | None, form: str = '.4f') -> str:
    return '' if value is None or math.isnan(value) else format(value, form)

"""Values beyond accuracy as rows of a table: in the report by k, in a comparison run by run."""

from collections.abc import Sequence
from typing import Any

from grasp_jax.evaluation.beyond_accuracy import OF_ALL, OF_GROUPS

Tree = dict[str, Any]
Rows = list[list[str]]

NOTE = """Of the best k items of each user under full ranking. A popularity is a number of training interactions.
Coverage is the share of the catalogue that is listed at all. Gini is 0 where all items are listed alike and near 1
where a few take all. Novelty is the mean of -log2 of the share of users who have an item. Diversity is 1 less the
mean cosine of a list's pairs by their text vectors. The lift says how far lists are more popular than their users'
histories, the deviation how far their shares of popular, middle and rare items are apart; 0 is calibrated."""
_NAMES = {'Coverage': 'catalogue coverage, %', 'Gini': 'Gini', 'Popularity': 'mean popularity',
          'Novelty': 'novelty, bits', 'Diversity': 'intra-list diversity', 'PopularityLift': 'popularity lift, %',
          'PopularityDeviation': 'popularity deviation'}
_SHORT = {'Coverage': '% coverage', 'Gini': 'Gini', 'Popularity': 'popularity', 'Novelty': 'novelty',
          'Diversity': 'diversity', 'PopularityLift': '% lift', 'PopularityDeviation': 'deviation'}
_GROUPS = {'tail_user': 'tail users', 'head_user': 'head users'}
_FORMATS = {'Coverage': (100, '.2f'), 'Gini': (1, '.3f'), 'Popularity': (1, '.1f'), 'Novelty': (1, '.2f'),
            'Diversity': (1, '.3f'), 'PopularityLift': (100, '+.1f'), 'PopularityDeviation': (1, '.3f')}


def report_rows(report: Tree, ks: Sequence[int]) -> Rows:
    """A row for each value, a column for each k, header first; none where the report has no lists."""
    found = report['test'].get('beyond_accuracy')  # older reports do not have it
    if not found:
        return []
    deviation = (report.get('std') or {}).get('test', {}).get('beyond_accuracy')
    rows = [['beyond accuracy', 'users', *(f'@{k}' for k in ks)]]
    for name in OF_ALL:
        rows.append([_NAMES[name], 'all', *(_cell(name, k, found, deviation) for k in ks)])
    for name in OF_GROUPS:
        for group, users in _GROUPS.items():
            both = [each and each['groups'][group] for each in (found, deviation)]
            rows.append([_NAMES[name], users, *(_cell(name, k, *both) for k in ks)])
    return rows


def comparison_rows(names: Sequence[str], reports: Sequence[Tree], k: int) -> Rows:
    """A row for each run at one k, header first; none where no report has lists.

    Args:
      names: of the runs.
      reports: of the runs.
      k: a cut-off that all of them have.
    """
    if not any(report['test'].get('beyond_accuracy') for report in reports):
        return []
    columns = [['run', *names]]
    values = [report['test'].get('beyond_accuracy') or {'groups': {}} for report in reports]
    for name in OF_ALL:
        columns.append([f'{_SHORT[name]}@{k}', *(_cell(name, k, found) for found in values)])
    for name in OF_GROUPS:
        for group, users in _GROUPS.items():
            columns.append([f'{_SHORT[name]}@{k} {users}',
                            *(_cell(name, k, found['groups'].get(group, {})) for found in values)])
    return [list(row) for row in zip(*(each for each in columns if set(each[1:]) != {'-'}), strict=True)]


def _cell(name: str, k: int, found: Tree, deviation: Tree | None = None) -> str:
    value = found.get(f'{name}@{k}')
    if value is None:
        return '-'
    scale, form = _FORMATS[name]
    spread = None if deviation is None else deviation.get(f'{name}@{k}')
    return f'{scale * value:{form}}' + (f' ± {scale * spread:{form.lstrip("+")}}' if spread is not None else '')

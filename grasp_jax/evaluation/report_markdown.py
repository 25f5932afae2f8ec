"""A report as text: report.md and the end of each run on the terminal."""

from collections.abc import Sequence
from typing import Any

from grasp_jax.data import facts as data_facts
from grasp_jax.evaluation import against_baselines, examples
from grasp_jax.evaluation.beyond_accuracy_table import NOTE, report_rows
from grasp_jax.evaluation.protocol import GROUP_TREES, in_order
from grasp_jax.models import methods
from grasp_jax.retrieval import wrong_texts

Tree = dict[str, Any]
Rows = list[list[str]]

GROUP_NAMES = {'tail_user': 'tail users', 'head_user': 'head users', 'tail_item': 'tail items',
               'head_item': 'head items'}
# Shown where they have at least this share of the users.
_MORE_GROUPS, _SHOWN_FROM = {'new_target': 'new items', 'repeat': 'repeats'}, 0.01
_MEANING = {'new_target': 'new items are test items that no training interaction has',
            'repeat': 'repeats are test items that their user had before'}
BACKBONES = {'sasrec': 'SASRec', 'gru4rec': 'GRU4Rec', 'bert4rec': 'BERT4Rec'}


def cut_offs(report: Tree) -> list[int]:
    """The cut-offs k of a report, ascending."""
    return sorted(int(name[5:]) for name in report['test']['sampled'] if name.startswith('NDCG@'))


def headline_k(report: Tree) -> int:
    """The cut-off that groups and comparisons are shown at: 10, or the largest one where 10 is not reported."""
    found = shared_k([report])
    assert found is not None, 'a config has at least one'
    return found


def shared_k(reports: Sequence[Tree]) -> int | None:
    """The cut-off that several reports are compared at: 10, or the largest one that all of them have; None where they
    have none in common."""
    ks = set.intersection(*(set(cut_offs(report)) for report in reports))
    return 10 if 10 in ks else max(ks, default=None)


def model_name(report: Tree) -> str:
    """For example `SASRec + GRASP`."""
    backbone = BACKBONES.get(report['backbone'], report['backbone'])
    return f'{backbone}{", " if methods.is_plain(report["method"]) else " + "}{methods.label(report["method"])}'


def variant(report: Tree) -> tuple[str, ...]:
    """The settings that tell runs of one method apart; empty for the plain backbone."""
    return tuple(report[key] for key in ('encoder', 'gate', 'space', 'user_context') if report.get(key))


def settings(report: Tree) -> str:
    """Recipe, gate and seeds in one line."""
    parts = [f'recipe {report["recipe"]}']
    if report.get('start_from'):  # older ones do not say
        parts.append(f'goes on from {report["start_from"]}')
    if report['encoder']:
        parts.append(f'vectors: {report["vectors_from"]}' if report.get('vectors_from') else
                     f'vectors {report["encoder"]}')  # older ones do not say more
    if report['gate']:
        parts.append(f'gate {report["gate"]} in the {report["space"]} space, '
                     f'user context {report["user_context"]}')
    parts.append(f'seed{"s" * (len(report["seeds"]) > 1)} {", ".join(map(str, report["seeds"]))}')
    return '; '.join(parts)


def group_names(report: Tree) -> dict[str, str]:
    """The groups that the report shows, and what they are called."""
    counts = report['counts']
    least = max(_SHOWN_FROM * counts['users'], 1)
    return GROUP_NAMES | {group: name for group, name in _MORE_GROUPS.items() if counts.get(group, 0) >= least}


def aligned(rows: Rows, left: int = 1) -> str:
    """Plain text with aligned columns.

    Args:
      rows: cells, the header first.
      left: columns at the start that are aligned to the left; numbers follow.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join(cell.ljust(width) if i < left else cell.rjust(width)
                       for i, (cell, width) in enumerate(zip(row, widths, strict=True))).rstrip() for row in rows]
    return '\n'.join([lines[0], '-' * (sum(widths) + 2 * (len(widths) - 1)), *lines[1:]])


def markdown(rows: Rows, left: int = 1) -> str:
    """A Markdown table of the same rows."""
    marks = ['---' if i < left else '---:' for i in range(len(rows[0]))]
    return '\n'.join('| ' + ' | '.join(row) + ' |' for row in [rows[0], marks, *rows[1:]])


def render_terminal(report: Tree) -> str:
    """A compact report for the terminal; every number stands under or beside the protocol that made it."""
    data, protocol = report['data'], report['protocol']
    return '\n'.join([
        *_first_line(report), f'{report["dataset"]}: {model_name(report)} ({settings(report)})',
        f'{data["users"]:,} users, {data["items"]:,} items, {data["interactions"]:,} interactions; '
        f'{data["evaluated_users"]:,} users evaluated',
        '', aligned(_overall(report), 2), _mrr(report), '',
        *([aligned(rows), ''] if (rows := against_baselines.rows(report)) else []), aligned(_groups(report)), '',
        *([aligned(rows, 2), ''] if (rows := report_rows(report, cut_offs(report))) else []),
        *([aligned(rows, 2), ''] if (rows := cold_rows(report)) else []),
        *(f'{which}: {protocol[which]}' for which in in_order(report)),
        f'{protocol["groups"]}{_from(report)}', *_warning(report),
        f'best epoch {_number(report["validation"]["epoch"])}, validation NDCG@10 '
        f'{_percent(report, "validation", "NDCG@10")}% ({protocol["select_by"]}); '
        f'training took {duration(report["training"]["seconds"])}'])


def render_markdown(report: Tree) -> str:
    """report.md: tables, pictures, and how the numbers were made."""
    protocol = report['protocol']
    data = report['data']
    several = f', mean ± standard deviation of {len(report["seeds"])} seeds' if 'std' in report else ''
    facts = [['users', 'items', 'interactions', 'mean length', 'density', 'evaluated users'],
             [f'{data["users"]:,}', f'{data["items"]:,}', f'{data["interactions"]:,}', f'{data["mean_length"]:.2f}',
              f'{data["density"]:.4%}', f'{data["evaluated_users"]:,}']]
    parts = [
        *(f'{line}.' for line in _first_line(report)),
        f'# {report["dataset"]}: {model_name(report)}', settings(report)[:1].upper() + settings(report)[1:] + '.',
        '## Test', f'Percent{several}.', markdown(_overall(report), 2),
        f'{_mrr(report)}.', *_warning(report),
        '![NDCG and hit rate by k, both protocols](plots/metric_by_k.png)',
        *(['## Baselines', 'Percent, on the same users, test items and candidates; they count training interactions '
           'and have nothing to tune.', markdown(rows), '![Baselines and this model](plots/baselines.png)']
          if (rows := against_baselines.rows(report)) else []),
        *(['## Ten lists', 'Lists of some users under full ranking; the held-out item is bold where it is shown.',
           markdown(rows, 4)] if (rows := examples.rows(report)) else []),
        '## Head and tail', f'Percent{several}. {_sentence(protocol["groups"])[:-1]}{_from(report)}.',
        markdown(_groups(report)), '![Head and tail groups, both protocols](plots/groups.png)',
        *(['## Beyond accuracy', ' '.join(NOTE.split()), markdown(rows, 2)]
          if (rows := report_rows(report, cut_offs(report))) else []),
        *(['## Cold start', 'Percent, full ranking. Cold items and users were no part of training; items come in by '
           'their texts alone, users by the history in a request.', markdown(rows, 2)]
          if (rows := cold_rows(report)) else []),
        '## Training', f'Best epoch {_number(report["validation"]["epoch"])}: validation NDCG@10 '
        f'{_percent(report, "validation", "NDCG@10")}%, HR@10 {_percent(report, "validation", "HR@10")}% '
        f'({protocol["select_by"]}). {report["training"]["epochs"]} epochs took '
        f'{duration(report["training"]["seconds"])}.',
        '![Loss and validation NDCG@10 by epoch](plots/training_curve.png)',
        '## Data', markdown(facts, 0), *_left_out(report['stages']),
        *data_facts.sentences(report['stages'].get('prepare', {})), *_texts(report['stages']),
        *(['## Warnings', '\n'.join(f'- {warning}' for warning in found)]  # older reports have none
          if (found := report.get('warnings')) else []),
        '## How the numbers were made',
        '\n'.join(f'- **{key}**: {protocol[key]}.'
                  for key in ('split', *in_order(report), 'full_unmasked', 'ties', 'selection') if key in protocol)]
    if report['command']:
        parts += ['Command:', f'```\n{report["command"]}\n```']
    parts += ['## Stages', _stages(report['stages']),
              'Versions: ' + ', '.join(f'{name} {version}' for name, version in report['versions'].items()) + '.']
    return '\n\n'.join(parts) + '\n'


def _first_line(report: Tree) -> list[str]:
    return [line] if (line := against_baselines.first_line(report)) else []


def _warning(report: Tree) -> list[str]:
    found = (report['protocol'].get('warning'), _unranked(report), report.get('mixed'), unfinished(report))
    return [f'Beware: {warning}.' for warning in found if warning]


def _unranked(report: Tree) -> str:
    """How many users no mean counts, as nothing stands against their test item; empty where there are none."""
    counts = report['counts']
    found = [(counts.get(key, 0), which) for key, which in (  # older reports do not say
        ('without_negatives', 'sampled'), ('without_candidates', 'full')) if counts.get(key)]
    if not found:
        return ''
    some = (f'{found[0][0]:,}' if len({count for count, _ in found}) == 1 else
            ' and '.join(f'{count:,} ({which})' for count, which in found))
    return (f'{some} of {counts["users"]:,} users have every item, so that nothing stands against their test item: '
            f'they are left out of the means ({" and ".join(which for _, which in found)})')


def unfinished(report: Tree) -> str:
    """Which seeds were stopped while they still got better, with the remedy; empty where none was."""
    seeds = report.get('unfinished')  # older reports do not say
    if not seeds:
        return ''
    whose = 'training' if len(report['seeds']) == 1 else f'training of seed{"s" * (len(seeds) > 1)} ' + ', '.join(
        map(str, seeds))
    return (f'{whose} is not finished: the best epoch is among the last three; raise --config.train.max_epochs, and '
            'the same command goes on from there')


def _left_out(stages: dict[str, Tree]) -> list[str]:
    found = data_facts.left_out(stages.get('prepare', {}))
    return [f'Left out of the source: {found}.'] if found else []


def _texts(stages: dict[str, Tree]) -> list[str]:
    facts = stages.get('retrieve', {}).get('texts')
    return [wrong_texts.sentence(facts)] if facts else []


def duration(seconds: float) -> str:
    """Seconds as a person says them: `48 s`, `12 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f'{whole} s'
    return f'{whole // 60} min {whole % 60} s' if whole < 3600 else f'{whole // 3600} h {whole % 3600 // 60} min'


def percent(value: float | None, std: float | None = None) -> str:
    """A fraction as percent with two decimals, with its deviation where there is one; a dash for an empty group."""
    if value is None:
        return '-'
    return f'{100 * value:.2f}' if std is None else f'{100 * value:.2f} ± {100 * std:.2f}'


def _percent(report: Tree, *keys: str) -> str:
    value, std = report, report.get('std')
    for key in keys:
        value, std = value[key], std[key] if std else None
    return percent(value, std)  # type: ignore[arg-type]


def _overall(report: Tree) -> Rows:
    """NDCG and HR by k, one row per metric and protocol."""
    ks = cut_offs(report)
    rows = [['test, %', 'protocol', *(f'@{k}' for k in ks)]]
    for metric in ('NDCG', 'HR'):
        for protocol, name in _protocols(report).items():
            rows.append([metric, name, *(_percent(report, 'test', protocol, f'{metric}@{k}') for k in ks)])
    if f'Recall@{ks[0]}' in report['test']['full']:  # with evaluate.targets=all
        rows.append(['Recall', 'full', *(_percent(report, 'test', 'full', f'Recall@{k}') for k in ks)])
    return rows


def _protocols(report: Tree) -> dict[str, str]:
    """Protocols of the test that the report knows, and what they are called."""
    unmasked = {'full_unmasked': 'full, seen items too'} if report['test'].get('full_unmasked') else {}
    return {**{which: which for which in in_order(report)}, **unmasked}  # older reports do not have it


def cold_rows(report: Tree) -> Rows:
    """What was set aside from training: one row for the model, the content baseline and chance; none where nothing
    was."""
    found, k = report.get('cold_start') or {}, headline_k(report)
    rows = [['cold start, %', 'scored by', 'cases', f'NDCG@{k} full', f'HR@{k} full']]
    for who in ('items', 'users'):
        for name in ('model', 'content', 'chance') if found.get(who) else ():
            values = found[who][name] or {}
            rows.append([who, name, f'{found[who]["cases"]:,.0f}',
                         *(percent(values.get(f'{metric}@{k}')) for metric in ('NDCG', 'HR'))])
    return rows if len(rows) > 1 else []


def _mrr(report: Tree) -> str:
    """MRR has no k, so it stands below the table."""
    return 'MRR ' + ', '.join(f'{_percent(report, "test", protocol, "MRR")} ({name})'
                              for protocol, name in _protocols(report).items())


def _groups(report: Tree) -> Rows:
    k = headline_k(report)
    columns = [(GROUP_TREES[which], which, metric) for which in in_order(report) for metric in ('NDCG', 'HR')]
    rows = [['group, %', 'users', *(f'{metric}@{k} {protocol}' for _, protocol, metric in columns)]]
    rows.append(['all', f'{report["counts"]["users"]:,}',
                 *(_percent(report, 'test', protocol, f'{metric}@{k}') for _, protocol, metric in columns)])
    for group, name in group_names(report).items():
        rows.append([name, f'{report["counts"][group]:,}',
                     *(_percent(report, 'test', tree, group, f'{metric}@{k}') for tree, _, metric in columns)])
    return rows


def _from(report: Tree) -> str:
    found = report['thresholds']
    more = ''.join(f'; {_MEANING[group]}' for group in group_names(report) if group in _MEANING)
    return f' (here: users from {found["head_user"]}, items from {found["head_item"]} training interactions on){more}'


def _number(value: float) -> str:
    return f'{value:.1f}'.removesuffix('.0')


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + '.'


def _stages(stages: dict[str, Tree]) -> str:
    """Scalar facts of each stage on a line; long values are left to report.json."""
    def shown(facts: Tree) -> str:
        scalars = {key: value for key, value in facts.items()
                   if isinstance(value, (str, int, float, bool)) and len(str(value)) <= 80}
        return ', '.join(f'{key} {value:.4g}' if isinstance(value, float) else f'{key} {value}'
                         for key, value in scalars.items())

    return '\n'.join(f'- **{name}**: {shown(facts)}' for name, facts in stages.items())

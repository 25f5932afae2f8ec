"""Writes a table or a figure from the runs that are done: Markdown, CSV and a picture."""

import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation.report_markdown import BACKBONES
from grasp_jax.models.spec import model_spec
from grasp_jax.ranking.metrics import PROTOCOLS
from grasp_jax.reproduce import case_study, plots, published, robustness, runs, tables
from grasp_jax.reproduce.grid import Cell, wrong_texts

_TITLES = {'table2': 'Table 2: all users', 'table3': 'Table 3: tail and head',
           'table4': 'Table 4: parts of the attention', 'figure4': 'Figure 4: neighbours and width',
           'leak': 'The leak inside training'}
_RIVALS = {'table4': 'the row without attention'}
_FIGURE_COLUMNS = ('N@10', 'H@10')
_LEFT = ('`left` is the share of NDCG@10 with clean texts. A method that does not read the texts that are wrong has '
         'its clean run at every share; one that reads items\' texts alone has the run on wrong items where both are '
         'wrong.')


def write(what: str, cells: Sequence[Cell], seeds: Sequence[int], changes: dict[str, Any], folder: pathlib.Path,
          target: pathlib.Path) -> pathlib.Path:
    """Writes `target`.md, .csv and .png.

    Args:
      what: 'table2', 'table3', 'table4', 'figure4' or 'leak'.
      cells: its grid.
      seeds: of the runs that it is about.
      changes: what their settings have that the recipe has not, by dotted names.
      folder: of the runs.
      target: path without its ending.

    Returns:
      the Markdown file.

    Raises:
      UserError: no run is done.
    """
    known = published.table(int(what[-1])) if what.startswith('table') else {}
    rows = _rows(what, cells, known, seeds, folder)
    columns = {'table3': tables.GROUPS, 'figure4': _FIGURE_COLUMNS}.get(what, tables.OVERALL)
    title = f'{_TITLES[what]}, {rows[0].report["dataset"]}, recipe {rows[0].report["recipe"]}'
    parts = [f'## {title}', _state(rows, cells, changes)]
    for protocol in PROTOCOLS:
        parts += [f'### {protocol.capitalize()} protocol', tables.as_markdown(rows, protocol, columns)]
    target.parent.mkdir(parents=True, exist_ok=True)
    if what == 'figure4':
        plots.curve(rows, title, target.with_suffix('.png'))
    elif what == 'leak':
        plots.learning(rows, folder, title, target.with_suffix('.png'))
    else:
        plots.bars(rows, 'N@10' if what != 'table3' else 'tail_item:N@10', title, target.with_suffix('.png'))
    artefacts.write_text(target.with_suffix('.csv'), tables.as_csv(rows, columns))
    marks = tables.MARKS.format(rival=_RIVALS.get(what, tables.RIVAL))
    published_too = tables.PUBLISHED if any(row.published for row in rows) else ''
    legend = [tables.LEGEND + published_too, tables.losses(rows, folder),
              marks if 'N@10' in columns and any(row.against for row in rows) else '',
              published.OTHER_CUTS.get(rows[0].report['dataset'], '') if known else '']
    text = '\n\n'.join([*parts, f'![{title}]({target.name}.png)', *filter(None, legend)]) + '\n'
    artefacts.write_text(target.with_suffix('.md'), text)
    return target.with_suffix('.md')


def write_case_study(cells: Sequence[Cell], base: ml_collections.ConfigDict, recipe: str, seeds: Sequence[int],
                     changes: dict[str, Any], folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Writes Figure 3: `target`.md, .csv and .png; arguments as in `write_robustness`.

    Raises:
      UserError: no run is done.
    """
    reports = runs.reports(cells, seeds, folder)
    done = [cell for cell in cells if cell.name in reports]
    if not any('encode.corrupt.target' in cell.settings for cell in done):  # else it is not said whose text is wrong
        raise _nothing('figure3', seeds, folder)
    configs = [runs.config_of(cell, base, recipe, reports[cell.name]['seeds'], changes) for cell in done]
    found, wrong = case_study.matching_scores(done, configs, folder)
    title = f'Figure 3: few purchases and a wrong text, {base.data.name}, {_backbone(done[0])}, recipe {recipe}'
    return case_study.write(found, wrong, title, _changed(changes), target)


def write_robustness(cells: Sequence[Cell], base: ml_collections.ConfigDict, recipe: str, seeds: Sequence[int],
                     changes: dict[str, Any], folder: pathlib.Path, target: pathlib.Path) -> pathlib.Path:
    """Writes the hallucination curve: `target`.md and .csv, and a picture for each protocol.

    Args:
      cells: its grid.
      base, recipe, seeds, changes: as in `runs.config_of`; the gates of a run's first seed are looked at.
      folder: of the runs.
      target: path without its ending.

    Returns:
      the Markdown file.

    Raises:
      UserError: no run is done.
    """
    # Not by a clean run or by one on wrong items that stands in for one on both.
    begun = {cell.wrong for cell in cells if cell.wrong == wrong_texts(cell)[0] and runs.is_done(folder / cell.name)}
    if not begun:
        raise UserError(f'{folder}: no run on wrong texts is done; leave out --norun, and --methods unless it names '
                        'one that reads the texts in question')
    cells = [cell for cell in cells if wrong_texts(cell)[0] in begun]
    rows = _rows('the hallucination curve', cells, {}, seeds, folder)
    title = f'Hallucination curve, {rows[0].report["dataset"]}, {_backbone(rows[0].cell)}, recipe {recipe}'
    parts = [f'## {title}', f'{_state(rows, cells, changes)} {_LEFT}']
    target.parent.mkdir(parents=True, exist_ok=True)
    for protocol in PROTOCOLS:
        picture = target.with_name(f'{target.name}_{protocol}.png')
        robustness.plot(rows, protocol, title, picture)
        parts += [f'### {protocol.capitalize()} protocol', f'![{title}, {protocol} protocol]({picture.name})',
                  robustness.as_markdown(rows, protocol)]
    gates, trust = [], []
    for line in rows:
        if line.cell.ours and 'encode.corrupt.target' in line.cell.settings:  # else it is not said whose text is wrong
            config = runs.config_of(line.cell, base, recipe, line.report['seeds'], changes)
            stages = runs.stages_of(config, folder)
            if model_spec(config, num_items=1).gated:
                gates.append((line.cell, robustness.measure_gates(config, folder / line.cell.name, stages)))
            elif found := robustness.measure_trust(config, folder / line.cell.name, stages):
                trust.append((line.cell, found))
    if gates:
        parts += ['### Gates where a text is wrong and where it is right', robustness.gates_as_markdown(gates)]
    if trust:
        parts += ['### How well trust finds wrong texts of items', robustness.trust_as_markdown(trust)]
    artefacts.write_text(target.with_suffix('.csv'), tables.as_csv(rows, robustness.COLUMNS, robustness.corruption))
    artefacts.write_text(target.with_suffix('.md'), '\n\n'.join(parts) + '\n')
    return target.with_suffix('.md')


def _rows(what: str, cells: Sequence[Cell], known: dict[published.Key, published.Row], seeds: Sequence[int],
          folder: pathlib.Path) -> list[tables.Line]:
    """The rows of the cells that are done; a UserError where none is."""
    found = runs.reports(cells, seeds, folder)
    if not found:
        raise _nothing(what, seeds, folder)
    return tables.lines(cells, found, known, folder)


def _backbone(cell: Cell) -> str:
    return BACKBONES[cell.settings['model.backbone']]


def _state(rows: Sequence[tables.Line], cells: Sequence[Cell], changes: dict[str, Any]) -> str:
    seeds = sorted({seed for row in rows for seed in row.report['seeds']})
    state = (f'{len(rows)} of {len(cells)} rows are done; seeds {", ".join(map(str, seeds))}, the column `seeds` says '
             'how many of them a row has.')
    return ' '.join(filter(None, [state, _changed(changes)]))


def _changed(changes: dict[str, Any]) -> str:
    """A sentence on what is not as the recipe has it, nothing where all is."""
    stated = ', '.join(f'`{name}={value}`' for name, value in changes.items() if name != 'data.source')
    return f'**Not the recipe as it stands:** every run has {stated}.' if stated else ''


def _nothing(what: str, seeds: Sequence[int], folder: pathlib.Path) -> UserError:
    return UserError(f'{folder}: no run of {what} is done (--seeds={",".join(map(str, seeds))}); leave out --norun')

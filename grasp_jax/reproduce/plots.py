"""Pictures of tables and curves."""

import pathlib
from collections.abc import Sequence

import numpy as np

from grasp_jax.evaluation.history import load_history
from grasp_jax.evaluation.plots import BLUE, GREY, ORANGE, SERIES, figure_of, panel_of, save
from grasp_jax.ranking.metrics import PROTOCOLS
from grasp_jax.reproduce.tables import Line, value


def bars(rows: Sequence[Line], column: str, title: str, path: pathlib.Path) -> None:
    """One column of a table under both protocols, ours filled and the paper's as a mark.

    Args:
      rows: the finished rows.
      column: as 'N@10'.
      title: above the picture.
      path: the PNG to write.
    """
    figure, panels = figure_of(2, title, column, (12.0, 1.4 + 0.34 * len(rows)))
    names = [f'{line.cell.group}, {line.cell.label}' for line in rows]
    for axes, protocol in zip(panels, PROTOCOLS, strict=True):
        places = np.arange(len(rows))[::-1]
        found = [value(line.report, protocol, column) for line in rows]
        axes.barh(places, [mean for mean, _ in found], xerr=[spread or 0.0 for _, spread in found], height=0.66,
                  color=[BLUE if line.cell.ours else GREY for line in rows], error_kw={'linewidth': 1.0})
        if protocol == 'sampled':
            known = [(place, line.published.values[column]) for place, line in zip(places, rows, strict=True)
                     if line.published and not line.published.note and column in line.published.values]
            if known:
                axes.plot([paper for _, paper in known], [place for place, _ in known], 'D', color=ORANGE, markersize=5,
                          label='paper')
                figure.legend(loc='upper right', frameon=False)
        panel_of(axes, f'{column}, {protocol} protocol', '%', '')
        axes.set_yticks(places, names if axes is panels[0] else [''] * len(rows))
    save(figure, path)


def learning(rows: Sequence[Line], folder: pathlib.Path, title: str, path: pathlib.Path) -> None:
    """Training loss against NDCG@10, a panel for each group; the first seed of each run: on validation epoch by epoch,
    and of the picked epoch on the test, which is looked at once.

    Args:
      rows: the finished rows.
      folder: of the runs.
      title: above the picture.
      path: the PNG to write.
    """
    groups = list(dict.fromkeys(line.cell.group for line in rows))
    protocol = rows[0].report['protocol']['select_by']
    figure, panels = figure_of(len(groups), title, 'training runs from left to right; lines and points: validation, '
                               'diamonds: test of the picked epoch', (max(12.0, 5.0 * len(groups)), 4.4))
    labels = list(dict.fromkeys(line.cell.label for line in rows))
    for axes, group in zip(panels, groups, strict=True):
        for line in rows:
            if line.cell.group == group:
                first = line.report['runs'][0]
                history = load_history(folder / line.cell.name / first['run_dir'])
                colour = SERIES[labels.index(line.cell.label) % len(SERIES)]
                axes.plot(history.loss, 100 * np.array(history.valid_ndcg10), marker='.', color=colour,
                          label=line.cell.label)
                axes.plot(history.loss[history.best], 100 * first['test'][protocol]['NDCG@10'], 'D', color=colour,
                          markeredgecolor='white', markersize=8)
        axes.invert_xaxis()
        panel_of(axes, group, 'training loss', f'NDCG@10 (%), {protocol} protocol')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='upper right', ncols=2, frameon=False, fontsize=8)
    save(figure, path)


def curve(rows: Sequence[Line], title: str, path: pathlib.Path) -> None:
    """Figure 4: NDCG@10 and HR@10 against the number in each row's label, panels of their own for each protocol, since
    one's figures are a tenth of the other's."""
    parts = {'k': [line for line in rows if line.cell.label.startswith('k')],
             'width': [line for line in rows if line.cell.label.startswith('width')]}
    figure, panels = figure_of(4, title, 'SASRec + GRASP, calibrated gate, prefix', (15.0, 7.0), 2)
    shown = [(protocol, name, column) for protocol in PROTOCOLS for name in parts for column in ('N@10', 'H@10')]
    for axes, (protocol, name, column) in zip(panels, shown, strict=True):
        points = [(line.cell.label.split()[-1], *value(line.report, protocol, column)) for line in parts[name]]
        axes.errorbar([label for label, _, _ in points], [mean for _, mean, _ in points],
                      [spread or 0.0 for _, _, spread in points], color=BLUE, marker='o')
        panel_of(axes, f'{column}, {protocol} protocol', name, '%')
    save(figure, path)

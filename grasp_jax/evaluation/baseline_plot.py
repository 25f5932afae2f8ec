"""The picture of the baselines beside the model."""

import pathlib
from typing import Any

from grasp_jax.evaluation.baselines import NAMES
from grasp_jax.evaluation.plots import BLUE, GREY, INK, figure_of, panel_of, protocol_title, save, subtitle
from grasp_jax.evaluation.protocol import in_order
from grasp_jax.evaluation.report_markdown import model_name


def baseline_bars(report: dict[str, Any], path: pathlib.Path) -> None:
    """NDCG of each baseline and of the model, a panel per protocol; no picture where the report has no baselines.

    Args:
      report: what report.json holds.
      path: the PNG to write.
    """
    found, standing = report['baselines'], report['standing']
    if not found or not standing:
        path.unlink(missing_ok=True)
        return
    metric = f'NDCG@{standing["k"]}'
    names = ['model', *(name for name in reversed(NAMES) if name in found)]
    labels = [model_name(report), *(NAMES[name] for name in names[1:])]
    figure, panels = figure_of(2, f'{model_name(report)} beside baselines', subtitle(report, 'baselines, test'),
                               (9.6, 3.6))
    for place, (axes, protocol) in enumerate(zip(panels, in_order(report), strict=True)):
        values = [100 * found[name][protocol][metric] for name in names]
        axes.barh(range(len(names)), values, 0.68, color=[BLUE, *[GREY] * (len(names) - 1)])
        for row, value in enumerate(values):
            axes.annotate(f'{value:.2f}', (value, row), (4, 0), textcoords='offset points', va='center', fontsize=9,
                          color=INK)
        axes.set_xlim(0, max(*values, 1e-9) * 1.16)
        axes.set_yticks(range(len(names)), labels if place == 0 else [''] * len(names))
        panel_of(axes, protocol_title(report, protocol), f'{metric} (%)', '')
        axes.grid(axis='y', visible=False)
        axes.tick_params(axis='y', labelcolor=INK)
    save(figure, path)

"""Pictures of a report. Matplotlib's object interface throughout: nothing is shared between figures or threads."""

import io
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation.history import History
from grasp_jax.evaluation.protocol import GROUP_TREES, in_order
from grasp_jax.evaluation.report_markdown import (
    BACKBONES,
    cut_offs,
    group_names,
    headline_k,
    model_name,
    shared_k,
    variant,
)
from grasp_jax.models import methods

Tree = dict[str, Any]

INK, MUTED, GRID = '#1f2933', '#66727f', '#e4e8ec'
# Told apart in print and by most colour-blind readers: they differ in lightness as well as hue.
BLUE, ORANGE, TEAL, PLUM, GREY = '#1f5f99', '#e08a2e', '#3d9a8b', '#8a4f7d', '#a9b4be'
SERIES = (BLUE, ORANGE, TEAL, PLUM, GREY)
PALETTE = {'blue': BLUE, 'orange': ORANGE, 'teal': TEAL, 'plum': PLUM, 'grey': GREY}  # of `Method.colour`
TAIL_HEAD = {'all': '#8793a0', 'tail_user': ORANGE, 'head_user': '#f3cd9f', 'tail_item': BLUE, 'head_item': '#a9c6e0',
             'new_target': TEAL, 'repeat': PLUM}


def training_curve(report: Tree, histories: Sequence[History], path: pathlib.Path) -> None:
    """Training loss and validation NDCG@10 by epoch, one line per seed, the best epoch of each marked.

    Args:
      report: what report.json holds.
      histories: one per seed, in the report's order.
      path: the PNG to write.
    """
    protocol = report['protocol']['select_by']
    figure, (left, right) = figure_of(2, model_name(report), subtitle(report, 'training'), (9.6, 4.0))
    for seed, history, colour in zip(report['seeds'], histories, _cycle(len(histories)), strict=True):
        marker = 'o' if len(history.epochs) == 1 else ''
        left.plot(history.epochs, history.loss, color=colour, linewidth=1.8, marker=marker)
        values = 100 * np.array(history.valid_ndcg10)
        epoch, value = history.epochs[history.best], values[history.best]
        right.plot(history.epochs, values, color=colour, linewidth=1.8,
                   label=f'seed {seed}: best {value:.2f} % at epoch {epoch}')
        right.plot(epoch, value, marker='o', markersize=7.5, color=colour, markeredgecolor='white',
                   markeredgewidth=1.2, zorder=5)
        left.axvline(epoch, color=colour, linewidth=0.9, linestyle=(0, (2, 3)))
    panel_of(left, f'Training loss (dotted: best epoch{"s" * (len(histories) > 1)})', 'epoch', 'loss')
    more = '' if not report.get('unfinished') else ', not finished'
    panel_of(right, f'Validation NDCG@10{more}', 'epoch', f'NDCG@10 (%), {protocol} protocol')
    for axes in (left, right):
        axes.grid(axis='x', visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    right.legend(loc='lower right', **_LEGEND)
    save(figure, path)


def metric_by_k(report: Tree, path: pathlib.Path) -> None:
    """NDCG@k and HR@k by k, a panel per protocol, since the two are different tasks.

    Args:
      report: what report.json holds.
      path: the PNG to write.
    """
    ks = cut_offs(report)
    figure, panels = figure_of(2, model_name(report), subtitle(report, 'test'), (9.6, 4.0))
    for axes, protocol in zip(panels, in_order(report), strict=True):
        for metric, colour in (('HR', ORANGE), ('NDCG', BLUE)):
            values = _percents(report['test'][protocol], [f'{metric}@{k}' for k in ks])
            axes.plot(range(len(ks)), values, color=colour, linewidth=2, marker='o', markersize=6,
                      markeredgecolor='white', markeredgewidth=1.2, label=f'{metric}@k')
            if 'std' in report:
                spread = _percents(report['std']['test'][protocol], [f'{metric}@{k}' for k in ks])
                axes.fill_between(range(len(ks)), np.subtract(values, spread), np.add(values, spread), color=colour,
                                  alpha=0.18, linewidth=0)
            # NDCG@1 equals HR@1, so one number there is enough; HR's lie above its line and NDCG's below.
            for place, value in list(enumerate(values))[metric == 'NDCG' and ks[0] == 1:]:
                axes.annotate(f'{value:.1f}', (place, value), (0, 7 if metric == 'HR' else -7), fontsize=8.5,
                              textcoords='offset points', color=colour, ha='center',
                              va='bottom' if metric == 'HR' else 'top')
        axes.set_xticks(range(len(ks)), [str(k) for k in ks])
        axes.set_xlim(-0.4, len(ks) - 0.6)
        _from_zero(axes, 1.16)
        panel_of(axes, protocol_title(report, protocol), 'k (length of the list)', 'test metric (%)')
        axes.legend(loc='upper left', **_LEGEND)
    save(figure, path)


def group_bars(report: Tree, path: pathlib.Path) -> None:
    """NDCG of all users and of the groups of the report, a panel per protocol.

    Args:
      report: what report.json holds.
      path: the PNG to write.
    """
    name = f'NDCG@{headline_k(report)}'
    figure, panels = figure_of(2, model_name(report), subtitle(report, 'head and tail, test'), (9.6, 4.2))
    keys = ['all', *group_names(report)]
    labels = [f'{first}\n{second}' for first, _, second in  # of two lines each
              (label.partition(' ') for label in ('all', *group_names(report).values()))]
    counts = [report['counts']['users' if key == 'all' else key] for key in keys]
    for axes, (protocol, tree) in zip(panels, ((which, GROUP_TREES[which]) for which in in_order(report)), strict=True):
        def values(part: Tree, protocol: str = protocol, tree: str = tree) -> list[float]:
            return [_percents(part[protocol] if key == 'all' else part[tree][key], [name])[0] for key in keys]

        error = values(report['std']['test']) if 'std' in report else None
        _bars(axes, np.arange(len(keys)), values(report['test']), error, [TAIL_HEAD[key] for key in keys], 0.68)
        axes.set_xticks(range(len(keys)), [
            f'{label}\nn = {count:,}' for label, count in zip(labels, counts, strict=True)])
        _from_zero(axes, 1.14)
        panel_of(axes, protocol_title(report, protocol), '', f'{name} (%)')
        axes.tick_params(axis='x', length=0, labelsize=8.5)
    save(figure, path)


def check_comparison(reports: Sequence[Tree], names: Sequence[str], path: pathlib.Path) -> None:
    """Refuses what `comparison` cannot draw.

    Args:
      reports: what each report.json holds.
      names: of their runs.
      path: the picture.

    Raises:
      UserError: two data sets, two borders of tail items, other candidates, no cut-off in common, or two runs that
        nothing in the picture would tell apart.
    """
    if len({report['dataset'] for report in reports}) > 1:
        raise UserError(f'{path}: a picture shows one data set; leave out the runs of others')
    borders = list(dict.fromkeys(report['thresholds']['head_item'] for report in reports))
    if len(borders) > 1:
        raise UserError(f'{path}: the runs have head items from {" and from ".join(map(str, borders))} training '
                        'interactions on; leave out those of other borders')
    if len({report['protocol']['candidates'] for report in reports}) > 1:
        raise UserError(f'{path}: the runs were ranked among other candidates, so their figures cannot be set side by '
                        'side; leave out those of other users or negatives, or with another evaluate.repeats')
    if shared_k(reports) is None:
        raise UserError(f'{path}: the runs report no cut-off in common; run them again with the same '
                        'evaluate.ks, which trains nothing')
    first: dict[tuple[str, ...], str] = {}
    for report, name in zip(reports, names, strict=True):
        key = (report['backbone'], *_variant(report))
        if key in first:
            raise UserError(f'{path}: {first[key]} and {name} have the same backbone, method, gate and recipe, by '
                            'which a picture tells runs apart; leave one of them out')
        first[key] = name


def comparison(reports: Sequence[Tree], path: pathlib.Path) -> None:
    """Several reports side by side: NDCG@10, sampled protocol, over all users and over those with a tail target.

    Args:
      reports: what each report.json holds, all of one data set; methods (with their settings) are the bars, backbones
        the places.
      path: the picture to write; `check_comparison` says whether it can be drawn.
    """
    name = f'NDCG@{shared_k(reports)}'
    backbones = list(dict.fromkeys(report['backbone'] for report in reports))
    shown = list(dict.fromkeys(map(_variant, reports)))
    by_key = {(report['backbone'], _variant(report)): report for report in reports}
    counts = {len(report['seeds']) for report in reports}
    spread = _seeds(reports[0]) if len(counts) == 1 else ', lines: std over seeds where there are several'
    figure, panels = figure_of(2, 'What world knowledge adds to each backbone',
                               f'{reports[0]["dataset"]}  ·  test, sampled protocol{spread}', (9.6, 4.2))
    width = min(0.8 / len(shown), 0.38)
    for axes, group, title in zip(panels, (None, 'tail_item'), ('All users', 'Tail items as the target'), strict=True):
        for column, (method, colour) in enumerate(zip(shown, _method_colours(shown), strict=True)):
            places = [place for place, backbone in enumerate(backbones) if (backbone, method) in by_key]
            parts = [by_key[backbones[place], method] for place in places]
            error = [_of_group(part['std']['test'], group, name) if 'std' in part else math.nan for part in parts]
            x = np.array(places) + (column - (len(shown) - 1) / 2) * width
            _bars(axes, x, [_of_group(part['test'], group, name) for part in parts], error,
                  [colour] * len(x), width * 0.92, _label(method, shown))
        axes.set_xticks(range(len(backbones)), [BACKBONES.get(backbone, backbone) for backbone in backbones])
        axes.set_xlim(-0.6, len(backbones) - 0.4)
        _from_zero(axes, 1.14)
        panel_of(axes, title, '', f'{name} (%)')
        axes.tick_params(axis='x', length=0, labelsize=10, labelcolor=INK)
    figure.legend(*panels[0].get_legend_handles_labels(), loc='outside lower center', ncols=min(len(shown), 3),
                  **_LEGEND)
    save(figure, path)


_LEGEND: Tree = {'frameon': False, 'fontsize': 9, 'labelcolor': INK, 'handlelength': 1.4}


def figure_of(panels: int, title: str, subtitle: str, size: tuple[float, float],
              rows: int = 1) -> tuple[Figure, list[Axes]]:
    """A figure of rows of some panels side by side under a title; `size` in inches."""
    figure = Figure(figsize=size, dpi=150, facecolor='white')
    FigureCanvasAgg(figure)
    head = 0.62 / size[1]  # inches for title and subtitle
    figure.text(0.012, 1 - 0.12 / size[1], title, fontsize=13.5, fontweight='bold', color=INK, va='top')
    figure.text(0.012, 1 - 0.38 / size[1], subtitle, fontsize=10, color=MUTED, va='top')
    figure.set_layout_engine('constrained', rect=(0, 0, 1, 1 - head), w_pad=0.09, h_pad=0.07, wspace=0.05)
    return figure, [figure.add_subplot(rows, panels, i + 1) for i in range(rows * panels)]


def panel_of(axes: Axes, title: str, x: str, y: str) -> None:
    """Title, labels and look of a panel."""
    axes.set_title(title, loc='left', fontsize=10.5, color=INK, pad=10)
    axes.set_xlabel(x, fontsize=9.5, color=MUTED)
    axes.set_ylabel(y, fontsize=9.5, color=MUTED)
    axes.spines[['top', 'right', 'left']].set_visible(False)
    axes.spines['bottom'].set_color(GREY)
    axes.set_axisbelow(True)
    axes.grid(axis='y', color=GRID, linewidth=0.9)
    axes.tick_params(axis='both', colors=MUTED, labelsize=9, length=0)


def bar_panel(axes: Axes, title: str, bars: Sequence[tuple[str, float]], colours: Sequence[str]) -> None:
    """A panel of lying bars, each with its name before and its value behind it, the first one on top."""
    names, values = zip(*bars[::-1], strict=True)
    axes.bar_label(axes.barh(names, values, 0.68, color=colours[::-1]), fmt='%.2f', fontsize=9, padding=3)
    axes.set_xlim(0, 1.2 * max(values))
    panel_of(axes, title, '', '')
    axes.grid(axis='y', visible=False)


def _bars(axes: Axes, x: np.ndarray, values: Sequence[float], error: Sequence[float] | None, colours: Sequence[str],
          width: float, label: str = '') -> None:
    """Bars with their value above, clear of the error bar; an empty group is said to be empty."""
    heights = np.nan_to_num(np.array(values, float))
    error_style = {'ecolor': INK, 'elinewidth': 1.1, 'capsize': 2.5}
    axes.bar(x, heights, width, color=list(colours), label=label or None, yerr=error,
             error_kw=error_style if error is not None else {})
    for i, (place, value) in enumerate(zip(x, values, strict=True)):
        top = heights[i] + (np.nan_to_num(error[i]) if error is not None else 0)
        axes.annotate('none' if math.isnan(value) else f'{value:.1f}', (place, top), (0, 3), ha='center', va='bottom',
                      textcoords='offset points', fontsize=9, color=INK)


def _from_zero(axes: Axes, room: float) -> None:
    """Starts the axis at zero and leaves room for labels; an axis of zeros still gets a height."""
    top = axes.dataLim.y1
    axes.set_ylim(0, top * room if np.isfinite(top) and top > 0 else 1)


def _percents(values: Tree, names: Sequence[str]) -> list[float]:
    return [math.nan if values.get(name) is None else 100 * values[name] for name in names]


def _of_group(test: Tree, group: str | None, name: str) -> float:
    return _percents(test['groups'][group] if group else test['sampled'], [name])[0]


def subtitle(report: Tree, what: str) -> str:
    """The line below a picture's title: data set, what is shown, and where the vectors are from."""
    vectors = f'  ·  vectors: {report["vectors_from"]}' if report.get('vectors_from') else ''  # not in older reports
    whole = f'{report["dataset"]}  ·  {what}{_seeds(report)}{vectors}'
    return whole if len(whole) <= 120 else whole[:119] + '…'


def protocol_title(report: Tree, protocol: str) -> str:
    """The title of a panel of one protocol."""
    if protocol == 'sampled':
        fewest = report['protocol'].get('fewest_negatives')
        most = report['protocol'].get('most_negatives', report['protocol']['negatives'])
        return f'Sampled protocol: target + {most if fewest in (None, most) else f"{fewest} to {most}"} negatives'
    return f'Full protocol: all {report["data"]["items"]:,} items'


def _seeds(report: Tree) -> str:
    return f', mean ± std of {len(report["seeds"])} seeds' if 'std' in report else ''


def _cycle(count: int) -> list[str]:
    return [SERIES[i % len(SERIES)] for i in range(count)]


def _variant(report: Tree) -> tuple[str, ...]:
    return report['method'], *variant(report), report['recipe']


def _label(method: tuple[str, ...], among: Sequence[tuple[str, ...]]) -> str:
    """The method's name, with its settings only where the picture holds it more than once."""
    name = methods.label(method[0])
    alone = sum(other[0] == method[0] for other in among) == 1
    return name if alone else f'{name} ({", ".join(method[1:])})'


def _method_colours(shown: Sequence[tuple[str, ...]]) -> list[str]:
    """The plain backbone is grey wherever it stands; the methods on top of it take the colours in order."""
    others = iter(_cycle(len(shown)))
    return [GREY if methods.is_plain(method[0]) else next(others) for method in shown]


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a PNG of at most 256 colours, a third of the bytes, whole or not at all."""
    drawn = io.BytesIO()
    figure.savefig(drawn, format='png')
    with artefacts.replacing(path) as partial, Image.open(drawn) as picture:
        picture.convert('RGB').quantize(256, dither=Image.Dither.NONE).save(partial, format='PNG', optimize=True)

"""`benchmark sweep`: time of a training step against catalogue size, length of sequences and width of the vectors."""

import dataclasses
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from grasp_jax.benchmark import training, workload

BASE = workload.Size(20_000, 12_000, 8.88, 384)
# Sequences are stretched along with the longest that is kept, so a batch holds more items.
VALUES: dict[str, Sequence[int]] = {'items': (3_000, 12_000, 48_000, 300_000), 'length': (50, 100, 200, 400),
                                    'width': (96, 384, 1536, 4096)}
LABELS = {'items': 'items in the catalogue', 'length': 'longest sequence L (and lengths in proportion)',
          'width': 'width E of the LLM vectors'}


def measure(rounds: int, steps: int, reference: bool, base: workload.Size = BASE,
            values: dict[str, Sequence[int]] | None = None) -> Iterator[dict[str, Any]]:
    """SASRec + GRASP at each value of each axis, the other sizes as in `base`, row by row."""
    for axis, wanted in (values or VALUES).items():
        for value in wanted:
            size = _changed(base, axis, value)
            options = training.Options(rounds=rounds, steps=steps, reference=reference, parts=False)
            row = training.measure(size, 'sasrec', 'grasp', workload.interactions_of(size), workload.tables_of(size),
                                   options)
            yield {'axis': axis, 'value': value, **row}


def _changed(base: workload.Size, axis: str, value: int) -> workload.Size:
    if axis == 'items':
        return dataclasses.replace(base, items=value)
    if axis == 'width':
        return dataclasses.replace(base, width=value)
    return dataclasses.replace(base, max_length=value, mean_length=base.mean_length * value / base.max_length)


def plot(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """A panel per axis: milliseconds of a step, medians with the fastest and slowest call as bars."""
    axes_names = list(dict.fromkeys(row['axis'] for row in rows))
    figure = Figure(figsize=(4.2 * len(axes_names), 3.8), layout='constrained')
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(axes_names), squeeze=False)[0]
    for panel, axis in zip(panels, axes_names, strict=True):
        chosen = [row for row in rows if row['axis'] == axis]
        for name, colour in ((training.OURS, '#1f5f99'), (training.THEIRS, '#e08a2e')):
            points = [(row['value'], row['step'][name]) for row in chosen if name in row['step']]
            if not points:
                continue
            middle = [1e3 * times['median_s'] for _, times in points]
            bars = [[1e3 * (times['median_s'] - times['min_s']) for _, times in points],
                    [1e3 * (times['max_s'] - times['median_s']) for _, times in points]]
            panel.errorbar([value for value, _ in points], middle, bars, color=colour, marker='o', label=name,
                           capsize=3)
        panel.set_xscale('log')
        panel.set_yscale('log')
        panel.set_xlabel(LABELS[axis])
        panel.set_xticks([row['value'] for row in chosen], [f'{row["value"]:,}' for row in chosen])
        panel.minorticks_off()
        panel.grid(axis='y', color='#e4e8ec')
    panels[0].set_ylabel('milliseconds a training step')
    panels[0].legend(frameon=False)
    figure.suptitle('SASRec + GRASP, 128 users a step')
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=140)


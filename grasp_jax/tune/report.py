"""What a search found: all trials as a table, and a picture of what each setting does to validation."""

import math
import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np
from matplotlib.axes import Axes

from grasp_jax.common import artefacts
from grasp_jax.evaluation.plots import BLUE, ORANGE, figure_of, panel_of, save
from grasp_jax.evaluation.report_markdown import BACKBONES, Rows, aligned, markdown
from grasp_jax.models import methods

TABLE, PICTURE = 'trials.md', 'trials.png'
_SHOWN = 5  # trials on the terminal
_PANELS = 3  # in a row
_GAPS = 'Numbers that are missing are of trials that were interrupted; they went on under a new number.'


def write(study: Any, config: ml_collections.ConfigDict, folder: pathlib.Path) -> str:
    """Writes `trials.md` and `trials.png`.

    Args:
      study: of Optuna, with at least one finished trial.
      config: that it started from.
      folder: for both files.

    Returns:
      the best trials and the best settings, for the terminal.
    """
    trials = ranked(study)
    folder.mkdir(parents=True, exist_ok=True)
    backbone, method = BACKBONES[config.model.backbone], methods.label(config.model.method)
    title = f'Search {study.study_name}: {config.data.name}, {backbone}, {method}'
    kept, several = sum(not is_stopped(trial) for trial in trials), 's' * (len(trials) > 1)
    state = (f'{len(trials)} trial{several}, {kept} of them trained to the end and {len(trials) - kept} stopped early; '
             f'validation NDCG@10 ({config.evaluate.selection_protocol}), %, seed {config.train.seeds[0]}.')
    settings = {name: round(value, 12) if isinstance(value, float) else value  # 0.3, not 0.30000000000000004
                for name, value in trials[0].user_attrs['settings'].items()}
    flags = ' '.join(f'--config.{name}={value}' for name, value in settings.items())
    best = ['The best settings:', f'```\n{flags}\n```'] if kept else ['No trial was trained to the end yet.']
    gaps = [_GAPS] if any(trial.number >= len(trials) for trial in trials) else []
    rows = _rows(trials)
    _plot(trials, title, state, folder / PICTURE)
    artefacts.write_text(folder / TABLE, '\n\n'.join([
        f'## {title}', state, markdown(rows, 2), *gaps, *best,
        f'![what each setting does]({PICTURE})']) + '\n')
    return '\n'.join([title, state, '', aligned(rows[:_SHOWN + 1], 2), '', f'all trials: {folder / TABLE}',
                      flags if kept else best[0]])


def ranked(study: Any) -> list[Any]:
    """The trials that are over, the best first, then those that were stopped early; what a kill or a signal ended is in
    the queue again."""
    over = [trial for trial in study.trials if trial.state.name in ('COMPLETE', 'PRUNED')]
    return sorted(over, key=lambda trial: (is_stopped(trial), -reached(trial)))


def is_stopped(trial: Any) -> bool:
    """Whether a trial was so weak that it was stopped early."""
    return bool(trial.state.name == 'PRUNED')


def reached(trial: Any) -> float:
    """The best validation NDCG@10 of a trial, 0 to 1, also of one that was stopped early."""
    return float(max(trial.intermediate_values.values(), default=0.0) if is_stopped(trial) else trial.value)


def _rows(trials: Sequence[Any]) -> Rows:
    names = _names(trials)
    rows = [['trial', 'how it ended', 'NDCG@10', 'epochs', *(name.replace('_', ' ') for name in names)]]
    for trial in trials:
        values = [_shown(trial.params.get(name, '-')) for name in names]
        rows.append([str(trial.number), 'stopped early' if is_stopped(trial) else 'trained',
                     f'{100 * reached(trial):.2f}', _epochs(trial), *values])
    return rows


def _names(trials: Sequence[Any]) -> list[str]:
    """What was searched; a choice may leave another one without a meaning, so not every trial has all."""
    return list(dict.fromkeys(name for trial in trials for name in trial.params))


def _epochs(trial: Any) -> str:
    """How many epochs it had; a trial that a kill ended after its last one does not know."""
    return str(1 + max(trial.intermediate_values)) if trial.intermediate_values else '-'


def _shown(value: Any) -> str:
    return f'{value:.3g}' if isinstance(value, float) else str(value)


def _plot(trials: Sequence[Any], title: str, subtitle: str, path: pathlib.Path) -> None:
    """A panel for each setting: validation NDCG@10 against its value, hollow where a trial was stopped early."""
    names = _names(trials)
    down = math.ceil(len(names) / _PANELS)
    figure, panels = figure_of(min(len(names), _PANELS), title, subtitle, (12.0, 3.2 * down + 0.6), down)
    for axes, name in zip(panels, names, strict=False):
        having = [trial for trial in trials if name in trial.params]
        for trial in having:
            axes.plot(trial.params[name], 100 * reached(trial), marker='o', markersize=7,
                      color=ORANGE if trial is trials[0] else BLUE,
                      markerfacecolor='white' if is_stopped(trial) else None)
        panel_of(axes, name.replace('_', ' '), '', 'validation NDCG@10, %')
        _scale(axes, [trial.distributions[name] for trial in having])
    for axes in panels[len(names):]:
        axes.set_visible(False)
    save(figure, path)


def _scale(axes: Axes, distributions: Sequence[Any]) -> None:
    """Marks on the axis what could be drawn."""
    marks = marks_of(distributions)
    if isinstance(getattr(distributions[0], 'choices', None), tuple):
        axes.set_xticks(marks)
        return
    if distributions[0].log:
        axes.set_xscale('log')
    axes.set_xticks(marks, [f'{mark:.2g}' for mark in marks])
    axes.minorticks_off()


def marks_of(distributions: Sequence[Any]) -> list[Any]:
    """What could be drawn in any of the trials, as a space may have been widened between them: the choices, or both
    ends and the middle of a range, or all its steps."""
    first = distributions[0]
    if isinstance(getattr(first, 'choices', None), tuple):
        return list(dict.fromkeys(choice for each in distributions for choice in each.choices))
    low, high = min(each.low for each in distributions), max(each.high for each in distributions)
    if first.log:
        return [low, math.sqrt(low * high), high]
    return list(np.arange(low, high + 1e-9, first.step) if first.step else np.linspace(low, high, 3))

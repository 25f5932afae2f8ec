"""Figure 3: users with few purchases and a wrong description; how sure each method still is of their next item."""

import csv
import pathlib
from collections.abc import Sequence

import ml_collections
import numpy as np

from grasp_jax.common import artefacts
from grasp_jax.evaluation.plots import BLUE, GREY, ORANGE, PLUM, figure_of, panel_of, save
from grasp_jax.evaluation.report_markdown import markdown
from grasp_jax.ranking.scores import target_scores
from grasp_jax.reproduce import runs
from grasp_jax.reproduce.grid import Cell
from grasp_jax.vectors.corruption import CORRUPTED

FEW = 3  # purchases in the training part, at most; more where no user has so few
_COLOURS = (ORANGE, PLUM, BLUE, GREY)


def matching_scores(cells: Sequence[Cell], configs: Sequence[ml_collections.ConfigDict],
                    folder: pathlib.Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """sigmoid(o . i) of the true next item by each method.

    Args:
      cells: finished runs on the same wrong texts, at least one; on clean ones where a method reads no texts of users.
      configs: of the cells.
      folder: of the runs.

    Returns:
      by label float [u] for the users that are looked at, and bool [u], whose text is wrong.
    """
    found, wrong = {}, np.zeros(0, bool)
    for cell, config in zip(cells, configs, strict=True):
        stages = runs.stages_of(config, folder)
        run, params = runs.restored(config, folder / cell.name, stages)
        evaluator = run.evaluator('test')
        lengths = run.interactions.input_lengths('train')[evaluator.users]
        few = lengths <= max(FEW, lengths.min())
        mask = stages / 'encode' / CORRUPTED['users']
        if mask.exists():
            wrong = np.load(mask, allow_pickle=False)[evaluator.users][few]
        found[cell.label] = 1 / (1 + np.exp(-target_scores(evaluator, params)[few]))
    return found, wrong


def write(found: dict[str, np.ndarray], wrong: np.ndarray, title: str, remark: str,
          target: pathlib.Path) -> pathlib.Path:
    """Writes `target`.md with a remark (or ''), .csv (a line for each user) and .png; returns the Markdown file."""
    labels = list(found)
    body = []
    for name, side in (('wrong', wrong), ('right', ~wrong)):
        for label, scores in found.items():
            above = f'{100 * np.mean(scores[side] > found[labels[0]][side]):.1f}%' if label != labels[0] else '-'
            body.append([label, name, f'{side.sum():,}', f'{scores[side].mean():.4f}', f'{np.median(scores[side]):.4f}',
                         above])
    table = markdown([['method', 'text', 'users', 'mean score', 'median', f'above {labels[0]}'], *body], 2)
    figure, panels = figure_of(2, title, 'sigmoid(user . item) of the true next item', (10.0, 4.2))
    for axes, (name, side) in zip(panels, (('wrong', wrong), ('right', ~wrong)), strict=True):
        for label, colour in zip(labels, _COLOURS, strict=False):
            axes.hist(found[label][side], bins=40, range=(0, 1), histtype='step', linewidth=1.8, color=colour,
                      label=label)
        panel_of(axes, f'users whose text is {name}', 'matching score', 'users')
    panels[0].legend(loc='upper left', frameon=False, fontsize=8)
    target.parent.mkdir(parents=True, exist_ok=True)
    save(figure, target.with_suffix('.png'))
    with artefacts.replacing(target.with_suffix('.csv')) as partial, partial.open('w', encoding='utf-8') as file:
        writer = csv.writer(file, lineterminator='\n')
        writer.writerow(('text', *labels))
        writer.writerows(('wrong' if bad else 'right', *(f'{found[label][row]:.5f}' for label in labels))
                         for row, bad in enumerate(wrong))
    text = '\n\n'.join(filter(None, [f'## {title}', remark, table, f'![{title}]({target.name}.png)']))
    artefacts.write_text(target.with_suffix('.md'), text + '\n')
    return target.with_suffix('.md')

"""The hallucination curve: what is left of NDCG@10 as a growing share of the texts is wrong, and what the gates do."""

import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections
import numpy as np
from sklearn.metrics import roc_auc_score

from grasp_jax.common import artefacts
from grasp_jax.evaluation import gates
from grasp_jax.evaluation.plots import PALETTE, PLUM, figure_of, panel_of, save
from grasp_jax.evaluation.report import of_seeds
from grasp_jax.evaluation.report_markdown import markdown
from grasp_jax.models import methods
from grasp_jax.reproduce import runs
from grasp_jax.reproduce.grid import Cell, wrong_texts
from grasp_jax.reproduce.tables import Line, number, value
from grasp_jax.retrieval import wrong_texts as trust_in_texts
from grasp_jax.vectors.corruption import CORRUPTED

COLUMNS = ('N@10', 'tail_item:N@10', 'head_item:N@10')
GATES, TRUST = 'gates.json', 'trust.json'
_OVER = ('all candidates', 'the next item')


def measure_gates(config: ml_collections.ConfigDict, workdir: pathlib.Path, stages: pathlib.Path) -> dict[str, Any]:
    """Gates of pairs whose user or item has a wrong vector against the others, of the first seed; kept in `gates.json`
    in its folder.

    Args:
      config: of a finished GRASP run with wrong vectors.
      workdir: of the run.
      stages: of its tables.

    Returns:
      {'users' or 'items': {'all candidates' or 'the next item': what `gates.of_groups` found}}.
    """
    path = workdir / f'seed{config.train.seeds[0]}' / GATES
    if path.exists():
        known: dict[str, Any] = artefacts.read_json(path)
        return known
    run, params = runs.restored(config, workdir, stages)
    evaluator = run.evaluator('test')
    found, items = gates.candidate_gates(evaluator, params)
    result = {}
    for name, mask_file in CORRUPTED.items():
        file = stages / 'encode' / mask_file
        if file.exists():
            mask = np.load(file, allow_pickle=False)
            group = (np.broadcast_to(mask[evaluator.users][:, None], items.shape) if name == 'users'
                     else mask[np.maximum(items, 1) - 1])
            result[name] = {_OVER[0]: gates.of_groups(found, items > 0, group),
                            _OVER[1]: gates.of_groups(found[:, :1], items[:, :1] > 0, group[:, :1])}
    artefacts.write_json(path, result)
    return result


def measure_trust(config: ml_collections.ConfigDict, workdir: pathlib.Path,
                  stages: pathlib.Path) -> dict[str, float | None]:
    """How well trust in the texts of items tells wrong ones from right ones, of the first seed; kept in `trust.json` in
    its folder.

    Args:
      config, workdir, stages: as in `measure_gates`.

    Returns:
      `wrong`, the share that was made wrong; `estimate`, `wrong_texts.share_wrong`; `auc`, the chance that a right text
      is trusted more than a wrong one, None where all are wrong. Nothing where no text of an item was made wrong, or
      none was looked for.
    """
    path = workdir / f'seed{config.train.seeds[0]}' / TRUST
    if path.exists():
        kept: dict[str, float | None] = artefacts.read_json(path)
        return kept
    mask, trust = stages / 'encode' / CORRUPTED['items'], stages / 'retrieve' / trust_in_texts.TRUST
    if not (mask.exists() and trust.exists()):
        return {}
    wrong, trusted = np.load(mask, allow_pickle=False), np.load(trust, allow_pickle=False)[1:]
    facts = artefacts.read_json(stages / 'retrieve' / artefacts.MANIFEST)['facts']['texts']
    found = {'wrong': float(wrong.mean()), 'estimate': facts['share_wrong'],
             'auc': None if wrong.all() else float(roc_auc_score(~wrong, trusted))}
    artefacts.write_json(path, found)
    return found


def trust_as_markdown(found: Sequence[tuple[Cell, dict[str, Any]]]) -> str:
    """The share of wrong texts, its estimate, and the AUC of trust, a row for each run."""
    rows = [['texts', 'method', 'wrong', 'estimate', 'AUC of trust']]
    rows += [[cell.group.replace('_', ' '), cell.label, f'{each["wrong"]:.0%}', f'{each["estimate"]:.0%}',
              '-' if each['auc'] is None else number(each['auc'], '.3f')] for cell, each in found]
    return markdown(rows, 2)


def corruption(cell: Cell) -> dict[str, str | int]:
    """Columns of the CSV on what is wrong: the kind, as 'users_swap', and how many percent of the texts."""
    kind, share = wrong_texts(cell)
    return {'corruption': kind, 'share_percent': share}


def as_markdown(rows: Sequence[Line], protocol: str) -> str:
    """NDCG@10 of all, tail and head items by kind and share, and what share of the clean figure over the same seeds is
    left."""
    clean = {(wrong_texts(line.cell)[0], line.cell.label): line for line in rows if wrong_texts(line.cell)[1] == 0}
    header = ['texts', 'method', 'seeds', 'all', 'left', 'tail items', 'left', 'head items', 'left']
    body = []
    for line in rows:
        before = clean.get((wrong_texts(line.cell)[0], line.cell.label))
        start_report = of_seeds(before.report, line.report['seeds']) if before else None
        cells = [str(len(line.report['seeds']))]
        for column in COLUMNS:
            mean, _ = value(line.report, protocol, column)
            start = value(start_report, protocol, column)[0] if start_report else 0.0
            cells += [number(mean), number(100 * mean / start, '.0f') + '%' if start > 0 else '-']
        body.append([line.cell.group.replace('_', ' '), line.cell.label, *cells])
    return markdown([header, *body], 2)


def gates_as_markdown(found: Sequence[tuple[Cell, dict[str, Any]]]) -> str:
    """Gates of wrong and right texts by level, mean ± standard deviation over pairs of a user and an item."""
    header = ['texts', 'method', 'pairs', *gates.LEVELS]
    body = [[cell.group.replace('_', ' '), cell.label,
             f'{over}, {name.removesuffix("s")} {"wrong" if side == "inside" else "right"}',
             *(f'{levels[level][0]:.4f} ± {levels[level][1]:.4f}' for level in gates.LEVELS)]
            for cell, measured in found for name, parts in measured.items()
            for over, sides in parts.items() for side, levels in sides.items()]
    return markdown([header, *body], 3)


def plot(rows: Sequence[Line], protocol: str, title: str, path: pathlib.Path) -> None:
    """A panel for each kind and column, a line for each method against the share of wrong texts."""
    kinds = list(dict.fromkeys(wrong_texts(line.cell)[0] for line in rows))
    figure, panels = figure_of(len(COLUMNS), title, f'{protocol} protocol', (15.0, 3.4 * len(kinds) + 0.6), len(kinds))
    for row, kind in enumerate(kinds):
        for axes, column in zip(panels[row * len(COLUMNS):], COLUMNS, strict=False):
            for label in dict.fromkeys(line.cell.label for line in rows):
                points = sorted((wrong_texts(line.cell)[1], *value(line.report, protocol, column)) for line in rows
                                if line.cell.label == label and wrong_texts(line.cell)[0] == kind)
                method = next(line.cell.settings['model.method'] for line in rows if line.cell.label == label)
                colour = PLUM if 'printed' in label else PALETTE[methods.named(method).colour]
                axes.errorbar([x for x, _, _ in points], [y for _, y, _ in points], [e or 0.0 for _, _, e in points],
                              color=colour, marker='o', label=label)
            panel_of(axes, f'{kind.replace("_", ", ")}: {column.replace("_", " ").replace(":", " ")}',
                     '% of texts that are wrong', '%')
    figure.legend(*panels[0].get_legend_handles_labels(), loc='upper right', ncols=3, frameon=False, fontsize=8)
    save(figure, path)

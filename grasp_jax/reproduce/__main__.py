"""Makes the paper's tables and figures on this machine, ours beside the paper's.

    python -m grasp_jax.reproduce --table=2 --dataset=beauty --recipe=paper        every method on every backbone
    python -m grasp_jax.reproduce --table=4 --dataset=beauty                       the parts of the attention
    python -m grasp_jax.reproduce --figure=4 --dataset=beauty                      neighbours and width
    python -m grasp_jax.reproduce --figure=robustness --dataset=demo               when the language model is wrong
    python -m grasp_jax.reproduce --figure=leak --dataset=beauty                   what the gate may see of the user
    python -m grasp_jax.reproduce --table=2 --plan                                 what is done and what is left

Killed at any moment, the same command goes on where it was. Tables 2 and 3 share their runs. The table holds all rows
that are done, whichever of them were run this time; --norun makes it from these alone. On a machine with few cores two
processes that are bound to one core each (`taskset -c 0 ... --shard=1/2`, `taskset -c 1 ... --shard=2/2`) get more done
than one that uses both.
"""

import contextlib
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags

from grasp_jax.commands.command import define_stopped_code, only_flags, reading_flags, run_app
from grasp_jax.common.errors import UserError
from grasp_jax.config.recipes import RECIPES
from grasp_jax.evaluation.report_markdown import BACKBONES
from grasp_jax.models import methods
from grasp_jax.reproduce import grid

_TABLE = flags.DEFINE_enum('table', None, ['2', '3', '4'], 'Table of the paper.')
_FIGURE = flags.DEFINE_enum('figure', None, ['3', '4', 'robustness', 'leak'],
                            'Figure of the paper, the hallucination curve, or the leak inside training.')
_KINDS = flags.DEFINE_list('kinds', [], 'robustness: runs only these ways of being wrong, as users_swap,items_noise; '
                           'empty for all.')
_SHARES = flags.DEFINE_list('shares', '10,25,50,75,100', 'robustness: percent of texts that are wrong.')
_DATASET = flags.DEFINE_enum('dataset', 'beauty', sorted(grid.DATASETS), 'Data set; fashion has no texts, so that it '
                             'runs the plain backbones alone.')
_RECIPE = flags.DEFINE_enum('recipe', 'paper', sorted(RECIPES), 'Recipe of training.')
_SEEDS = flags.DEFINE_list('seeds', ','.join(map(str, grid.SEEDS)), 'Seeds of every run; what is '
                           'written is about them alone.')
_BACKBONES = flags.DEFINE_list('backbones', [], 'Runs only these backbones; empty for all. Figure 3 and robustness: '
                               'one, SASRec where it is empty.')
_METHODS = flags.DEFINE_list('methods', [], 'Runs only these methods; empty for all.')
_CHANGES = flags.DEFINE_string('changes', '{}', 'Settings of every run as JSON, as {"train.max_epochs": 2}.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/reproduce', 'Folder for runs, tables and pictures.')
_OUT = flags.DEFINE_string('out', None, 'Folder for tables and pictures. Default: inside the work folder.')
_SHARD = flags.DEFINE_string('shard', '1/1', 'Runs only this part of the grid, as 2/4, so that several processes or '
                             'machines can share a work folder.')
_PLAN = flags.DEFINE_bool('plan', False, 'Only list the runs and which of them are done.')
_RUN = flags.DEFINE_bool('run', True, 'Whether missing runs are made.')

# What is not a table of rows.
_WRITERS = {'robustness': 'write_robustness', '3': 'write_case_study'}
# Filters that a table or figure knows.
_FILTERS = {'2': ('backbones', 'methods'), '3': ('backbones', 'methods'), 'figure 3': ('backbones',),
            'figure robustness': ('backbones', 'methods', 'kinds', 'shares')}
_STOPPED_CODE = define_stopped_code()


def main(_: Sequence[str]) -> None:
    """Makes one table or figure."""
    from grasp_jax.pipeline.checks import check_config  # after the flags: --help need not wait for JAX
    from grasp_jax.reproduce import results, runs

    what, cells = _what()
    chosen = _chosen(cells)
    dataset, recipe = _DATASET.value, _RECIPE.value
    folder = pathlib.Path(_WORKDIR.value) / dataset / recipe
    seeds = [int(seed) for seed in _SEEDS.value]
    base = runs.load_config(grid.DATASETS[dataset])
    changes = _changes()
    shared = base, recipe, seeds, changes
    for cell in chosen:
        check_config(runs.config_of(cell, *shared))
    runs.require_same(cells, *shared, folder)
    runs.claim_changes(cells, changes, folder, note=_RUN.value and not _PLAN.value)
    part, parts = map(int, _SHARD.value.split('/'))
    chosen = chosen[part - 1::parts]
    if _PLAN.value:
        for cell in chosen:
            left = runs.seeds_left(folder / cell.name, seeds)
            print(f'{"left" if left else "done":6}{cell.group:22}{cell.label}'
                  + (f' (seeds {", ".join(map(str, left))})' if left else ''))
        return
    if _RUN.value:
        runs.run_cells(chosen, *shared, folder)
        runs.require_same(cells, *shared, folder)  # what lay there may be of other data than what was run now
    elif not folder.is_dir():
        raise UserError(f'{folder}: there is no such folder; name the --workdir that runs are in, or leave out --norun')
    out = pathlib.Path(_OUT.value) if _OUT.value else pathlib.Path(_WORKDIR.value)
    target = out / f'{what}_{dataset}_{recipe}'
    if _FIGURE.value in _WRITERS:
        written = getattr(results, _WRITERS[_FIGURE.value])(cells, *shared, folder, target)
    else:
        written = results.write(what, cells, seeds, changes, folder, target)
    print(written.read_text(encoding='utf-8'))
    pictures = ', '.join(map(str, sorted(out.glob(f'{target.name}*.png'))))
    print(f'table: {written}   figures: {written.with_suffix(".csv")}, {pictures}')


def _what() -> tuple[str, list[grid.Cell]]:
    """Name and all cells of what is asked for."""
    backbone = _BACKBONES.value[0] if _BACKBONES.value else 'sasrec'
    of_backbone = '' if backbone == 'sasrec' else f'_{backbone}'
    dataset = _DATASET.value
    if _FIGURE.value == '3':
        name, cells = f'figure3{of_backbone}', grid.case_study(dataset, backbone=backbone)
    elif _FIGURE.value == '4':
        name, cells = 'figure4', grid.curves(_RECIPE.value)
    elif _FIGURE.value == 'leak':
        name, cells = 'leak', grid.leaks()
    elif _FIGURE.value == 'robustness':
        known = list(grid.corruptions(dataset))
        _require_known('kinds', _KINDS.value, known)
        shares = sorted({*map(int, _SHARES.default), *map(int, _SHARES.value)})
        name, cells = f'robustness{of_backbone}', grid.robustness(
            dataset, known, shares, backbone, _RECIPE.value)
    elif _TABLE.value == '4':
        name, cells = 'table4', grid.ablation(dataset, _RECIPE.value)
    else:
        name, cells = f'table{_TABLE.value}', grid.overall(dataset, _RECIPE.value)
    cells = grid.possible(cells, dataset)
    if not cells or _FIGURE.value and not grid.has_texts(dataset):
        raise UserError(f'--dataset={dataset}: has no texts, and {name} is about nothing else; choose another')
    return name, cells


def _chosen(cells: Sequence[grid.Cell]) -> list[grid.Cell]:
    """The cells that pass the filters; of those that are one run, the first."""
    found: dict[str, grid.Cell] = {}
    for cell in filter(_is_chosen, cells):
        found.setdefault(cell.name, cell)
    return list(found.values())


def _is_chosen(cell: grid.Cell) -> bool:
    """Whether a cell passes the filters."""
    if _FIGURE.value == 'robustness':
        kind, share = grid.wrong_texts(cell)
        if (_KINDS.value and kind not in _KINDS.value) or share not in (0, *map(int, _SHARES.value)):
            return False
    return all(not flag.value or cell.settings[f'model.{key}'] in flag.value
               for key, flag in (('backbone', _BACKBONES), ('method', _METHODS)))


def _require_known(name: str, values: Sequence[str], known: Sequence[str]) -> None:
    for value in values:
        if value not in known:
            raise UserError(f'--{name}={value}: choose among {", ".join(known)}')


def _changes() -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(_CHANGES.value)
        if isinstance(found, dict):
            return found
    raise UserError(f'--changes={_CHANGES.value}: give a JSON object, as {{"train.max_epochs": 2}}')


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help'):
        rest: list[str] = flags.FLAGS(list(argv), known_only=False)
        if not all(seed.strip().isdecimal() for seed in _SEEDS.value) or not _SEEDS.value:
            raise UserError(f'--seeds={",".join(_SEEDS.value)}: give numbers, as 42,43,44')
        if not all(share.strip().isdecimal() and 0 < int(share) <= 100 for share in _SHARES.value or ['']):
            raise UserError(f'--shares={",".join(_SHARES.value)}: give percents from 1 to 100, as 25,50')
        part, _, parts = _SHARD.value.partition('/')
        if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
            raise UserError(f'--shard={_SHARD.value}: give a part and the number of parts, as 2/4')
        if 'train.seeds' in _changes():
            raise UserError(f'--changes={_CHANGES.value}: seeds are given by --seeds')
        _require_known('backbones', _BACKBONES.value, list(BACKBONES))
        _require_known('methods', _METHODS.value, methods.names())
        if len(_BACKBONES.value) > 1 and _FIGURE.value in _WRITERS:
            raise UserError(f'--backbones={",".join(_BACKBONES.value)}: --figure={_FIGURE.value} takes one')
    if bool(_TABLE.value) == bool(_FIGURE.value):
        raise UserError('command line: name either --table=2, 3 or 4, or --figure=3, 4, robustness or leak')
    known = _FILTERS.get(_TABLE.value or f'figure {_FIGURE.value}', ())
    for name in ('backbones', 'methods', 'kinds', 'shares'):
        if flags.FLAGS[name].present and name not in known:
            what = f'--table={_TABLE.value}' if _TABLE.value else f'--figure={_FIGURE.value}'
            raise UserError(f'--{name}: is nothing that {what} can be narrowed by; leave it out')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True, stopped_code=lambda: _STOPPED_CODE.value)

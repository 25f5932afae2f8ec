"""Makes the paper's tables and figures on this machine, ours beside the paper's.

    python -m grasp_jax.reproduce --table=2 --dataset=beauty --recipe=paper        every method on every backbone
    python -m grasp_jax.reproduce --table=4 --dataset=beauty                       the parts of the attention
    python -m grasp_jax.reproduce --figure=4 --dataset=beauty                      neighbours and width
    python -m grasp_jax.reproduce --figure=robustness --dataset=demo               when the language model is wrong
    python -m grasp_jax.reproduce --figure=leak --dataset=beauty                   what the gate may see of the user
    python -m grasp_jax.reproduce --table=2 --plan                                 what is done and what is left

Killed at any moment, the same command goes on where it was. Tables 2 and 3 share their runs. The table holds what is
done; --norun makes it from that alone. On a machine with few cores two processes that are bound to one core each
(`taskset -c 0 ... --shard=1/2`, `taskset -c 1 ... --shard=2/2`) get more done than one that uses both.
"""

import json
import pathlib
from collections.abc import Sequence

from absl import flags

from grasp_jax.command import only_flags, reading_flags, run_app
from grasp_jax.errors import UserError
from grasp_jax.evaluation.tables import BACKBONES
from grasp_jax.recipes import RECIPES
from grasp_jax.reproduce import grid

_TABLE = flags.DEFINE_enum('table', None, ['2', '3', '4'], 'Table of the paper.')
_FIGURE = flags.DEFINE_enum('figure', None, ['3', '4', 'robustness', 'leak'],
                            'Figure of the paper, the hallucination curve, or the leak inside training.')
_KINDS = flags.DEFINE_list('kinds', [], 'robustness: which texts are wrong and how, as users_swap,items_noise; empty '
                           'for all.')
_SHARES = flags.DEFINE_list('shares', '10,25,50,75,100', 'robustness: percent of texts that are wrong.')
_DATASET = flags.DEFINE_enum('dataset', 'beauty', sorted(grid.DATASETS), 'Data set.')
_RECIPE = flags.DEFINE_enum('recipe', 'paper', sorted(RECIPES), 'Recipe of training.')
_SEEDS = flags.DEFINE_list('seeds', ','.join(map(str, grid.SEEDS)), 'Seeds of every run.')
_BACKBONES = flags.DEFINE_list('backbones', [], 'Only these backbones; empty for all. Figure 3 and robustness: one, '
                               'SASRec where it is empty.')
_METHODS = flags.DEFINE_list('methods', [], 'Only these methods; empty for all.')
_CHANGES = flags.DEFINE_string('changes', '{}', 'Settings of every run as JSON, as {"train.max_epochs": 2}.')
_WORKDIR = flags.DEFINE_string('workdir', 'runs/reproduce', 'Folder for runs, tables and pictures.')
_OUT = flags.DEFINE_string('out', None, 'Folder for tables and pictures. Default: inside the work folder.')
_SHARD = flags.DEFINE_string('shard', '1/1', 'Runs only this part of the grid, as 2/4, so that several processes or '
                             'machines can share a work folder.')
_PLAN = flags.DEFINE_bool('plan', False, 'Only list the runs and which of them are done.')
_RUN = flags.DEFINE_bool('run', True, 'Whether missing runs are made.')

# What is not a table of rows.
_WRITERS = {'robustness': 'write_robustness', '3': 'write_case_study'}


def main(_: Sequence[str]) -> None:
    """Makes one table or figure."""
    from grasp_jax.reproduce import results, runs  # after the flags: --help need not wait for JAX

    what, cells = _what()
    dataset, recipe = _DATASET.value, _RECIPE.value
    folder = pathlib.Path(_WORKDIR.value) / dataset / recipe
    if _PLAN.value:
        for cell in cells:
            print(f'{"done" if runs.is_done(folder / cell.name) else "left":6}{cell.group:18}{cell.label}')
        return
    base = runs.load_config(grid.DATASETS[dataset])
    shared = base, recipe, [int(seed) for seed in _SEEDS.value], json.loads(_CHANGES.value)
    if _RUN.value:
        part, parts = map(int, _SHARD.value.split('/'))
        runs.run_cells(cells[part - 1::parts], *shared, folder)
    out = pathlib.Path(_OUT.value) if _OUT.value else pathlib.Path(_WORKDIR.value)
    target = out / f'{what}_{dataset}_{recipe}'
    if _FIGURE.value in _WRITERS:
        written = getattr(results, _WRITERS[_FIGURE.value])(cells, *shared, folder, target)
    else:
        written = results.write(what, cells, folder, target)
    print(written.read_text(encoding='utf-8'))
    pictures = ', '.join(map(str, sorted(out.glob(f'{target.name}*.png'))))
    print(f'table: {written}   figures: {written.with_suffix(".csv")}, {pictures}')


def _what() -> tuple[str, list[grid.Cell]]:
    backbone = _BACKBONES.value[0] if _BACKBONES.value else 'sasrec'
    of_backbone = '' if backbone == 'sasrec' else f'_{backbone}'
    if _FIGURE.value == '3':
        return f'figure3{of_backbone}', grid.case_study(_DATASET.value, backbone=backbone)
    if _FIGURE.value == '4':
        return 'figure4', grid.curves(_RECIPE.value)
    if _FIGURE.value == 'leak':
        return 'leak', grid.leaks()
    if _FIGURE.value == 'robustness':
        known = grid.corruptions(_DATASET.value)
        kinds = _KINDS.value or list(known)
        for kind in kinds:
            if kind not in known:
                raise UserError(f'--kinds={kind}: choose among {", ".join(known)}')
        cells = grid.robustness(_DATASET.value, kinds, [int(share) for share in _SHARES.value], backbone)
        return f'robustness{of_backbone}', [cell for cell in cells
                                            if not _METHODS.value or cell.settings['model.method'] in _METHODS.value]
    if _TABLE.value == '4':
        return 'table4', grid.ablation()
    cells = [cell for cell in grid.overall(_DATASET.value, tuple(_METHODS.value), _RECIPE.value)
             if not _BACKBONES.value or cell.settings['model.backbone'] in _BACKBONES.value]
    return f'table{_TABLE.value}', cells


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help'):
        rest: list[str] = flags.FLAGS(list(argv), known_only=False)
        if not all(seed.strip().isdigit() for seed in _SEEDS.value) or not _SEEDS.value:
            raise UserError(f'--seeds={",".join(_SEEDS.value)}: give numbers, as 42,43,44')
        if not all(share.strip().isdigit() and 0 < int(share) <= 100 for share in _SHARES.value):
            raise UserError(f'--shares={",".join(_SHARES.value)}: give percents from 1 to 100, as 25,50')
        part, _, parts = _SHARD.value.partition('/')
        if not (part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts)):
            raise UserError(f'--shard={_SHARD.value}: give a part and the number of parts, as 2/4')
        if not isinstance(json.loads(_CHANGES.value), dict):
            raise UserError(f'--changes={_CHANGES.value}: give a JSON object, as {{"train.max_epochs": 2}}')
        several = len(_BACKBONES.value) > 1 and _FIGURE.value in _WRITERS
        if several or not set(_BACKBONES.value) <= set(BACKBONES):
            raise UserError(f'--backbones={",".join(_BACKBONES.value)}: choose {"one" if several else "some"} of '
                            f'{", ".join(BACKBONES)}')
    if bool(_TABLE.value) == bool(_FIGURE.value):
        raise UserError('command line: name either --table=2, 3 or 4, or --figure=3, 4, robustness or leak')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True)

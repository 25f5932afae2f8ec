"""Compares finished runs: `python -m grasp_jax.compare WORKDIR_A WORKDIR_B ... [--out FILE.md]`."""

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from grasp_jax.commands.command import Parser, for_a_reader, require_picture
from grasp_jax.commands.flag_names import as_flags
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation import report_markdown
from grasp_jax.evaluation.beyond_accuracy_table import NOTE
from grasp_jax.evaluation.compare import LEGEND, beyond_rows, border_note, compare_workdirs, notes, run_names
from grasp_jax.evaluation.plots import check_comparison, comparison
from grasp_jax.evaluation.report import load_report, of_seeds
from grasp_jax.ranking.metrics import PROTOCOLS

Tree = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 with one line on standard error where something is wrong."""
    parser = Parser(
        'python -m grasp_jax.compare', epilog=LEGEND,
        description='Prints a table of finished runs; the first is what the others are compared with.')
    parser.add_argument('workdirs', nargs='+', type=pathlib.Path, metavar='WORKDIR',
                        help='what --workdir was when the run was made')
    parser.add_argument('--out', type=pathlib.Path, metavar='FILE.md', help='also write the table as Markdown')
    parser.add_argument('--plot', type=pathlib.Path, metavar='FILE.png',
                        help='also draw NDCG@10 by backbone and method')
    parser.add_argument('--protocol', choices=PROTOCOLS, default='',
                        help='of the gain and its test (default: the one that the first run was selected by)')
    parser.add_argument('--seeds', type=_numbers, metavar='42,43', help='compare these seeds alone (default: all)')
    parser.add_argument('--seed', type=int, default=0, help='seed of the bootstrap (default: 0)')
    try:
        flags = parser.parse_args(arguments)
        if flags.seed < 0:
            raise UserError(f'--seed={flags.seed}: must be 0 or more')
        if flags.plot:
            require_picture('plot', flags.plot)
        reports = [_report(workdir, flags.seeds) for workdir in flags.workdirs]
        if flags.plot:
            check_comparison(reports, run_names(flags.workdirs), flags.plot)
        rows = compare_workdirs(flags.workdirs, reports, flags.seed, flags.protocol)
        below = [*filter(None, [border_note(flags.workdirs, reports)]), *notes(flags.workdirs, reports), LEGEND]
        beyond = beyond_rows(flags.workdirs, reports)
        if flags.out:
            more = [report_markdown.markdown(beyond), NOTE] if beyond else []
            _write(flags.out, '\n\n'.join([report_markdown.markdown(rows, 4), *below, *more]) + '\n')
        if flags.plot:
            flags.plot.parent.mkdir(parents=True, exist_ok=True)
            comparison(reports, flags.plot)
    except (UserError, OSError) as error:
        print(f'error: {as_flags(error)}', file=sys.stderr)
        return 2
    print(report_markdown.aligned(rows, 4), *below, *([report_markdown.aligned(beyond), NOTE] if beyond else []),
          sep='\n\n')
    return 0


def _numbers(text: str) -> list[int]:
    if not all(number.strip().isdecimal() for number in text.split(',')):
        raise argparse.ArgumentTypeError(f'{text!r}: give numbers, as 42,43')
    return [int(number) for number in text.split(',')]


def _report(workdir: pathlib.Path, seeds: Sequence[int] | None) -> Tree:
    """What a run reports of some seeds, None for all; a UserError where one is not there."""
    found = load_report(workdir)
    if seeds is None:
        return found
    chosen = of_seeds(found, seeds)
    if chosen is None or not set(seeds) <= set(chosen['seeds']):
        raise UserError(f'--seeds={",".join(map(str, seeds))}: {workdir} has {", ".join(map(str, found["seeds"]))}; '
                        'name seeds that all runs have')
    return chosen


def _write(path: pathlib.Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    artefacts.write_text(path, text)


if __name__ == '__main__':
    with for_a_reader():
        sys.exit(main())

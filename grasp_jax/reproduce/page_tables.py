"""The small tables of the pages of results: `python -m grasp_jax.reproduce.page_tables runs/kept docs/tables`.

The pages in docs/results include these files. They hold what the wide tables of `python -m grasp_jax.reproduce` leave
out, epochs and validation, and only the columns that a page speaks of. Values are those of the kept runs; the tables on
wrong texts are taken from the wide ones in the same folder.
"""

import argparse
import csv
import json
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from grasp_jax.commands.command import Parser, for_a_reader
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation import report_markdown
from grasp_jax.reproduce import published
from grasp_jax.training.metrics_log import METRICS_FILE

Tree = dict[str, Any]
Columns = Mapping[str, tuple[str, ...]]  # heading: path below `test` or of the report
PAPER = {'plain': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
         'GRASP as printed': 'grasp_printed', 'GRASP, calibrated gate, prefix': 'grasp',
         'the same with ids': 'grasp_id'}
STRONG = {**dict(list(PAPER.items())[:6]), 'GRASP with ids, calibrated gate, prefix': 'grasp_id',
          'GRASP with ids, no gate': 'grasp_id_ungated', 'GRASP with ids from texts, no gate': 'grasp_id_ungated_text',
          'GRASP mixed with ids': 'grasp_mixture'}
NOT_RUN = {f'{backbone}_grasp_mixture' for backbone in ('gru4rec', 'bert4rec')}  # under the recipe strong
# SASRec under the recipe strong, with half of the items' texts swapped and with right ones.
SWAPPED = {'GRASP mixed with ids, right texts': 'grasp_mixture',
           'GRASP mixed with ids, half swapped': 'grasp_mixture_items_swap_50', 'plain, which reads none': 'none',
           'LLM-ESR, right texts': 'llm_esr', 'LLMInit, right texts': 'llm_init'}
GATES = {('none (w/o attention)', '-'): 'ablation_no_attention',
         ('printed, w/o similar', 'text'): 'ablation_no_similar',
         ('printed, w/o global', 'text'): 'ablation_no_global', ('softmax', 'text'): 'ablation_softmax',
         ('printed (GRASP)', 'text'): 'sasrec_grasp_printed', ('printed', 'prefix'): 'ablation_printed_prefix',
         ('calibrated', 'text'): 'ablation_calibrated_text', ('calibrated (our default)', 'prefix'): 'sasrec_grasp',
         ('hidden space', 'text'): 'ablation_hidden_text', ('hidden space', 'prefix'): 'ablation_hidden_prefix'}
PRINTED = {'none (w/o attention)': 'w/o Attention', 'printed, w/o similar': 'w/o HAE similar',
           'printed, w/o global': 'w/o HAE global', 'softmax': 'Softmax', 'printed (GRASP)': 'GRASP'}
CONTEXTS = {'text': 'text', 'prefix': 'prefix', 'prefix and text with dropout': 'both',
            'text without the last 2': 'held_out', 'leaky text': 'leaky'}
POINTS = {'k': (1, 3, 5, 10, 20, 50), 'width': (16, 32, 64, 128, 256)}

SAMPLED, FULL = ('sampled', 'NDCG@10'), ('full', 'NDCG@10')


def _groups(tree: str, *names: str) -> Columns:
    return {f'{name}s': (tree, name.replace(' ', '_'), 'NDCG@10') for name in names}


ITEMS = _groups('groups', 'tail item', 'head item')
OF_PAPER: Columns = {'NDCG@10': SAMPLED, 'HR@10': ('sampled', 'HR@10'), **ITEMS,
                     **_groups('groups', 'tail user', 'head user'), 'full NDCG@10': FULL,
                     'full HR@10': ('full', 'HR@10'), 'full, tail items': ('groups_full', 'tail_item', 'NDCG@10')}
OF_STRONG: Columns = {'full NDCG@10': FULL, 'full HR@10': ('full', 'HR@10'),
                      **_groups('groups_full', 'tail item', 'head item', 'tail user', 'head user'),
                      'sampled NDCG@10': SAMPLED, 'sampled HR@10': ('sampled', 'HR@10')}
OF_SWAPPED: Columns = {name: OF_STRONG[name] for name in (
    'full NDCG@10', 'full HR@10', 'tail items', 'sampled NDCG@10', 'sampled HR@10')}
OF_GATES: Columns = {'NDCG@10': SAMPLED, 'HR@10': ('sampled', 'HR@10'), **ITEMS, 'full NDCG@10': FULL,
                     'full HR@10': ('full', 'HR@10')}


class Folder:
    """A finished run with all its seeds, or with one of them."""

    def __init__(self, path: pathlib.Path, seed: int | None = None):
        """Reads the report.

        Raises:
          UserError: it is not there.
        """
        try:
            self.report: Tree = json.loads((path / 'report.json').read_text(encoding='utf-8'))
        except OSError as error:
            raise UserError(f'{path}: has no report; unpack the kept runs with grasp_jax.reproduce.kept') from error
        self.runs: list[Tree] = [run for run in self.report['runs'] if seed in (None, run['seed'])]
        self._path = path

    def lines(self, run: Tree) -> list[Tree]:
        """What a seed logged, an epoch each."""
        text = (self._path / run['run_dir'] / METRICS_FILE).read_text(encoding='utf-8')
        return [json.loads(line) for line in text.splitlines()]

    def epochs(self) -> str:
        """Epochs of each seed."""
        return ', '.join(str(len(self.lines(run))) for run in self.runs)

    def validation(self) -> str:
        """NDCG@10 of the picked epochs, the mean over seeds."""
        found = [run['validation']['NDCG@10'] for run in self.runs]
        return f'{100 * sum(found) / len(found):.2f}'

    def losses(self) -> list[str]:
        """Training loss of the picked epoch and of the last one, of the first seed."""
        lines = self.lines(self.runs[0])
        best = max(lines, key=lambda line: line.get('valid_ndcg10', 0))
        return [f'{line["loss"]:.3f}' for line in (best, lines[-1])]

    def cells(self, columns: Columns) -> Iterator[str]:
        """Values of the test in percent, with the deviation over seeds where there are several."""
        for path in columns.values():
            if len(self.runs) == 1:
                yield f'{100 * _at(self.runs[0]["test"], path):.2f}'
                continue
            trees = self.report['test'], self.report['std']['test']
            mean, spread = (f'{100 * _at(tree, path):.2f}' for tree in trees)
            yield mean if mean == spread == '0.00' else f'{mean} ± {spread}'


def _at(tree: Tree, path: Sequence[str]) -> float:
    found: Any = tree
    for key in path:
        found = found[key]
    return float(found)


def _rows(first: Sequence[str], columns: Columns, folders: Mapping[tuple[str, ...], Folder]) -> list[list[str]]:
    """A table whose first columns are labels; then epochs, validation and values of the test."""
    return [[*first, 'epochs', 'validation', *columns],
            *([*labels, folder.epochs(), folder.validation(), *folder.cells(columns)]
              for labels, folder in folders.items())]


def from_runs(runs: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Names and contents of the tables that need the kept runs.

    Args:
      runs: folder that `grasp_jax.reproduce.kept unpack` filled.

    Raises:
      UserError: a run is missing.
    """
    paper, strong = runs / 'beauty' / 'paper', runs / 'beauty' / 'strong'
    for backbone in report_markdown.BACKBONES:
        yield f'paper_{backbone}', report_markdown.markdown(_rows(['model'], OF_PAPER, {
            (label,): Folder(paper / f'{backbone}_{name}') for label, name in PAPER.items()}))
        yield f'strong_{backbone}', report_markdown.markdown(_rows(['model'], OF_STRONG, {
            (label,): Folder(strong / f'{backbone}_{name}') for label, name in STRONG.items()
            if f'{backbone}_{name}' not in NOT_RUN}))
    yield 'swapped_texts_strong', report_markdown.markdown(_rows(['model, seed 42'], OF_SWAPPED, {
        (label,): Folder(strong / f'sasrec_{name}', 42) for label, name in SWAPPED.items()}))
    for recipe, labels in (('paper', PAPER), ('strong', STRONG)):
        yield f'overview_{recipe}', report_markdown.markdown(_overview(runs / 'beauty' / recipe, labels))
    yield 'beauty_at_a_glance', report_markdown.markdown(_glance(runs), 2)
    yield 'attention_gates', report_markdown.markdown(_gates(paper), 2)
    yield 'leak_gates', report_markdown.markdown(_leak(paper), 2)
    yield 'neighbours_and_width', report_markdown.markdown(_rows(['point'], OF_GATES, {
        (f'{what} {number}',): Folder(paper / ('sasrec_grasp' if (what, number) in (('k', 10), ('width', 64)) else
                                               f'curve_{what}_{number}'), 42)
        for what, numbers in POINTS.items() for number in numbers}))


def _overview(folder: pathlib.Path, methods: Mapping[str, str]) -> list[list[str]]:
    """NDCG@10 of every method on every backbone under both protocols, means alone."""
    names = report_markdown.BACKBONES.values()
    rows = [['method', *(f'{name}, {protocol}' for name in names for protocol in ('sampled', 'full'))]]
    for label, method in methods.items():
        found = [None if (run := f'{backbone}_{method}') in NOT_RUN else Folder(folder / run).report['test']
                 for backbone in report_markdown.BACKBONES]
        rows.append([label, *('-' if test is None else f'{100 * _at(test, path):.2f}'
                              for test in found for path in (SAMPLED, FULL))])
    return rows


def _glance(runs: pathlib.Path) -> list[list[str]]:
    """The plain backbones and GRASP, with the encoder of its vectors."""
    columns, paper = dict(list(OF_PAPER.items())[:-1]), runs / 'beauty' / 'paper'
    rows = [['test, %', 'vectors', *columns]]
    for backbone, name in report_markdown.BACKBONES.items():
        found = [([name, '—'], Folder(paper / f'{backbone}_none')),
                 ([f'{name} + GRASP', 'MiniLM'], Folder(paper / f'{backbone}_grasp'))]
        if backbone == 'sasrec':
            found.append(([f'{name} + GRASP, seed 42', 'LSA'], Folder(runs / 'beauty_lsa' / 'sasrec_grasp', 42)))
        rows.extend([*labels, *folder.cells(columns)] for labels, folder in found)
    return rows


def _gates(paper: pathlib.Path) -> list[list[str]]:
    """Table 4 with the paper's NDCG@10."""
    rows = _rows(['gate', 'context'], OF_GATES, {labels: Folder(paper / name) for labels, name in GATES.items()})
    print_of = published.table(4)
    place = rows[0].index('NDCG@10') + 1
    rows[0].insert(place, "paper's NDCG@10")
    for row in rows[1:]:
        setting = PRINTED.get(row[0])
        row.insert(place, f'{print_of[setting,].values["N@10"]:.2f}' if setting else '-')
    return rows


def _leak(paper: pathlib.Path) -> list[list[str]]:
    """Gates and contexts, with the training loss."""
    folders: dict[tuple[str, ...], Folder] = {
        (gate, context): Folder(paper / f'leak_{gate.split()[0]}_{name}')
        for gate in ('printed', 'calibrated', 'hidden space') for context, name in CONTEXTS.items()}
    rows = _rows(['gate', 'context'], OF_GATES, folders)
    rows[0][3:3] = ['loss', 'last loss']
    for row, folder in zip(rows[1:], folders.values(), strict=True):
        row[3:3] = folder.losses()
    return rows


class Curve:
    """A hallucination curve: NDCG@10 under the sampled protocol, of all users and of tail items, by kind and share."""

    def __init__(self, path: pathlib.Path):
        """Reads the CSV that `python -m grasp_jax.reproduce --figure=robustness` wrote."""
        with path.open(encoding='utf-8', newline='') as file:
            self._found = {(line['corruption'], line['share_percent'], line['method'], line['metric']):
                           float(line['ours']) for line in csv.DictReader(file)
                           if line['protocol'] == 'sampled' and line['ours']}

    def cell(self, kind: str, share: int, method: str) -> str:
        """All users, tail items in brackets; a dash where it was not run."""
        found = [self._found.get((kind, str(share), method, metric)) for metric in ('N@10', 'tail_item:N@10')]
        return '-' if found[0] is None else f'{found[0]:.2f} ({found[1]:.2f})'

    def left(self, kind: str, method: str) -> str:
        """What is left of NDCG@10 with all texts wrong."""
        clean, wrong = (self._found[kind, share, method, 'N@10'] for share in ('0', '100'))
        return f'{100 * wrong / clean:.0f}%'


HEAD = 'NDCG@10 (tail items), test, %'
CALIBRATED = 'GRASP, calibrated, prefix'


def from_curves(folder: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Names and contents of the tables on wrong texts, from the wide tables in `folder`."""
    curve = Curve(folder / 'robustness_gru4rec_beauty_paper.csv')
    rows = [[HEAD, '0%', '50% swapped', '100% swapped', 'left', '50% noise', '100% noise', 'left']]
    for method in ('LLMInit', 'LLM-ESR', 'GRASP as printed', CALIBRATED):
        cells = [curve.cell('items_swap', 0, method)]
        for kind in ('items_swap', 'items_noise'):
            cells += [curve.cell(kind, 50, method), curve.cell(kind, 100, method), curve.left(kind, method)]
        rows.append([method, *cells])
    yield 'wrong_item_texts', report_markdown.markdown(rows)
    rows = [[HEAD, '0%', '10%', '25%', '50%', '75%', '100%']]
    for method in ('LLM-ESR', 'GRASP as printed'):
        for kind, words in (('swap', 'swapped'), ('noise', 'noise')):
            rows.append([f'{method}, {words}', *(curve.cell(f'users_{kind}', share, method)
                                                 for share in (0, 10, 25, 50, 75, 100))])
    yield 'wrong_user_texts', report_markdown.markdown(rows)
    for kind in ('swap', 'noise'):
        rows = [[HEAD, '0%', '50%, items alone', '50%, both', '100%, items alone', '100%, both']]
        for method in ('LLM-ESR', 'GRASP as printed'):
            pairs = [curve.cell(f'{who}_{kind}', share, method) for share in (50, 100) for who in ('items', 'both')]
            rows.append([method, curve.cell(f'items_{kind}', 0, method), *pairs])
        yield f'wrong_texts_of_both_{kind}', report_markdown.markdown(rows)
    demo = Curve(folder / 'robustness_demo_paper.csv')
    rows = [[HEAD, '0%', '10%', '25%', '50%', '75%', '100%']]
    for method in ('LLM-ESR', 'GRASP as printed'):
        rows.append([method, *(demo.cell('users_profile', share, method) for share in (0, 10, 25, 50, 75, 100))])
    yield 'wrong_profiles', report_markdown.markdown(rows)
    gates = _mean_gates(folder / 'robustness_gru4rec_beauty_paper.md')
    yield 'gates_of_wrong_texts', report_markdown.markdown(gates, 2)


def _mean_gates(path: pathlib.Path) -> list[list[str]]:
    """Mean gates of the calibrated form, half of the items' texts wrong."""
    pattern = re.compile(rf'^\| items (\w+), 50% \| {CALIBRATED} \| ([\w ]+), item (\w+) \| (.*) \|$', re.MULTILINE)
    rows = [['texts of items', 'pairs with', 'self', 'similar', 'global']]
    for kind, pairs, which, values in pattern.findall(path.read_text(encoding='utf-8')):
        name = {'swap': 'swapped'}.get(kind, kind)
        rows.append([name, f'{pairs.replace("all candidates", "any candidate")}, {which}', *values.split(' | ')])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the tables; returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', type=pathlib.Path, help='folder of the kept runs, unpacked')
    parser.add_argument('out', type=pathlib.Path, help='folder of the wide tables, which gets the small ones')
    try:
        given = parser.parse_args(arguments)
        for name, text in (*from_runs(given.runs), *from_curves(given.out)):
            artefacts.write_text(given.out / f'{name}.md', text + '\n')
            print(given.out / f'{name}.md')
    except (UserError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    with for_a_reader():
        sys.exit(main())

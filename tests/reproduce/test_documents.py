"""The tables of the documents say what the reports of the runs say."""

import functools
import json
import pathlib
import re
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNS = pathlib.Path()  # of each test the kept runs
PAPER = {'plain': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
         'GRASP as printed': 'grasp_printed', 'GRASP, calibrated gate, prefix': 'grasp',
         'the same with ids': 'grasp_id'}
STRONG = {'plain': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
          'GRASP as printed': 'grasp_printed', 'GRASP, calibrated gate, prefix': 'grasp',
          'GRASP with ids, calibrated gate, prefix': 'grasp_id', 'GRASP with ids, no gate': 'grasp_id_ungated',
          'the same, ids start from the texts': 'grasp_id_ungated_text',
          'GRASP with ids from texts, no gate': 'grasp_id_ungated_text'}
GATES = {('none (w/o attention)', '-'): 'ablation_no_attention',
         ('printed, w/o similar', 'text'): 'ablation_no_similar',
         ('printed, w/o global', 'text'): 'ablation_no_global', ('softmax', 'text'): 'ablation_softmax',
         ('printed (GRASP)', 'text'): 'sasrec_grasp_printed', ('printed', 'prefix'): 'ablation_printed_prefix',
         ('calibrated', 'text'): 'ablation_calibrated_text', ('calibrated (our default)', 'prefix'): 'sasrec_grasp',
         ('hidden space', 'text'): 'ablation_hidden_text', ('hidden space', 'prefix'): 'ablation_hidden_prefix'}
CONTEXTS = {'text': 'text', 'prefix': 'prefix', 'prefix and text with dropout': 'both',
            'text without the last 2': 'held_out', 'leaky text': 'leaky'}
BACKBONES = {'SASRec': 'sasrec', 'GRU4Rec': 'gru4rec', 'BERT4Rec': 'bert4rec'}
GROUPS = {f'{part} {what}s': f'{part}_{what}' for part in ('tail', 'head') for what in ('item', 'user')}


@pytest.fixture(autouse=True)
def runs(kept_runs, monkeypatch):
    monkeypatch.setattr(sys.modules[__name__], 'RUNS', kept_runs / 'beauty', raising=False)


def rows(document, heading, first):
    """Rows by column of the table below a heading whose header begins with `first`, each time it occurs."""
    found, header = [], None
    text = (ROOT / document).read_text(encoding='utf-8')
    for line in text[text.index(f'## {heading}'):].splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if line.startswith(f'| {first} |'):
            header, table = cells, []
            found.append(table)
        elif header and line.startswith('| '):
            table.append(dict(zip(header, cells, strict=True)))
        elif not line.startswith('|'):
            header = None
    return found


def places(columns):
    """Where a report has what stands in a column."""
    groups = 'groups_full' if 'sampled NDCG@10' in columns else 'groups'
    for column in columns:
        words = column.split()
        if column in GROUPS:
            yield column, (groups, GROUPS[column], 'NDCG@10')
        elif words[-1] in ('NDCG@10', 'HR@10'):
            yield column, (words[0] if len(words) > 1 else 'sampled', words[-1])
        elif column == 'full, tail items':
            yield column, ('groups_full', 'tail_item', 'NDCG@10')


def check(row, folder, seed=None):
    """Compares a row with the report of its runs, or of the one with a seed."""
    report = json.loads((folder / 'report.json').read_text(encoding='utf-8'))
    if seed is not None:
        runs = [run for run in report['runs'] if run['seed'] == seed]
        report |= {'runs': runs, 'seeds': [seed], 'test': runs[0]['test']}
    for column, path in places(row):
        mean = 100 * functools.reduce(dict.__getitem__, path, report['test'])
        expected = f'{mean:.2f}'
        if len(report['seeds']) > 1:
            spread = f'{100 * functools.reduce(dict.__getitem__, path, report["std"]["test"]):.2f}'
            expected += f' ± {spread}' if spread != '0.00' or '±' in row[column] else ''
        assert row[column] == expected, (folder.name, column)
    if 'epochs' in row:
        lines = [len((folder / run['run_dir'] / 'metrics.jsonl').read_text().splitlines()) for run in report['runs']]
        assert row['epochs'] == ', '.join(map(str, lines)), folder.name


@pytest.mark.parametrize(('number', 'backbone'), [*enumerate(('sasrec', 'bert4rec', 'gru4rec'))])
def test_results_under_the_papers_recipe(number, backbone):
    table = rows('docs/results/index.md', 'Recipe `paper`', 'model')[number]
    assert [row['model'] for row in table] == list(PAPER)
    for row in table:
        check(row, RUNS / 'paper' / f'{backbone}_{PAPER[row["model"]]}')


def test_results_on_parts_of_the_attention():
    table = rows('docs/results/index.md', 'Table 4', 'gate')[0]
    for row in table:
        del row["paper's NDCG@10"]
        check(row, RUNS / 'paper' / GATES[row['gate'], row['context']])
    assert [(row['gate'], row['context']) for row in table] == list(GATES)


def test_results_on_the_leak_inside_training():
    table = rows('docs/results/index.md', 'The leak inside training', 'gate')[0]
    for row in table:
        folder = RUNS / 'paper' / f'leak_{row["gate"].split()[0]}_{CONTEXTS[row["context"]]}'
        check(row, folder)
        lines = [json.loads(line) for line in (folder / 'seed42' / 'metrics.jsonl').read_text().splitlines()]
        best = max(lines, key=lambda line: line.get('valid_ndcg10', 0))
        assert row['loss'] == f'{best["loss"]:.3f}', folder.name
        assert row['last loss'] == f'{lines[-1]["loss"]:.3f}', folder.name
        assert row['validation'] == f'{100 * best["valid_ndcg10"]:.2f}', folder.name
    assert len({(row['gate'], row['context']) for row in table}) == 15


def test_results_on_neighbours_and_width():
    table = rows('docs/results/index.md', 'Figure 4', 'point')[0]
    for row in table:
        what, number = row['point'].split()
        shared = (what, number) in (('k', '10'), ('width', '64'))
        check(row, RUNS / 'paper' / ('sasrec_grasp' if shared else f'curve_{what}_{number}'), seed=42)
    assert len(table) == 11


def test_results_on_few_purchases():
    ours = rows('docs/results/index.md', 'Figure 3', 'method')[0]
    made = rows('docs/tables/figure3_beauty_paper.md', 'Figure 3', 'method')[0]
    shared = ('text', 'users', 'mean score', 'median', 'above LLM-ESR')
    assert [[row[name] for name in shared] for row in ours] == [[row[name] for name in shared] for row in made[1:]]
    assert [row['method'].replace(' gate', '') for row in ours] == [row['method'] for row in made[1:]]


def test_results_under_the_strong_recipe():
    first, others, *_ = rows('docs/results/index.md', 'Recipe `strong`', 'model')
    found = [('sasrec', STRONG[row['model']], row) for row in first]
    for row in others:
        backbone, method = row['model'].split(', ', 1)
        found.append((BACKBONES[backbone], STRONG[method], row))
    for backbone, method, row in found:
        check(row, RUNS / 'strong' / f'{backbone}_{method}')
    assert len(found) == len(list((RUNS / 'strong').glob('*/report.json'))), 'every run has its row'


def test_the_first_result():
    table = rows('docs/results/index.md', 'A first result', 'test, %')[0]
    for row in table:
        backbone, *method = row['test, %'].removesuffix(', seed 42').split(' + ')
        folder = RUNS.parent / 'beauty_lsa' if row['vectors'] == 'LSA' else RUNS / 'paper'
        check(row, folder / f'{BACKBONES[backbone]}_{"grasp" if method else "none"}')
    assert len(table) == 7


def test_the_table_of_the_readme():
    table = rows('README.md', 'What it is worth', 'SASRec with')[0]
    names = {'nothing (plain)': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
             'GRASP': 'grasp', 'GRASP with ids': 'grasp_id'}
    for row in table:
        for recipe in ('paper', 'strong'):
            ungated = '_ungated_text' if (recipe, names[row['SASRec with']]) == ('strong', 'grasp_id') else ''
            values = {f'{protocol} NDCG@10': row[f'{recipe}, {protocol}'] for protocol in ('sampled', 'full')}
            check(values, RUNS / recipe / f'sasrec_{names[row["SASRec with"]]}{ungated}')
    assert [row['SASRec with'] for row in table] == list(names)


def test_links_between_the_documents_lead_somewhere():
    pages = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md')]
    assert len(pages) > 25
    for page in pages:
        for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8')):
            name, _, anchor = link.partition('#')
            target = page.parent / name if name else page
            if link.startswith('http'):
                continue
            assert target.exists(), (page.name, link)
            if anchor and target.suffix == '.md':
                heads = re.findall(r'^#+ (.*)$', target.read_text(encoding='utf-8'), re.MULTILINE)
                assert anchor in [re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads], link

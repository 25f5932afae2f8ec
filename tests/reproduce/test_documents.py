"""The tables of the documents say what the reports of the runs say."""

import csv
import functools
import json
import pathlib
import re
import sys

import pytest

from grasp_jax.reproduce import page_tables
from tests.test_site import hooks

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RUNS = pathlib.Path()  # of each test the kept runs
PAPER = {'plain': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
         'GRASP as printed': 'grasp_printed', 'GRASP, calibrated gate, prefix': 'grasp',
         'the same with ids': 'grasp_id'}
STRONG = {'plain': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
          'GRASP as printed': 'grasp_printed', 'GRASP, calibrated gate, prefix': 'grasp',
          'GRASP with ids, calibrated gate, prefix': 'grasp_id', 'GRASP with ids, no gate': 'grasp_id_ungated',
          'GRASP with ids from texts, no gate': 'grasp_id_ungated_text', 'GRASP mixed with ids': 'grasp_mixture'}
SWAPPED = {'GRASP mixed with ids, right texts': 'grasp_mixture',
           'GRASP mixed with ids, half swapped': 'grasp_mixture_items_swap_50', 'plain, which reads none': 'none',
           'LLM-ESR, right texts': 'llm_esr', 'LLMInit, right texts': 'llm_init'}
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


def rows(document, first, heading=''):
    """Rows by column of the table whose header begins with `first`, below a heading if one is named."""
    text = (ROOT / document).read_text(encoding='utf-8')
    found, header = [], None
    for line in text[text.index(f'## {heading}') if heading else 0:].splitlines():
        cells = [cell.strip() for cell in line.strip('|').split('|')]
        if line.startswith(f'| {first} |'):
            header = cells
        elif header and line.startswith('| ') and set(line) - set('|-: '):
            found.append(dict(zip(header, cells, strict=True)))
        elif header and not line.startswith('|'):
            break
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


@pytest.mark.parametrize('backbone', ['sasrec', 'bert4rec', 'gru4rec'])
def test_results_under_the_papers_recipe(backbone):
    table = rows(f'docs/tables/paper_{backbone}.md', 'model')
    assert [row['model'] for row in table] == list(PAPER)
    for row in table:
        check(row, RUNS / 'paper' / f'{backbone}_{PAPER[row["model"]]}')


def test_results_on_parts_of_the_attention():
    table = rows('docs/tables/attention_gates.md', 'gate')
    lines = (ROOT / 'grasp_jax/reproduce/published/table4.csv').read_text(encoding='utf-8').splitlines()
    printed = {row['setting']: row['N@10'] for row in csv.DictReader(lines)}
    names = ('w/o Attention', 'w/o HAE similar', 'w/o HAE global', 'Softmax', 'GRASP')
    assert [row["paper's NDCG@10"] for row in table] == [*map(printed.get, names), *'-----']
    for row in table:
        del row["paper's NDCG@10"]
        check(row, RUNS / 'paper' / GATES[row['gate'], row['context']])
    assert [(row['gate'], row['context']) for row in table] == list(GATES)


def test_results_on_the_leak_inside_training():
    table = rows('docs/tables/leak_gates.md', 'gate')
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
    table = rows('docs/tables/neighbours_and_width.md', 'point')
    for row in table:
        what, number = row['point'].split()
        shared = (what, number) in (('k', '10'), ('width', '64'))
        check(row, RUNS / 'paper' / ('sasrec_grasp' if shared else f'curve_{what}_{number}'), seed=42)
    assert len(table) == 11


def test_results_on_few_purchases():
    ours = rows('docs/results/few_purchases.md', 'method')
    made = rows('docs/tables/figure3_beauty_paper.md', 'method')
    shared = ('text', 'users', 'mean score', 'median', 'above LLM-ESR')
    assert [[row[name] for name in shared] for row in ours] == [[row[name] for name in shared] for row in made]
    assert [row['method'].replace(' gate', '') for row in ours] == [row['method'] for row in made]
    assert len(ours) == 6


def test_results_under_the_strong_recipe():
    found = [(backbone, STRONG[row['model']], row) for backbone in BACKBONES.values()
             for row in rows(f'docs/tables/strong_{backbone}.md', 'model')]
    for backbone, method, row in found:
        check(row, RUNS / 'strong' / f'{backbone}_{method}')
    swapped = rows('docs/tables/swapped_texts_strong.md', 'model, seed 42')
    for row in swapped:
        check(row, RUNS / 'strong' / f'sasrec_{SWAPPED[row["model, seed 42"]]}', seed=42)
    assert [row['model, seed 42'] for row in swapped] == list(SWAPPED)
    runs = {f'{backbone}_{method}' for backbone, method, _ in found} | {f'sasrec_{name}' for name in SWAPPED.values()}
    assert runs == {path.parent.name for path in (RUNS / 'strong').glob('*/report.json')}, 'every run has its row'


def test_the_first_result():
    table = rows('docs/tables/beauty_at_a_glance.md', 'test, %')
    for row in table:
        backbone, *method = row['test, %'].removesuffix(', seed 42').split(' + ')
        folder = RUNS.parent / 'beauty_lsa' if row['vectors'] == 'LSA' else RUNS / 'paper'
        check(row, folder / f'{BACKBONES[backbone]}_{"grasp" if method else "none"}')
    assert len(table) == 7


@pytest.mark.parametrize(('recipe', 'methods'), [('paper', PAPER), ('strong', STRONG)])
def test_the_overview(recipe, methods):
    table = rows(f'docs/tables/overview_{recipe}.md', 'method')
    for row in table:
        for backbone, name in BACKBONES.items():
            if (recipe, f'{name}_{methods[row["method"]]}') in {('strong', run) for run in page_tables.NOT_RUN}:
                assert row[f'{backbone}, sampled'] == row[f'{backbone}, full'] == '-'
                continue
            report = json.loads((RUNS / recipe / f'{name}_{methods[row["method"]]}' / 'report.json').read_text())
            for protocol in ('sampled', 'full'):
                assert row[f'{backbone}, {protocol}'] == f'{100 * report["test"][protocol]["NDCG@10"]:.2f}'
    assert len(table) == (7 if recipe == 'paper' else 10)


@pytest.mark.parametrize(('name', 'who', 'kind', 'cells'), [
    ('wrong_item_texts', 'items', '', 20), ('wrong_user_texts', 'users', '', 18),
    ('wrong_texts_of_both_swap', 'both', 'swap', 10), ('wrong_texts_of_both_noise', 'both', 'noise', 10),
    ('wrong_profiles', 'users', 'profile', 12)])
def test_results_on_wrong_texts(name, who, kind, cells):
    """Each cell is that of the wide table, of all users and of tail items."""
    wide = rows(f'docs/tables/robustness_{"demo" if kind == "profile" else "gru4rec_beauty"}_paper.md', 'texts')
    wide = {(row['texts'], row['method']): f'{row["all"]} ({row["tail items"]})' for row in wide}
    compared = 0
    for row in rows(f'docs/tables/{name}.md', 'NDCG@10 (tail items), test, %'):
        words = row.pop('NDCG@10 (tail items), test, %')
        method = words.removesuffix(', swapped').removesuffix(', noise')
        for column, cell in row.items():
            if cell == '-' or column == 'left':
                continue
            which = kind or ('noise' if 'noise' in column + words else 'swap')
            group = 'items' if who == 'both' and not column.endswith('both') else who
            assert cell == wide[f'{group} {which}, {column.split(",")[0].split()[0]}', method], (method, column)
            compared += 1
    assert compared == cells


def test_tables_of_the_pages_are_those_that_the_command_makes(kept_runs, tmp_path):
    for file in (ROOT / 'docs' / 'tables').glob('robustness_*'):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    assert page_tables.main([str(kept_runs), str(tmp_path)]) == 0
    made = [file for file in tmp_path.iterdir() if not file.name.startswith('robustness_')]
    assert len(made) >= 18
    for file in made:
        assert file.read_text(encoding='utf-8') == (ROOT / 'docs' / 'tables' / file.name).read_text(encoding='utf-8')
    included = {name for page in (ROOT / 'docs' / 'results').glob('*.md')
                for name in re.findall(r'--8<-- "tables/(.*?)"', page.read_text(encoding='utf-8'))}
    assert {file.name for file in made} <= included, 'each is on a page'


def test_the_table_of_the_readme():
    table = rows('README.md', 'SASRec with', 'What it is worth')
    names = {'nothing (plain)': 'none', 'RLMRec': 'rlmrec', 'LLMInit': 'llm_init', 'LLM-ESR': 'llm_esr',
             'GRASP': 'grasp', 'GRASP with ids': 'grasp_id', 'GRASP mixed with ids': 'grasp_mixture'}
    for row in table:
        for recipe in ('paper', 'strong'):
            ungated = '_ungated_text' if (recipe, names[row['SASRec with']]) == ('strong', 'grasp_id') else ''
            values = {f'{protocol} NDCG@10': row[f'{recipe}, {protocol}'] for protocol in ('sampled', 'full')}
            if (recipe, names[row['SASRec with']]) == ('paper', 'grasp_mixture'):
                assert set(values.values()) == {'-'}
                continue
            check(values, RUNS / recipe / f'sasrec_{names[row["SASRec with"]]}{ungated}')
    assert [row['SASRec with'] for row in table] == list(names)


def test_links_between_the_documents_lead_somewhere():
    pages = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md'), *(ROOT / 'third_party').rglob('*.md')]
    assert len(pages) > 70
    for page in pages:
        for link in re.findall(r'\]\(([^)\s]+)\)', page.read_text(encoding='utf-8')):
            name, _, anchor = link.partition('#')
            target = page.parent / name if name else page
            if link.startswith('http'):
                continue
            assert target.exists(), (page.name, link)
            if anchor and target.suffix == '.md':
                heads = re.findall(r'^#+ (.*)$', hooks.filled(target.read_text(encoding='utf-8')), re.MULTILINE)
                assert anchor in [re.sub(r'[^\w\- ]', '', head.lower()).replace(' ', '-') for head in heads], link


def test_files_that_the_documents_name_are_there():
    missing, number = set(), 0
    for page in [ROOT / 'README.md', ROOT / 'CONTRIBUTING.md', *(ROOT / 'docs').rglob('*.md'),
                 *(ROOT / 'docs').rglob('*.ipynb')]:
        named = re.findall(r'(?<![\w./-])((?:\w+/)+\w+\.(?:py|sh|sbatch|yaml|toml|csv|md|ipynb))\b',
                           page.read_text(encoding='utf-8'))
        made = ('runs', 'models', 'describe', 'retrieve', 'seed42')  # by a run
        for name in {name for name in named if name.split('/')[0] not in made}:
            number += 1
            if not any((folder / name).exists() for folder in (ROOT, ROOT / 'docs', ROOT / 'grasp_jax', page.parent)):
                missing.add((page.name, name))
    assert number > 100 and not missing

"""The command that makes the paper's tables: its grids, its runs, its cells."""

import csv
import json
import pathlib
import shutil

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config.rules import require
from grasp_jax.evaluation.report_markdown import BACKBONES
from grasp_jax.models.spec import model_spec
from grasp_jax.ranking.metrics import Ranks, save_ranks
from grasp_jax.reproduce import case_study, grid, published, results, runs, tables
from grasp_jax.training.recipe import RECIPE_RULES

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
QUICKLY = '--changes={"train.max_epochs": 1, "data.shop.customers": 100, "model.num_layers": 1}'


def test_published_tables_are_those_of_the_paper():
    overall = published.table(2)
    assert overall['beauty', 'sasrec', 'grasp'].values['N@10'] == 42.76
    assert 'shifted' in overall['fashion', 'gru4rec', 'rlmrec'].note and not overall['beauty', 'sasrec', 'none'].note
    assert published.table(3)['beauty', 'sasrec', 'grasp'].values['tail_item:N@10'] == 26.34
    assert published.table(4)[('Softmax',)].values['H@10'] == 49.17


@pytest.mark.parametrize('cells', [
    grid.overall('beauty', recipe='strong'), grid.ablation(recipe='strong'), grid.curves('strong'),
    grid.leaks(), grid.robustness('demo', list(grid.corruptions('demo')), (50,))],
    ids=('2', '4', 'figure', 'leak', 'robustness'))
def test_every_name_is_one_run_and_every_run_has_one_name(cells):
    configs, base = {}, runs.load_config(str(ROOT / 'configs/beauty.py:minilm'))
    for cell in (*cells, *grid.overall('beauty')):
        config = runs.config_of(cell, base, 'strong', (42,), {'train.max_epochs': 3})
        spec = model_spec(config, 100, 16)
        require(RECIPE_RULES, config)
        assert config.train.loss == (
    'sampled_softmax' if spec.items_depend_on_user or 'no_attention' in cell.name else 'softmax')
        assert config.train.max_epochs == 3
        configs.setdefault(cell.name, set()).add(
            json.dumps([config.model.to_dict(), config.retrieve.to_dict(), config.encode.to_dict(),
                        config.text.to_dict(), config.train.to_dict(),
                        config.data.shop.to_dict()], sort_keys=True))
    assert all(len(found) == 1 for found in configs.values()), 'one name, one run'
    assert len(set.union(*configs.values())) == len(configs), 'one run, one name'


def test_wrong_texts_touch_only_the_methods_that_read_them():
    found = {kind: {cell.settings['model.method']: cell.name
                    for cell in grid.robustness('demo', [kind], (50,), 'gru4rec')
                    if cell.group == f'{kind}, 50%' and 'printed' not in cell.name}
             for kind in ('users_profile', 'items_noise', 'both_noise')}
    clean = {method: f'gru4rec_{method}' for method in ('none', 'llm_init', 'llm_esr', 'grasp')}
    assert found['users_profile'] == {**clean, 'llm_esr': 'gru4rec_llm_esr_users_profile_50'}
    assert found['items_noise'] == {method: name if method == 'none' else f'{name}_items_noise_50'
                                    for method, name in clean.items()}
    # GRASP with the prefix as context and LLMInit read no texts of users.
    assert found['both_noise'] == {**found['items_noise'], 'llm_esr': 'gru4rec_llm_esr_both_noise_50'}


def test_every_row_of_the_papers_beauty_is_in_the_grid():
    keys = {cell.published for cell in grid.overall('beauty')}
    assert {key for key in published.table(2) if key[0] == 'beauty'} == keys
    assert {cell.published for cell in grid.ablation()} - {None} == set(published.table(4))


def times(factor, tree):
    """A tree of numbers, each times a factor."""
    return {key: times(factor, value) if isinstance(value, dict) else factor * value for key, value in tree.items()}


def finished(folder, name, scores, seeds=(1, 2)):
    """A work folder as a run leaves it, with ranks of a hundred users; `scores` is the best rank that occurs."""
    reports = []
    users = np.arange(100)
    for seed in seeds:
        rng = np.random.default_rng(seed)
        ranks = scores + rng.integers(0, 5, 100).astype(np.float32)
        run_dir = folder / name / f'seed{seed}'
        run_dir.mkdir(parents=True)
        save_ranks(run_dir, Ranks(users, users + 1, ranks, ranks + 3))
        reports.append({'seed': seed, 'run_dir': f'seed{seed}'})
    test = {protocol: {f'{metric}@{k}': 0.1 / scores for metric in ('NDCG', 'HR') for k in (1, 3, 5, 10, 20)}
            for protocol in ('sampled', 'full')}
    test['groups'] = {group: times(0.9 - 0.1 * number, test['sampled']) for number, group in enumerate(
        ('tail_user', 'head_user', 'tail_item', 'head_item'))}
    test['full'] = times(0.5, test['full'])
    test['groups_full'] = {group: times(0.5, values) for group, values in test['groups'].items()}
    report = {'schema': 1, 'dataset': 'demo', 'recipe': 'paper', 'seeds': list(seeds), 'runs': reports,
              'test': test, 'std': {'test': times(0.01, test)}}
    (folder / name / 'report.json').write_text(json.dumps(report))


def test_a_table_compares_forms_of_grasp_with_the_best_other_method(tmp_path):
    cells = [cell for cell in grid.overall('beauty') if cell.group == BACKBONES['sasrec']]
    for name, best in (('sasrec_none', 4), ('sasrec_llm_init', 2), ('sasrec_grasp', 1)):
        finished(tmp_path, name, best)
    for what, column in (('table2', 'N@10'), ('table3', 'tail_item:N@10')):
        target = results.write(what, cells, (1, 2), {}, tmp_path, tmp_path / what)
        text = target.read_text()
        assert '3 of 7 rows are done' in text and target.with_suffix('.png').stat().st_size > 1000
        with target.with_suffix('.csv').open() as lines:
            rows = {(row['method'], row['protocol'], row['metric']): row for row in csv.DictReader(lines)}
        first = rows['plain', 'sampled', column]
        assert float(first['ours']) == (2.5 if what == 'table2' else 1.75)
        assert float(first['difference']) == pytest.approx(float(first['ours']) - float(first['paper']))
        assert rows['plain', 'full', column]['paper'] == ''
        gain = rows['GRASP, calibrated, prefix', 'sampled', column]
        assert (gain['against'] == 'LLMInit' and float(gain['gain_points']) > 0) == (what == 'table2')
    text = (tmp_path / 'table2.md').read_text()
    grasp = [row for row in text.splitlines() if row.startswith('| SASRec | GRASP, calibrated')]
    assert grasp and all('↑\\*\\*' in row for row in grasp)
    assert not runs.reports(cells, (3,), tmp_path), 'a table is about the seeds that are asked for'
    found = runs.reports(cells, (1, 2), tmp_path)
    line = next(line for line in tables.lines(cells, found, {}, tmp_path) if line.cell.name == 'sasrec_grasp')
    assert line.against['sampled']['difference'] > 0 and line.against['sampled']['p_value'] < 1e-4


def test_every_figure_stands_in_its_column(tmp_path):
    cells = [cell for cell in grid.overall('beauty') if cell.name == 'sasrec_none']
    finished(tmp_path, 'sasrec_none', 4)
    found = runs.reports(cells, (1, 2), tmp_path)['sasrec_none']
    for protocol, factor in (('sampled', 2.5), ('full', 1.25)):
        for column, share in (('N@10', 1), ('tail_user:N@5', 0.9), ('head_user:H@5', 0.8), ('tail_item:N@10', 0.7),
                              ('head_item:H@10', 0.6)):
            mean, spread = tables.value(found, protocol, column)
            assert mean == pytest.approx(factor * share) and spread == pytest.approx(0.01 * mean), (protocol, column)


@pytest.mark.slow
def test_table_4_compares_every_row_with_the_one_without_attention(tmp_path):
    for name, best in (('ablation_no_attention', 2), ('sasrec_grasp_printed', 2), ('sasrec_grasp', 1)):
        finished(tmp_path, name, best)
    text = results.write('table4', grid.ablation(), (1, 2), {}, tmp_path, tmp_path / 'table4').read_text()
    marks = {row.split(' | ')[1]: '\\*' in row for row in text.splitlines() if row.startswith('| SASRec')}
    assert marks == {'w/o Attention': False, 'GRASP': False, 'calibrated gate, prefix': True}
    assert 'differs from the row without attention' in text
    assert not any(cell.published for cell in grid.ablation('demo')), 'the paper has it on Beauty'
    text = results.write('figure4', grid.curves(), (1, 2), {}, tmp_path, tmp_path / 'figure4').read_text()
    assert 'Wilcoxon' not in text, 'nothing to compare with'


def test_cells_that_contradict_themselves_are_put_in_brackets(tmp_path):
    cells = [cell for cell in grid.overall('fashion') if cell.name == 'gru4rec_none']
    finished(tmp_path, 'gru4rec_none', 1)
    text = results.write('table2', cells, (1, 2), {}, tmp_path, tmp_path / 'table2').read_text()
    assert '[48.58,' in text


def test_an_empty_group_is_a_dash(tmp_path):
    cells = [cell for cell in grid.overall('beauty') if cell.name == 'gru4rec_none']
    finished(tmp_path, 'gru4rec_none', 1)
    path = tmp_path / 'gru4rec_none/report.json'
    report = json.loads(path.read_text())
    for tree in (report['test'], report['std']['test']):
        for protocol in ('groups', 'groups_full'):
            tree[protocol]['tail_item'] = dict.fromkeys(tree[protocol]['tail_item'])
    path.write_text(json.dumps(report))
    for what in ('table2', 'table3'):
        results.write(what, cells, (1, 2), {}, tmp_path, tmp_path / what)
    assert '| -<br>' in (tmp_path / 'table3.md').read_text() and 'nan' not in (tmp_path / 'table3.csv').read_text()
    assert '| -<br>' not in (tmp_path / 'table2.md').read_text()


def test_a_table_says_what_is_not_as_the_recipe_has_it(tmp_path):
    finished(tmp_path, 'sasrec_none', 1)
    for changes, stated in (({}, False), ({'data.source': 'elsewhere'}, False), ({'train.max_epochs': 2}, True)):
        written = results.write('table2', grid.overall('beauty'), (1, 2), changes, tmp_path, tmp_path / 'table2')
        text = written.read_text()
        assert ('**Not the recipe as it stands:** every run has `train.max_epochs=2`.' in text) == stated
        assert ('Not the recipe' in text) == stated


def test_a_data_set_without_texts_runs_what_needs_none():
    cells = grid.possible(grid.overall('fashion'), 'fashion')
    assert [cell.name for cell in cells] == ['sasrec_none', 'gru4rec_none', 'bert4rec_none']
    assert len(grid.possible(grid.overall('beauty'), 'beauty')) == 21


@pytest.mark.slow
def test_gates_are_looked_at_only_where_it_is_known_whose_text_is_wrong(tmp_path):
    """A text that was written from a wrong profile is one of the shop's; no checkpoint is asked for."""
    cells, base = grid.robustness('demo', ['users_profile'], (50,)), runs.load_config(str(ROOT / 'configs/demo.py'))
    for name in ('sasrec_grasp_printed', 'sasrec_grasp_printed_users_profile_50'):
        finished(tmp_path, name, 1)
    text = results.write_robustness(cells, base, 'paper', (1, 2), {}, tmp_path, tmp_path / 'curve').read_text()
    assert '| users profile, 50% | GRASP as printed |' in text and '### Gates' not in text
    assert "the paper's figure" not in text


def test_trust_tells_wrong_texts_of_items_under_the_strong_recipe(tmp_path, monkeypatch):
    cells = grid.robustness('demo', ['items_swap'], (50,), recipe='strong')
    base = runs.load_config(str(ROOT / 'configs/demo.py'))
    mixed = [cell for cell in cells if cell.settings['model.method'] == 'grasp_mixture']
    assert [cell.name for cell in mixed] == ['sasrec_grasp_mixture', 'sasrec_grasp_mixture_items_swap_50']
    stages = tmp_path / 'stages'
    for cell in mixed:
        finished(tmp_path, cell.name, 1, seeds=(1,))
    monkeypatch.setattr(runs, 'stages_of', lambda *_: stages)
    for name in ('encode', 'retrieve'):
        (stages / name).mkdir(parents=True)
    np.save(stages / 'encode' / 'items_corrupted.npy', np.array([True, True, False, False]))
    np.save(stages / 'retrieve' / 'item_trust.npy', np.array([0.5, 0.1, 0.7, 0.6, 0.9], np.float32))
    (stages / 'retrieve' / 'manifest.json').write_text(json.dumps({'facts': {'texts': {'share_wrong': 0.43}}}))
    shared = cells, base, 'strong', (1,), {}, tmp_path, tmp_path / 'curve'
    row = '| items swap, 50% | GRASP mixed with ids | 50% | 43% | 0.750 |'  # 3 of 4 pairs are in the right order
    assert row in results.write_robustness(*shared).read_text()
    shutil.rmtree(stages)
    assert row in results.write_robustness(*shared).read_text(), 'it is kept beside the run'


@pytest.mark.slow
def test_what_is_left_is_a_share_of_the_clean_figure(tmp_path):
    cells, base = grid.robustness('demo', ['items_noise'], (50,)), runs.load_config(str(ROOT / 'configs/demo.py'))
    for name, best in (('sasrec_llm_init', 1), ('sasrec_llm_init_items_noise_50', 4)):
        finished(tmp_path, name, best)
    text = results.write_robustness(cells, base, 'paper', (1, 2), {}, tmp_path, tmp_path / 'curve').read_text()
    row = next(line for line in text.splitlines() if line.startswith('| items noise, 50% | LLMInit'))
    assert [cell.strip() for cell in row.split('|')[3:-1]] == ['2', '2.50', '25%', '1.75', '25%', '1.50', '25%']


def test_the_curve_says_when_only_clean_runs_are_done(tmp_path):
    cells, base = grid.robustness('demo', ['items_noise'], (50,)), runs.load_config(str(ROOT / 'configs/demo.py'))
    finished(tmp_path, 'sasrec_none', 1)
    with pytest.raises(UserError, match='no run on wrong texts is done.*--methods unless it names one'):
        results.write_robustness(cells, base, 'paper', (1, 2), {}, tmp_path, tmp_path / 'curve')


def test_the_case_study_needs_a_run_on_wrong_texts(tmp_path):
    cells, base = grid.case_study('demo'), runs.load_config(str(ROOT / 'configs/demo.py'))
    assert 'sasrec_grasp' in {cell.name for cell in cells}, 'it reads no texts of users'
    finished(tmp_path, 'sasrec_grasp', 1, seeds=(1,))
    with pytest.raises(UserError, match=r'no run of figure3 is done \(--seeds=1\)'):
        results.write_case_study(cells, base, 'paper', (1,), {}, tmp_path, tmp_path / 'figure3')


@pytest.mark.slow
def test_the_command_runs_a_grid_and_goes_on(module, tmp_path):
    flags = ('--table=2', '--dataset=demo', '--backbones=gru4rec', '--methods=none,llm_init', '--seeds=1',
             f'--workdir={tmp_path}', '--changes={"train.max_epochs": 1, "data.shop.customers": 200}')
    first = module('reproduce', *flags)
    assert first.returncode == 0, first.stderr
    assert '2 of 21 rows are done' in first.stdout
    assert 'every run has `train.max_epochs=1`, `data.shop.customers=200`' in first.stdout
    times = [path.stat().st_mtime_ns for path in sorted(tmp_path.glob('demo/paper/*/seed1/test_ranks.npz'))]
    again = module('reproduce', *flags)
    assert again.returncode == 0 and 'up to date' in again.stderr
    assert times == [path.stat().st_mtime_ns for path in sorted(tmp_path.glob('demo/paper/*/seed1/test_ranks.npz'))]
    other = module('reproduce', *flags, '--methods=none', '--seeds=0')
    assert other.returncode == 0, other.stderr
    seeds = {path.parent.name: json.loads(path.read_text())['seeds']
             for path in tmp_path.glob('demo/paper/*/report.json')}
    assert seeds == {'gru4rec_none': [0, 1], 'gru4rec_llm_init': [1]}, 'a seed that is done stays in the report'
    assert '1 of 21 rows are done; seeds 0,' in other.stdout, 'a table is about the seeds that are asked for'
    both = module('reproduce', *flags, '--methods=none', '--seeds=0,1', '--norun')
    assert '2 of 21 rows are done; seeds 0, 1,' in both.stdout, 'a filter says what is run, not what is shown'
    unfiltered = (flags[0], flags[1], *flags[-2:], '--plan')
    plan = module('reproduce', *unfiltered, '--seeds=0,1')
    assert plan.stdout.count('done') == 1 and plan.stdout.count('left') == 20
    assert 'LLMInit (seeds 0)' in plan.stdout
    assert module('reproduce', *unfiltered, '--seeds=0', '--shard=2/7').stdout.count('\n') == 3, 'a share of the rows'
    mixed = module('reproduce', '--table=2', '--dataset=demo', '--norun', '--seeds=1', f'--workdir={tmp_path}')
    assert mixed.returncode == 2 and 'train.max_epochs: 1 -> ' in mixed.stderr, 'runs with other settings'


@pytest.mark.parametrize(('flags', 'message'), [
    ((), 'name either --table'), (('--table=2', '--figure=4'), 'name either --table'),
    (('--table=2', '--shard=3/2'), 'as 2/4'), (('--table=2', '--seeds=a'), 'give numbers'),
    (('--table=2', '--changes=[1]'), 'give a JSON object'),
    (('--table=2', '--changes=epochs'), '--changes=epochs: give a JSON object'),
    (('--table=2', '--changes={"train.seeds": [1]}'), 'seeds are given by --seeds'),
    (('--table=2', '--changes={"model.nothing": 1}', '--dataset=demo'), 'nothing'),
    (('--table=2', '--changes={"train.max_epoch": 1}', '--dataset=demo'), 'did you mean max_epochs?'),
    (('--table=2', '--changes={"evaluate.ks": null}', '--dataset=demo'), 'evaluate.ks=None: give a value, as (1, 3'),
    (('--table=2', '--changes={"data.shop": {}}', '--dataset=demo'), 'one by one, as --config.data.shop.customers'),
    (('--table=2', '--changes={"train.mesh": [1]}', '--dataset=demo', '--workdir=/nowhere'), 'config.train.mesh'),
    (('--figure=robustness', '--kinds=lies'), 'choose among users_swap'),
    (('--figure=robustness', '--shares=0'), 'percents from 1 to 100'),
    (('--figure=robustness', '--backbones=sasrec,gru4rec'), '--figure=robustness takes one'),
    (('--table=2', '--backbones=lstm'), 'choose among sasrec'),
    (('--table=2', '--methods=grasp,llmesr'), '--methods=llmesr: choose among grasp'),
    (('--table=4', '--backbones=gru4rec'), '--backbones: is nothing that --table=4 can be narrowed by'),
    (('--figure=3', '--shares=50'), '--shares: is nothing that --figure=3'),
    (('--table=4', '--dataset=fashion'), '--dataset=fashion: has no texts'),
    (('--figure=robustness', '--dataset=fashion'), '--dataset=fashion: has no texts'),
    (('--table=2', '--norun', '--workdir=/nowhere'), '/nowhere/beauty/paper: there is no such folder'),
    (('--figure=robustness', '--norun', '--workdir=/nowhere'), '/nowhere/beauty/paper: there is no such folder'),
    (('--table=2', '--norun', '--workdir=RUNS', '--seeds=7'), 'no run of table2 is done (--seeds=7)')])
def test_mistakes_are_one_line(module, kept_runs, flags, message):
    found = module('reproduce', *(flag.replace('RUNS', str(kept_runs)) for flag in flags))
    assert found.returncode == 2 and found.stderr.count('\n') <= 2 and message in found.stderr, found.stderr


@pytest.mark.slow
def test_the_hallucination_curve_on_the_shop(module, tmp_path):
    flags = ('--figure=robustness', '--dataset=demo', '--kinds=users_swap', '--shares=100', '--seeds=1',
             '--methods=none,grasp',
             f'--workdir={tmp_path}', QUICKLY)
    found = module('reproduce', *flags)
    assert found.returncode == 0, found.stderr
    assert found.stdout.count('| plain |') == 12 and '| items' not in found.stdout, 'plain has its clean run anywhere'
    assert f"{tmp_path / 'robustness_demo_paper_full.png'}, " in found.stdout.splitlines()[-1]
    gates = [line for line in found.stdout.splitlines() if line.startswith('| users swap, 100% | GRASP as printed')]
    assert len(gates) == 4, 'two protocols and the gates of all candidates and of the next item'
    cells = [row.split('|')[3:5] for row in gates[2:]]
    assert [pairs.strip() for pairs, _ in cells] == ['all candidates, user wrong', 'the next item, user wrong']
    assert all(0.45 < float(gate.split('±')[0]) < 0.6 for _, gate in cells)
    with (tmp_path / 'robustness_demo_paper.csv').open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row['backbone'] for row in rows} == {'SASRec'} and {row['corruption'] for row in rows} == {'users_swap'}
    assert {row['share_percent'] for row in rows} == {'0', '10', '25', '50', '75', '100'} and 'gain_points' in rows[0]
    kept = next(tmp_path.glob('demo/paper/*printed*/seed1/gates.json'))
    before = kept.read_text()
    kept.unlink()
    assert module('reproduce', *flags, '--norun').returncode == 0 and kept.read_text() == before
    assert (tmp_path / 'robustness_demo_paper_full.png').stat().st_size > 1000


def test_the_case_study_says_for_how_many_users_a_method_is_surer(tmp_path):
    found = {'LLM-ESR': np.array([0.2, 0.6, 0.5]), 'GRASP as printed': np.array([0.3, 0.5, 0.7])}
    wrong = np.array([True, True, False])
    text = case_study.write(found, wrong, 'Title', 'A remark.', tmp_path / 'figure3').read_text()
    last = {(row[1], row[2]): row[6] for line in text.splitlines()
            if len(row := [cell.strip() for cell in line.split('|')]) == 8}
    assert (last['GRASP as printed', 'wrong'], last['GRASP as printed', 'right']) == ('50.0%', '100.0%')
    assert (last['LLM-ESR', 'wrong'], last['LLM-ESR', 'right']) == ('-', '-') and '\nA remark.\n' in text


@pytest.mark.slow
def test_the_case_study_on_the_shop(module, tmp_path):
    found = module('reproduce', '--figure=3', '--dataset=demo', '--seeds=1', f'--workdir={tmp_path}',
                   QUICKLY)
    assert found.returncode == 0, found.stderr
    with (tmp_path / 'figure3_demo_paper.csv').open() as lines:
        rows = list(csv.DictReader(lines))
    assert {row['text'] for row in rows} == {'wrong', 'right'} and set(rows[0]) >= {'LLM-ESR', 'GRASP as printed'}
    assert all(0 < float(row['GRASP as printed']) < 1 for row in rows)
    assert (tmp_path / 'figure3_demo_paper.png').stat().st_size > 1000
    kept = tmp_path / 'demo/paper/sasrec_grasp/seed1/checkpoints'
    shutil.rmtree(kept)
    again = module('reproduce', '--figure=3', '--dataset=demo', '--seeds=1', f'--workdir={tmp_path}', '--norun',
                   QUICKLY)
    assert again.returncode == 2 and again.stderr.splitlines()[-1].startswith('error:') and not kept.exists()
    assert f'{kept}: there is no checkpoint' in again.stderr

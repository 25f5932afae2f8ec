"""Finished runs set side by side."""

import json
import shutil

import pytest

from grasp_jax import compare as command
from grasp_jax.evaluation import compare, plots, report
from tests.evaluation.finished import run


@pytest.mark.slow
def test_comparison_table_tests_only_what_can_be_compared(workdirs, tmp_path, shop, capsys):
    run(tmp_path / 'other', shop, seed=7)  # other negatives
    out = tmp_path / 'table.md'
    assert command.main([*map(str, workdirs), str(tmp_path / 'other'), '--out', str(out)]) == 0
    first, better, other = capsys.readouterr().out.splitlines()[2:5]
    assert first.startswith('plain') and '**' in better and '+' in better
    assert 'other users or negatives' in other and out.read_text().count('\n| ') == 4 + 5  # two tables
    gains = []
    for protocol in ('sampled', 'full'):
        table = compare.compare_workdirs(workdirs, [report.load_report(each) for each in workdirs], protocol=protocol)
        test = [report.load_report(each)['test'][protocol]['NDCG@10'] for each in workdirs]
        assert table[0][-2] == f'gain, {protocol} (95% interval)'
        gains.append(float(table[2][-2].split()[0]))
        assert gains[-1] == pytest.approx(100 * (test[1] - test[0]), abs=0.2)  # over the seeds that both have
    assert abs(gains[0] - gains[1]) > 0.5
    picture = str(tmp_path / 'picture.png')
    assert command.main([str(workdirs[0]), str(workdirs[0]), '--plot', picture]) == 2
    printed = capsys.readouterr()
    name = workdirs[0].name
    assert f'{name} and {name} have the same backbone' in printed.err and not printed.out  # known before the table is
    assert command.main([*map(str, workdirs), '--plot', picture]) == 0
    capsys.readouterr()
    assert command.main([str(tmp_path / 'nowhere')]) == 2
    assert capsys.readouterr().err.count('\n') == 1


@pytest.mark.slow
def test_head_and_tail_from_other_borders_are_not_set_side_by_side(workdirs, tmp_path, capsys):
    for workdir, name, least in zip(workdirs, ('first', 'second'), (4, 5), strict=True):
        shutil.copytree(workdir, tmp_path / name)
        found = report.load_report(workdir) | {'thresholds': {'head_user': 9, 'head_item': least}}
        (tmp_path / name / 'report.json').write_text(json.dumps(found))
    both = [str(tmp_path / name) for name in ('first', 'second')]
    assert command.main([*both, '--out', str(tmp_path / 'table.md')]) == 0
    printed = capsys.readouterr().out
    header, first, second = [[cell.strip() for cell in line.split('|')[1:-1]]
                             for line in (tmp_path / 'table.md').read_text().splitlines()[:4] if '---' not in line]
    for name, other in (('tail users', False), ('head users', False), ('tail items', True), ('head items', True)):
        assert first[header.index(name)] != '-' and (second[header.index(name)] == '-') == other
    line = ('Tail and head are left out (-) where their border, in training interactions, is not that of first: '
            'second (items from 5, not 4).')
    assert line in printed.splitlines() and line in (tmp_path / 'table.md').read_text()
    assert command.main([*both, '--plot', str(tmp_path / 'picture.png')]) == 2
    assert 'head items from 4 and from 5' in capsys.readouterr().err


@pytest.mark.slow
def test_runs_among_other_candidates_are_not_drawn_side_by_side(workdirs, tmp_path, capsys):
    shutil.copytree(workdirs[1], tmp_path / 'other')
    found = report.load_report(workdirs[1])
    found['protocol']['candidates'] = 'another'
    (tmp_path / 'other/report.json').write_text(json.dumps(found))
    assert command.main([str(workdirs[0]), str(tmp_path / 'other'), '--plot', str(tmp_path / 'picture.png')]) == 2
    assert 'other candidates' in capsys.readouterr().err and not (tmp_path / 'picture.png').exists()


@pytest.mark.slow
def test_runs_are_compared_at_a_cut_off_that_all_report(workdirs, shop, tmp_path, monkeypatch, capsys):
    run(tmp_path / 'few', shop, method='llm_init', ks=(1, 5))
    run(tmp_path / 'none', shop, method='rlmrec', ks=(7,))
    drawn, picture, draw = [], str(tmp_path / 'picture.png'), plots._bars

    def spy(axes, x, heights, *rest):
        drawn.append(heights)
        draw(axes, x, heights, *rest)

    monkeypatch.setattr(plots, '_bars', spy)
    assert command.main([str(workdirs[0]), str(tmp_path / 'few'), '--plot', picture]) == 0
    printed = capsys.readouterr().out
    assert 'NDCG@5 sampled' in printed and ' - ' not in printed
    for name, heights in zip(('plain', 'few'), drawn, strict=False):
        folder = workdirs[0] if name == 'plain' else tmp_path / name
        assert heights == [100 * report.load_report(folder)['test']['sampled']['NDCG@5']]
    assert command.main([str(workdirs[0]), str(tmp_path / 'none')]) == 0  # the table has a dash
    assert command.main([str(workdirs[0]), str(tmp_path / 'none'), '--plot', picture]) == 2
    assert 'no cut-off in common' in capsys.readouterr().err


def test_a_report_in_place_of_its_folder_is_one_line(workdirs, capsys):
    assert command.main([str(workdirs[0]), str(workdirs[1] / 'report.json')]) == 2
    message = f'{workdirs[1]}/report.json: is a file; name the folder that --workdir was'
    assert capsys.readouterr().err == f'error: {message}\n'


@pytest.mark.parametrize(('flags', 'message'), [
    (['--seed=-1'], '--seed=-1: must be 0 or more'),
    (['--seeds=42,x'], "command line: argument --seeds: '42,x': give numbers, as 42,43 (see --help)"),
    (['--plot=new/x.gif'], '--plot=new/x.gif: name a .png, .pdf or .svg file'),
    (['--plt=x.png'], 'command line: unrecognized arguments: --plt=x.png (see --help)')])
def test_a_wrong_flag_is_one_line(workdirs, capsys, flags, message):
    assert command.main([*map(str, workdirs), *flags]) == 2
    assert capsys.readouterr().err == f'error: {message}\n'


def test_folders_of_one_name_are_told_apart(workdirs, tmp_path, capsys):
    for name in ('first', 'second'):
        shutil.copytree(workdirs[0], tmp_path / name / 'plain')
    assert command.main([str(tmp_path / name / 'plain') for name in ('first', 'second')]) == 0
    first, second = capsys.readouterr().out.splitlines()[2:4]
    assert first.startswith('first/plain') and second.startswith('second/plain')
    assert compare.run_names(workdirs) == ['plain', 'grasp'] and compare.run_names([workdirs[0]] * 2) == ['plain'] * 2


@pytest.mark.slow
def test_some_seeds_are_compared_alone(tmp_path, shop, capsys):
    for name, best in (('weak', 0.6), ('strong', 0.3)):
        run(tmp_path / name, shop, seeds=(42, 43), best=best)
        run(tmp_path / f'{name}_43', shop, seeds=(43,), best=best)
    both = [str(tmp_path / name) for name in ('weak', 'strong')]
    rows = []
    for given in ([*both, '--seeds=43'], [f'{name}_43' for name in both], both):
        assert command.main(given) == 0
        rows.append([line.split()[1:] for line in capsys.readouterr().out.splitlines()[2:4]])
    assert rows[0] == rows[1] != rows[2]
    assert command.main([*both, '--seeds=42,44']) == 2
    assert f'--seeds=42,44: {both[0]} has 42, 43; name seeds that all runs have' in capsys.readouterr().err

"""Values beyond accuracy on their way from the lists of a run into its report and into comparisons."""

import json
import shutil

import jax
import numpy as np
import pytest

from grasp_jax import compare as command
from grasp_jax import config as configs
from grasp_jax.common.errors import UserError
from grasp_jax.evaluation import beyond_accuracy, compare, report
from grasp_jax.evaluation.groups import group_masks
from grasp_jax.pipeline.stages import run_pipeline
from grasp_jax.ranking import metrics
from grasp_jax.ranking.lists import LISTS_FILE, Lists, load_lists, save_lists
from tests.evaluation.finished import run
from tests.tiny_runs import tiny_config, write_table

pytestmark = pytest.mark.slow

KS = (1, 3, 5, 10, 20)


def test_a_report_has_the_values_of_the_lists_of_its_run(tmp_path, shop):
    vectors = np.random.default_rng(5).normal(size=(shop.num_items + 1, 6)).astype(np.float16)
    found = run(tmp_path, shop, vectors=vectors)['test']['beyond_accuracy']
    users, items = load_lists(tmp_path / 'seed_42')
    known = beyond_accuracy.known_of(shop, vectors)
    ungrouped = {name: value for name, value in found.items() if name != 'groups'}
    assert ungrouped == beyond_accuracy.of_lists(items, KS, known)
    masks = group_masks(shop, users, shop.targets('test'), configs.default())
    assert found['groups'] == beyond_accuracy.of_groups(
        items, users, shop, {name: masks[name] for name in ('tail_user', 'head_user')}, KS, known)
    assert 0.2 < found['Coverage@20'] <= 0.3 and found['Diversity@20'] > 0.5
    assert run(tmp_path / 'plain', shop)['test']['beyond_accuracy']['Diversity@20'] is None


def test_several_seeds_give_means_and_the_pages_show_them(tmp_path, shop):
    found = run(tmp_path, shop, seeds=(1, 2))
    each = [part['test']['beyond_accuracy']['groups']['head_user']['PopularityLift@10'] for part in found['runs']]
    assert found['test']['beyond_accuracy']['groups']['head_user']['PopularityLift@10'] == pytest.approx(np.mean(each))
    number = f'{100 * np.mean(each):+.1f} ± {100 * np.std(each, ddof=1):.1f}'
    for text in ((tmp_path / 'report.md').read_text(), report.render_terminal(found)):
        assert number in text and 'popularity lift, %' in text and 'catalogue coverage, %' in text
    json.loads((tmp_path / 'report.json').read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize('depth', (0, 7))
def test_without_lists_as_deep_as_k_there_are_no_values(tmp_path, shop, depth):
    found = run(tmp_path, shop, depth=depth)
    assert found['test']['beyond_accuracy'] is None and 'coverage' not in report.render_terminal(found)
    del found['test']['beyond_accuracy']  # as in a report of before
    assert 'coverage' not in report.render_terminal(found) + report.render_markdown(found)


def test_lists_of_other_users_are_refused(tmp_path, shop):
    run(tmp_path, shop)
    users, items = load_lists(tmp_path / 'seed_42')
    for wrong in (Lists(users[1:], items[1:]), Lists(users, items + shop.num_items)):
        save_lists(tmp_path / 'seed_42', wrong)
        config = configs.default()
        with pytest.raises(UserError, match=r'test_lists\.npz: holds lists of other users or items .*; delete it'):
            report.write_report(tmp_path, config, [tmp_path / 'seed_42'], {}, shop)


def test_a_comparison_sets_the_values_side_by_side(tmp_path, shop, capsys):
    for name, depth in (('first', 20), ('old', 0), ('third', 20)):
        run(tmp_path / name, shop, depth=depth, best=0.9 if name == 'third' else 0.3)
    paths = [str(tmp_path / name) for name in ('first', 'old', 'third')]
    assert command.main([*paths, '--out', str(tmp_path / 'table.md')]) == 0
    printed = capsys.readouterr().out
    rows = compare.beyond_rows([tmp_path / name for name in ('first', 'old', 'third')],
                               [report.load_report(tmp_path / name) for name in ('first', 'old', 'third')])
    assert rows[0][:3] == ['run', '% coverage@10', 'Gini@10'] and rows[2] == ['old', *['-'] * 8]
    assert float(rows[3][1]) > float(rows[1][1]) + 20
    assert not any(name.startswith('diversity') for name in rows[0]), 'no run has vectors'
    for text in (printed, (tmp_path / 'table.md').read_text()):
        assert rows[0][1] in text and rows[3][1] in text
    assert command.main([paths[1], '--out', str(tmp_path / 'table.md')]) == 0
    assert 'coverage' not in capsys.readouterr().out


@pytest.mark.parametrize('settings', ({'model__gate': 'none'}, {'model__method': 'none'}))
def test_a_run_lists_what_its_model_ranks_first_and_makes_up_for_lists_that_are_not_there(tmp_path, settings):
    write_table(tmp_path / 'data')
    config, workdir = tiny_config(tmp_path / 'data', **settings), tmp_path / 'run'
    found = run_pipeline(config, workdir)
    folder = workdir / 'seed42'
    ranks, lists = metrics.load_ranks(folder), load_lists(folder)
    np.testing.assert_array_equal(lists.users, ranks.users)
    place = [(row == target).argmax() + 1 if target in row else 99
             for row, target in zip(lists.items, ranks.targets, strict=True)]
    whole = ranks.full % 1 == 0
    near = whole & (ranks.full <= 5)
    assert near.sum() > 3 and lists.items.shape == (40, 5)
    np.testing.assert_array_equal(np.array(place)[near], ranks.full[near])
    values = found['test']['beyond_accuracy']
    assert (values['Diversity@5'] is None) == ('model__method' in settings) and values['Coverage@5'] > 0.1

    written = (folder / metrics.RANKS_FILE).read_bytes()
    (folder / LISTS_FILE).unlink()
    again = run_pipeline(config, workdir)
    assert again['test'] == found['test'] and (folder / metrics.RANKS_FILE).read_bytes() == written
    time = (folder / LISTS_FILE).stat().st_mtime_ns
    fewer = run_pipeline(tiny_config(tmp_path / 'data', evaluate__ks=(1, 3), **settings), workdir)
    assert (folder / LISTS_FILE).stat().st_mtime_ns == time, 'what is there is deep enough'
    names = {f'{name}@{k}' for k in (1, 3) for name in beyond_accuracy.OF_ALL}
    assert set(fewer['test']['beyond_accuracy']) == {'groups', *names}
    deeper = run_pipeline(tiny_config(tmp_path / 'data', evaluate__ks=(5, 50), **settings), workdir)
    assert load_lists(folder).items.shape == (40, 36), 'there are no more items'
    assert deeper['test']['beyond_accuracy']['Coverage@5'] == values['Coverage@5']
    assert deeper['test']['beyond_accuracy']['Coverage@50'] == 1

    (folder / LISTS_FILE).unlink()
    shutil.rmtree(folder / 'checkpoints')  # as of results that were handed on
    jax.clear_caches()
    assert run_pipeline(config, workdir)['test']['beyond_accuracy'] is None

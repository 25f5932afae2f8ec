import json
import pathlib
import runpy
import statistics

import matplotlib.image
import numpy as np
import pytest

from grasp_jax import config as configs
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.data import filters, source_reader
from grasp_jax.data.interactions import Interactions, numbers_of_negatives
from grasp_jax.evaluation import history, plots, report
from grasp_jax.ranking import metrics
from grasp_jax.training import metrics_log
from tests.evaluation.finished import run

PICTURES = ('training_curve.png', 'metric_by_k.png', 'groups.png')


@pytest.mark.slow
def test_values_are_those_of_the_ranks(workdirs, shop):
    workdir = workdirs[0]
    found = report.load_report(workdir)
    ranks = metrics.load_ranks(workdir / found['runs'][0]['run_dir'])
    ks = (1, 3, 5, 10, 20)
    assert found['seed'] == 42 and found['seeds'] == [42] and 'std' not in found
    assert (found['dataset'], found['backbone'], found['method'], found['recipe'], found['gate']) == (
        'corner_shop', 'sasrec', 'none', 'paper', None)
    for protocol in ('sampled', 'full', 'full_unmasked'):
        assert found['test'][protocol] == pytest.approx(metrics.summarise(getattr(ranks, protocol), ks))
    assert found['validation'] == {'NDCG@10': 0.2, 'HR@10': 0.4, 'epoch': 2}
    assert found['training'] == {'seconds': 6.0, 'epochs': 3}
    assert found['data']['users'] == 120 and found['data']['evaluated_users'] == len(shop.evaluated_users())


@pytest.mark.slow
def test_where_some_users_are_ranked_the_report_counts_them_alone(tmp_path, shop):
    found = run(tmp_path, shop, max_users=30)
    assert found['data']['evaluated_users'] == found['counts']['users'] == 30 and found['data']['users'] == 120
    assert '30 users evaluated' in report.render_terminal(found)
    everybody = run(tmp_path / 'all', shop)
    assert found['protocol']['candidates'] != everybody['protocol']['candidates']


@pytest.mark.slow
def test_ranks_of_before_there_was_an_unmasked_protocol_make_a_report_without_it(tmp_path, shop):
    old = run(tmp_path / 'old', shop, seeds=(1, 2), unmasked=False)
    assert old['test']['full_unmasked'] is None and old['std']['test']['full_unmasked'] is None
    new = run(tmp_path / 'new', shop, seeds=(1, 2))
    assert new['test']['full_unmasked']['HR@10'] < new['test']['full']['HR@10']
    assert old['test']['full'] == new['test']['full']
    mixed = metrics.load_ranks(tmp_path / 'new/seed_2')._replace(full_unmasked=None)
    metrics.save_ranks(tmp_path / 'new/seed_2', mixed)
    config = configs.default()
    config.data.name, config.train.seeds = 'corner_shop', (1, 2)
    both = report.write_report(tmp_path / 'new', config, [tmp_path / f'new/seed_{seed}' for seed in (1, 2)], {}, shop)
    assert both['test']['full_unmasked'] is None and both['runs'][0]['test']['full_unmasked'] is not None
    for found, there in ((old, False), (new, True), (both, False)):
        assert ('full, seen items too' in report.render_terminal(found)) == there
        assert ('full, seen items too' in report.render_markdown(found)) == there
    for each in (old['test'], old['protocol'], *(each['test'] for each in old['runs'])):
        del each['full_unmasked']  # as in a report of before
    assert 'seen items too' not in report.render_terminal(old) + report.render_markdown(old)


@pytest.mark.slow
def test_groups_together_are_all_users(workdirs):
    for found in map(report.load_report, workdirs):
        counts = found['counts']
        for protocol, tree in (('sampled', 'groups'), ('full', 'groups_full')):
            for kind in ('user', 'item'):
                sizes = [counts[f'{side}_{kind}'] for side in ('tail', 'head')]
                values = [found['test'][tree][f'{side}_{kind}']['NDCG@10'] for side in ('tail', 'head')]
                assert sum(sizes) == counts['users']
                assert np.dot(sizes, values) / sum(sizes) == pytest.approx(found['test'][protocol]['NDCG@10'])


@pytest.mark.slow
def test_several_seeds_give_mean_and_deviation(workdirs):
    found = report.load_report(workdirs[1])
    assert 'seed' not in found and [part['seed'] for part in found['runs']] == [42, 43, 44]
    values = [part['test']['groups']['tail_item']['HR@5'] for part in found['runs']]
    assert found['test']['groups']['tail_item']['HR@5'] == pytest.approx(statistics.mean(values))
    assert found['std']['test']['groups']['tail_item']['HR@5'] == pytest.approx(statistics.stdev(values))
    assert found['training'] == {'seconds': 18.0, 'epochs': 9}


@pytest.mark.slow
def test_what_a_report_says_of_some_seeds_is_what_a_report_on_them_says(tmp_path, shop):
    several = run(tmp_path / 'several', shop, seeds=(1, 2, 3))
    for seeds in ((2,), (1, 3), (1, 2, 3)):
        alone, some = run(tmp_path / str(seeds), shop, seeds=seeds), report.of_seeds(several, (*seeds, 9))
        for key in ('seeds', 'test', 'validation', 'training'):
            assert some[key] == alone[key]
        assert all(some.get(key) == alone.get(key) for key in ('seed', 'std'))
        assert [each['seed'] for each in some['runs']] == list(seeds)
    assert report.of_seeds(several, (9,)) is None


@pytest.mark.slow
def test_seeds_of_other_vectors_are_named(tmp_path, shop):
    for seed, made_of in ((1, 'a'), (2, 'b'), (3, 'a'), (4, '')):
        (tmp_path / f'seed_{seed}').mkdir()
        artefacts.claim(tmp_path / f'seed_{seed}', {}, [], made_of=made_of)
    words = 'seeds 1, 3 and seeds 2 were trained on other texts or vectors'
    mixed = run(tmp_path, shop, seeds=(1, 2, 3, 4))
    assert words in mixed['mixed']
    assert words in report.render_terminal(mixed) and words in (tmp_path / 'report.md').read_text()
    alike = run(tmp_path, shop, seeds=(1, 3, 4))
    assert alike['mixed'] is None and 'Beware' not in report.render_terminal(alike)


def test_pages_name_the_protocol_and_carry_the_numbers(workdirs):
    for workdir in workdirs:
        found = report.load_report(workdir)
        page, screen = (workdir / 'report.md').read_text(), report.render_terminal(found)
        number = f'{100 * found["test"]["full"]["NDCG@10"]:.2f}'
        for text in (page, screen):
            assert number in text and 'sampled' in text and 'full' in text and '100 negatives' in text
        assert found['command'] in page
        for picture in PICTURES:
            assert f'(plots/{picture})' in page
    assert ' ± ' in screen


def test_pictures_are_pictures(workdirs, tmp_path):
    plots.comparison([report.load_report(workdir) for workdir in workdirs], tmp_path / 'comparison.png')
    for path in [*(workdirs[1] / 'plots' / name for name in PICTURES), tmp_path / 'comparison.png']:
        image = matplotlib.image.imread(path)
        assert image.shape[1] >= 1200 and image[..., :3].std() > 0.02
        assert not list(path.parent.glob('*.partial'))


@pytest.mark.slow
def test_an_empty_group_is_null_in_json_and_a_dash_on_the_page(tmp_path, shop):
    found = run(tmp_path, shop, seeds=(1, 2), head_user=1000)
    text = (tmp_path / 'report.json').read_text()
    assert json.loads(text, parse_constant=pytest.fail)['test']['groups']['head_user']['NDCG@10'] is None
    assert found['std']['test']['groups_full']['head_user']['MRR'] is None and found['counts']['head_user'] == 0
    assert '| head users | 0 | - | - | - | - |' in (tmp_path / 'report.md').read_text()


@pytest.mark.parametrize(('rows', 'repeats', 'words'), [
    (0, 0, '0 interactions.'), (5, 5, '5 interactions (5 repeats).'), (1500, 0, '1,500 interactions (1,500 filtered).'),
    (7, 5, '7 interactions (5 repeats, 2 filtered).')])
def test_a_repeat_is_left_out_once(workdirs, rows, repeats, words):
    found = report.load_report(workdirs[0])
    found['stages']['prepare']['dropped'] = {'users': 1, 'items': 2, 'interactions': rows, 'repeats': repeats}
    assert f'Left out of the source: 1 users, 2 items, {words}\n' in report.render_markdown(found)


def test_tests_that_no_time_decides_are_counted(workdirs):
    found = report.load_report(workdirs[0])
    assert 'have the same time' not in report.render_markdown(found)  # as in reports that do not state it
    found['stages']['prepare']['tied_ends'] = 1234
    assert 'The last two interactions of 1,234 evaluated users have the same time' in report.render_markdown(found)


def test_few_negatives_are_warned_of(workdirs, tmp_path, shop, monkeypatch):
    for name in ('training_curve', 'metric_by_k', 'group_bars'):
        monkeypatch.setattr(plots, name, lambda *given: None)
    found = run(tmp_path, shop, negatives=18)
    line = 'a model that scores all items alike has a sure hit at 10, 20 among 18 negatives (sampled)'
    assert line in found['protocol']['warning']
    assert line in report.render_terminal(found) and line in (tmp_path / 'report.md').read_text()
    assert report.load_report(workdirs[0])['protocol']['warning'] is None


@pytest.mark.slow
def test_versions_are_those_that_the_seeds_were_made_with(tmp_path, shop):
    today = run(tmp_path / 'new', shop)['versions']
    for seed, jax in ((42, '0.1'), (43, '0.2')):
        (tmp_path / f'old/seed_{seed}').mkdir(parents=True)
        (tmp_path / f'old/seed_{seed}/manifest.json').write_text(json.dumps({'versions': {**today, 'jax': jax}}))
    assert run(tmp_path / 'old', shop, seeds=(42, 43))['versions'] == {**today, 'jax': '0.1 and 0.2'}


@pytest.mark.slow
def test_where_all_items_are_negatives_the_protocols_are_said_to_be_one(tmp_path, shop):
    most = numbers_of_negatives(shop)[1]
    for count, one in ((most, True), (most - 1, False)):
        found = run(tmp_path / str(count), shop, negatives=count)
        assert ('both protocols are one' in found['protocol']['sampled']) == one


def test_of_the_small_example_of_own_data_one_cut_off_can_be_reached_by_ties_alone():
    path = pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'own_data.py'
    config = runpy.run_path(str(path))['get_config']()
    example = filters.sequences(source_reader.SourceReader(config).log, config.data).interactions
    assert metrics.tied_hits(config.evaluate.ks, numbers_of_negatives(example)[0]) == [20]


@pytest.mark.slow
def test_ranks_of_another_data_set_are_refused(tmp_path, shop):
    run(tmp_path, shop)
    less = Interactions(shop.indptr[:-10], shop.items[:shop.indptr[-11]], shop.num_items)
    config = configs.default()
    with pytest.raises(UserError, match='not the .* evaluated users'):
        report.write_report(tmp_path, config, [tmp_path / 'seed_42'], {}, less)


@pytest.mark.parametrize('line', ['{"epoch": 1', '{"epoch": 1, "loss": 0.5}', '\0\0\0', '[]', '{"epoch": "one"}'])
def test_a_bad_line_of_training_is_named(tmp_path, line):
    (tmp_path / metrics_log.METRICS_FILE).write_text(line + '\n')
    with pytest.raises(UserError, match=r'metrics\.jsonl: line 1 is not'):
        history.load_history(tmp_path)


def test_an_epoch_repeated_after_a_restart_counts_once(tmp_path):
    rows = [{'epoch': epoch, 'loss': 1.0, 'valid_ndcg10': value, 'valid_hr10': 0.5, 'seconds': 3.0}
            for epoch, value in [(1, 0.1), (2, 0.9), (2, 0.2), (3, 0.2)]]
    (tmp_path / metrics_log.METRICS_FILE).write_text(''.join(json.dumps(row) + '\n' for row in rows))
    found = history.load_history(tmp_path)
    assert found.epochs == [1, 2, 3] and found.seconds == 9.0 and found.epochs[found.best] == 2
    with pytest.raises(UserError, match='holds no epoch'):
        history.load_history(tmp_path / 'nowhere')
    (tmp_path / metrics_log.METRICS_FILE).write_bytes(b'{"epoch": 1\xff}\n')
    with pytest.raises(UserError, match='cannot be read'):
        history.load_history(tmp_path)


def test_what_is_no_report_is_refused(tmp_path):
    with pytest.raises(UserError, match='there is no report'):
        report.load_report(tmp_path)
    (tmp_path / 'report.json').write_text('{}')
    with pytest.raises(UserError, match='not a report'):
        report.load_report(tmp_path)

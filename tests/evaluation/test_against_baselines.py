"""Baselines beside a model in the report and in comparisons, and what a person is told first."""

import json
import shutil

import matplotlib.image
import numpy as np
import pytest

from grasp_jax import compare as command
from grasp_jax import config as configs
from grasp_jax.common import artefacts
from grasp_jax.data import dataset as dataset_files
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import draw_negatives
from grasp_jax.evaluation import against_baselines, baselines, examples, plots, report
from grasp_jax.evaluation.history import History
from grasp_jax.ranking import metrics
from grasp_jax.ranking.lists import load_lists
from tests.evaluation.finished import run

USERS = np.arange(400, dtype=np.int32)
KS = (1, 5, 10)


def ranks_at(share, seed=0, users=USERS):
    """Ranks of which so large a share is 1 and the rest 50."""
    places = np.where(np.random.default_rng(seed).random(len(users)) < share, 1.0, 50.0).astype(np.float32)
    return metrics.Ranks(users, users, places, places + 1)


def told(table, place):
    return {'baselines': table, 'standing': place, 'counts': {'users': len(USERS)}}


def test_the_model_stands_beside_the_best_baseline_of_full_ranking():
    found = {'popularity': ranks_at(0.1, 1), 'item_knn': ranks_at(0.5, 2), 'transitions': ranks_at(0.4, 3)}
    runs = [ranks_at(0.3, 4), ranks_at(0.3, 5)]
    table, place = against_baselines.beside(runs, found, KS)
    values = {name: metrics.summarise(ranks.full, KS)['NDCG@10'] for name, ranks in found.items()}
    mine = np.mean([metrics.summarise(each.full, KS)['NDCG@10'] for each in runs])
    assert place['best'] == 'item_knn' and place['behind'] == ['item_knn', 'transitions'] and place['mark'] == '**'
    assert place['difference'] == pytest.approx(mine - values['item_knn']) and place['high'] < 0
    assert table['model']['full']['NDCG@10'] == pytest.approx(mine) and table['users'] == 400
    assert table['popularity']['sampled'] == metrics.summarise(found['popularity'].sampled, KS)
    line = against_baselines.first_line(told(table, place))
    best, gain = 100 * values['item_knn'], 100 * (mine - values['item_knn'])
    assert line.startswith('Behind item-KNN and first-order transitions: full NDCG@10 '
                           f'{100 * mine:.2f}%, item-KNN {best:.2f}% ({gain:+.2f} points')
    assert 'significant' not in line
    line = against_baselines.first_line(told(table, {**place, 'mark': ''}))
    assert line.startswith('Behind item-KNN and first-order transitions, though not significantly behind the best of '
                           'them: full NDCG@10') and line.endswith(')')


@pytest.mark.parametrize(('mine', 'start', 'end'), [
    (0.9, 'Ahead of all 2 baselines: full NDCG@10', 'points, 95% interval'),
    (0.505, 'Not clearly ahead of every', 'no significant difference'),
    (0.495, 'Behind item-KNN, though not significantly: full NDCG@10', 'points, 95% interval')])
def test_the_first_line_says_what_can_be_told(mine, start, end):
    best = ranks_at(0, 1)._replace(full=np.where(USERS < 200, 1, 90).astype(np.float32))
    own = ranks_at(0, 1)._replace(full=np.where(USERS[::-1] < 400 * mine, 1, 90).astype(np.float32))
    baselines = {'popularity': ranks_at(0.1), 'item_knn': best}
    line = against_baselines.first_line(told(*against_baselines.beside([own], baselines, KS)))
    assert line.startswith(start) and end in line and not ('Behind' in line and 'no significant' in line)


def test_of_many_users_a_sample_is_compared_with_the_model_on_the_same_ones():
    some = USERS[::4]
    found = {'popularity': ranks_at(0.2, 1, some)}
    own = ranks_at(0.3, 2)
    table, place = against_baselines.beside([own], found, KS)
    assert table['users'] == 100
    assert table['model']['full'] == metrics.summarise(own.full[::4], KS)
    assert 'full NDCG@10 of 100 users' in against_baselines.first_line(told(table, place))
    assert against_baselines.beside([own], {}, KS) == (None, None)


@pytest.mark.slow
def test_report_pages_and_comparison_show_the_baselines(tmp_path, shop, capsys):
    negatives = draw_negatives(shop, 100, 42)
    found = baselines.by_counts(shop, baselines.ranked(shop, negatives))
    ahead = run(tmp_path / 'ahead', shop, best=0.01, baselines=found)
    behind = run(tmp_path / 'behind', shop, best=1.0, seeds=(1, 2), baselines=found)
    assert against_baselines.first_line(ahead).startswith('Ahead of all 5') and behind['standing']['behind']
    for workdir, each in ((tmp_path / 'ahead', ahead), (tmp_path / 'behind', behind)):
        page, screen = (workdir / 'report.md').read_text(), report.render_terminal(each)
        line = against_baselines.first_line(each)
        assert page.startswith(line + '.\n\n# corner_shop') and screen.startswith(line + '\n')
        value = f'{100 * metrics.summarise(found["item_knn_last3"].full, (10,))["NDCG@10"]:.2f}'
        assert value in page and value in screen and 'item-KNN over the last 3 items' in screen
        assert '![Baselines and this model](plots/baselines.png)' in page
        assert matplotlib.image.imread(workdir / 'plots/baselines.png').shape[1] >= 1200
    assert command.main([str(tmp_path / 'ahead'), str(tmp_path / 'behind')]) == 0
    printed = capsys.readouterr().out
    assert printed.count('first-order transitions') == 2  # a row, and what one run is behind
    line = against_baselines.first_line(behind)
    assert f'behind: {line[:1].lower()}{line[1:]}.' in printed
    assert 'ahead: ' not in printed
    alone = report.of_seeds(report.load_report(tmp_path / 'behind'), (1,))
    assert against_baselines.first_line(alone) == ''  # it is about both seeds
    old = run(tmp_path / 'ahead', shop, best=0.01)
    for key in ('baselines', 'standing', 'unfinished', 'examples', 'vectors_from'):
        del old[key]  # as in a report of before
    assert not (tmp_path / 'ahead/plots/baselines.png').exists()
    assert report.render_markdown(old).startswith('# corner_shop') and 'vectors lsa' in report.render_terminal(old)


def test_baselines_are_ranked_once_for_what_was_prepared(tmp_path, shop, monkeypatch):
    config, vectors = configs.default(), np.random.default_rng(0).normal(size=(151, 4)).astype(np.float32)
    known = prepared(tmp_path, shop)
    whole = against_baselines.ranks_of(tmp_path, known, config, vectors)
    sample = baselines.ranked(shop, known.negatives['test'])
    expected = baselines.by_counts(shop, sample) | baselines.by_vectors(shop, sample, vectors[1:])
    assert list(whole) == list(expected)
    for name, ranks in expected.items():
        assert np.array_equal(whole[name].full, ranks.full) and np.array_equal(whole[name].sampled, ranks.sampled)

    def no_more(*_):
        raise AssertionError('they are there')

    with monkeypatch.context() as patch:
        patch.setattr(baselines, 'by_counts', no_more)
        patch.setattr(baselines, 'by_vectors', no_more)
        again = against_baselines.ranks_of(tmp_path, known, config, vectors)
        assert np.array_equal(again['content'].full, whole['content'].full)
        assert 'content' not in against_baselines.ranks_of(tmp_path, known, config)  # of a method that reads no texts
    config.evaluate.max_users = 20
    assert len(against_baselines.ranks_of(tmp_path, known, config)['popularity'].users) == 20
    config.evaluate.max_users = 0
    manifest = artefacts.read_json(tmp_path / 'prepare' / artefacts.MANIFEST)
    artefacts.write_json(tmp_path / 'prepare' / artefacts.MANIFEST, {**manifest, 'fingerprint': 'another'})
    with monkeypatch.context() as patch, pytest.raises(AssertionError, match='they are there'):
        patch.setattr(baselines, 'by_counts', no_more)
        against_baselines.ranks_of(tmp_path, known, config)


def prepared(folder, shop):
    """A prepared data set of the shop, and manifests of two stages."""
    def fill(partial):
        negatives = {split: [draw_negatives(shop, 100, 42)] for split in ('valid', 'test')}
        dataset_files.write_arrays(partial, 'corner_shop', shop, negatives)
        dataset_files.write_entities(partial / 'users.jsonl', ((f'u{user}', {}) for user in range(shop.num_users)))
        dataset_files.write_entities(partial / 'items.jsonl', (
            (f'i{item}', {'title': f'Thing | {item}\nof  *many*'} if item % 3 else {}) for item in range(1, 151)))
        return {}

    artefacts.build(folder / 'prepare', {}, [], fill)
    artefacts.build(folder / 'encode', {}, [], lambda partial: {})
    return dataset_files.load(folder / 'prepare')


@pytest.mark.slow
def test_ten_lists_have_the_titles_of_the_stored_lists(tmp_path, shop):
    known: Dataset = prepared(tmp_path, shop)
    found = run(tmp_path / 'run', shop, best=0.02, dataset=known)['examples']
    lists, ranks = load_lists(tmp_path / 'run/seed_42'), metrics.load_ranks(tmp_path / 'run/seed_42')
    assert len(found) == 10 and len({each['user'] for each in found}) == 10
    for each in found:
        row = list(ranks.users).index(int(each['user'][1:]))
        names = [f'Thing | {item} of *many*' if item % 3 else f'i{item}' for item in range(151)]
        assert each['list'] == [names[item] for item in lists.items[row, :5]]
        assert each['held_out'] == names[ranks.targets[row]] and each['rank'] == ranks.full[row]
        assert each['newest'] == [names[item] for item in shop.sequence(int(ranks.users[row]), 'test')[-3:]]
        assert each['place'] == next((i for i, title in enumerate(each['list'], 1) if title == each['held_out']), None)
    rows = examples.rows({'examples': found})
    assert all(len(row) == 5 for row in rows) and 'Thing \\| ' in str(rows[1:]).replace('\\\\', '\\')
    assert '## Ten lists' in (tmp_path / 'run/report.md').read_text()
    shutil.rmtree(tmp_path / 'run')
    assert run(tmp_path / 'run', shop, depth=0, dataset=known)['examples'] == []  # a run of an earlier version


@pytest.mark.parametrize(('values', 'settings', 'unfinished'), [
    ([.1, .2, .3, .4, .5], {}, True), ([.1, .2, .5, .4, .3], {}, True), ([.1, .5, .4, .3, .2], {}, False),
    ([.1, .2, .3, .4], {}, False),  # was ended by hand, or goes on
    ([.1, .2, .5, .4, .3], {'patience': 2}, False), ([.1, .2, .3, .4, .5], {'start_from': 'x'}, True),
    ([.1, .2], {'max_epochs': 2}, True), ([.1, .2], {'max_epochs': 2, 'start_from': 'x'}, False)])
def test_a_run_that_max_epochs_ended_while_it_got_better_is_not_finished(values, settings, unfinished):
    config = configs.default()
    config.train.update({'max_epochs': 5, 'patience': 10, **settings})
    epochs = list(range(1, len(values) + 1))
    assert History(epochs, values, values, values, 1.0).is_unfinished(config) == unfinished


@pytest.mark.slow
def test_what_is_not_finished_is_said_everywhere(tmp_path, shop, capsys):
    found = run(tmp_path / 'short', shop, seeds=(1, 2), max_epochs=3)
    assert found['unfinished'] == [1, 2]
    words = 'training of seeds 1, 2 is not finished: the best epoch is among the last three; raise'
    assert words in report.render_terminal(found) and words in (tmp_path / 'short/report.md').read_text()
    one = report.of_seeds(found, (2,))
    assert one['unfinished'] == [2] and 'Beware: training is not finished' in report.render_terminal(one)
    assert command.main([str(tmp_path / 'short')]) == 0 and f'short: {words}' in capsys.readouterr().out
    long = run(tmp_path / 'long', shop)
    assert long['unfinished'] == [] and 'not finished' not in report.render_terminal(long)


@pytest.mark.slow
def test_full_ranking_comes_first_where_it_picked_the_epoch(tmp_path, shop, capsys):
    for selection_protocol, order in (('full', ['full', 'sampled']), ('sampled', ['sampled', 'full'])):
        found = run(tmp_path / selection_protocol, shop, selection_protocol=selection_protocol,
                    baselines=baselines.by_counts(shop, baselines.ranked(shop, draw_negatives(shop, 100, 42))))
        for text in (report.render_terminal(found), (tmp_path / selection_protocol / 'report.md').read_text()):
            lines = text.splitlines()
            values = [line.replace('|', ' ').split() for line in lines]
            assert [words[1] for words in values if words[:1] == ['NDCG']][:2] == order
            for start in ('group, %', 'baselines, %'):
                head = next(line for line in lines if line.removeprefix('| ').startswith(start))
                assert head.index(f'NDCG@10 {order[0]}') < head.index(f'NDCG@10 {order[1]}')
        assert command.main([str(tmp_path / selection_protocol)]) == 0
        head = capsys.readouterr().out.splitlines()[0]
        assert head.index(f'NDCG@10 {order[0]}') < head.index(f'NDCG@10 {order[1]}') and f'gain, {order[0]}' in head
    with (tmp_path / 'full/report.json').open() as file:
        assert json.load(file)['standing']['best'] in baselines.NAMES


@pytest.mark.slow
def test_pictures_say_what_made_the_vectors(tmp_path, shop):
    found = run(tmp_path, shop)
    assert plots.subtitle(found, 'test').endswith('vectors: LSA over the texts, no language model')
    plain = run(tmp_path, shop, method='none')
    assert plain['vectors_from'] is None and 'vectors' not in plots.subtitle(plain, 'test')
    assert len(plots.subtitle({**found, 'vectors_from': 'x' * 500}, 'test')) == 120

"""New items, repeats and users that nothing can be said of: counted in report.json, shown where there are some."""

import json

import numpy as np
import pytest

from grasp_jax import compare as command
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.evaluation import compare, examples, plots, report
from grasp_jax.ranking import alone, metrics
from tests.evaluation.finished import run


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    for name in ('training_curve', 'metric_by_k'):
        monkeypatch.setattr(plots, name, lambda *given: None)


def shop_of(histories, items):
    indptr = np.concatenate([[0], np.cumsum([len(own) for own in histories])]).astype(np.int64)
    return Interactions(indptr, np.concatenate(histories).astype(np.int32), items)


def regulars(users, repeats, new, items=60):
    """Users of whom the first ones buy again, and the next ones something that nobody had in training."""
    rng = np.random.default_rng(0)
    histories = [rng.permutation(np.arange(1, items // 2 + 1))[:6] for _ in range(users)]
    for user in range(repeats):
        histories[user][-1] = histories[user][0]
    for user in range(repeats, repeats + new):
        histories[user][-1] = items - user
    return shop_of(histories, items)


def test_new_items_and_repeats_are_groups(tmp_path):
    shop = regulars(100, 9, 4)
    found = run(tmp_path, shop, seeds=(1, 2))
    ranks = metrics.load_ranks(tmp_path / 'seed_1')
    assert found['counts']['repeat'] == 9 and found['counts']['new_target'] == 4
    for tree, protocol in (('groups', 'sampled'), ('groups_full', 'full')):
        for group, rows in (('repeat', slice(9)), ('new_target', slice(9, 13))):
            expected = metrics.summarise(getattr(ranks, protocol)[rows], (10,))['NDCG@10']
            assert found['runs'][0]['test'][tree][group]['NDCG@10'] == pytest.approx(expected)
    page, screen = (tmp_path / 'report.md').read_text(), report.render_terminal(found)
    assert '| new items | 4 |' in page and '| repeats | 9 |' in page
    for text in (page, screen):
        assert 'new items are test items that no training interaction has' in text
        assert 'repeats are test items that their user had before' in text


def test_a_page_is_not_longer_where_there_are_few(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(plots, '_bars', lambda axes, x, *rest: drawn.append(len(x)))
    shop = regulars(300, 2, 3)
    found = run(tmp_path, shop)
    assert found['counts']['repeat'] == 2 and found['test']['groups']['new_target']['NDCG@10'] is not None
    text = (tmp_path / 'report.md').read_text() + report.render_terminal(found)
    assert 'repeats' not in text and '| new items | 3 |' in text and 'new items  ' in text
    assert drawn == [6, 6]
    none = run(tmp_path / 'none', regulars(300, 0, 0))
    assert none['counts']['repeat'] == none['counts']['new_target'] == 0
    assert none['test']['groups']['repeat']['NDCG@10'] is None
    text = (tmp_path / 'none/report.md').read_text() + report.render_terminal(none)
    assert 'repeats' not in text and 'new items' not in text and drawn[2:] == [5, 5]
    for key in ('repeat', 'new_target', 'without_negatives', 'without_candidates'):  # as in a report of before
        del none['counts'][key]
    assert 'Beware' not in report.render_terminal(none)


def collectors(users=60, everything=7, items=12):
    """Some of the users have every item."""
    rng = np.random.default_rng(1)
    return shop_of([rng.permutation(items)[:items if user < everything else 6] + 1 for user in range(users)], items)


@pytest.mark.parametrize('repeats', [False, True])
def test_users_who_have_everything_count_in_no_mean(tmp_path, repeats):
    shop = collectors()
    found = run(tmp_path, shop, repeats=repeats)  # files of ranks that know nothing of this, as earlier ones
    ranks, ks = metrics.load_ranks(tmp_path / 'seed_42'), (1, 3, 5, 10, 20)
    assert np.isfinite(ranks.sampled).all()
    rest = slice(None) if repeats else slice(7, None)
    assert found['test']['sampled'] == pytest.approx(metrics.summarise(ranks.sampled[7:], ks))
    assert found['test']['full'] == pytest.approx(metrics.summarise(ranks.full[rest], ks))
    assert (found['counts']['without_negatives'], found['counts']['without_candidates']) == (7, 0 if repeats else 7)
    line = ('7 of 60 users have every item, so that nothing stands against their test item: they are left out '
            f'of the means ({"sampled" if repeats else "sampled and full"}).')
    assert line in report.render_terminal(found) and line in (tmp_path / 'report.md').read_text()
    assert found['test']['groups_full']['head_user'] == found['test']['full'] and found['counts']['head_user'] == 60


def test_an_example_of_such_a_user_has_no_rank(tmp_path):
    shop = collectors()
    run(tmp_path, shop)
    titles = [{'title': f'Thing {item}'} for item in range(12)]
    known = Dataset('small', shop, [f'u{user}' for user in range(60)], [f'i{item}' for item in range(12)], titles,
                    [{}] * 60, {})
    ranks = alone.without(metrics.load_ranks(tmp_path / 'seed_42'), shop, False)
    found = examples.of_run(tmp_path / 'seed_42', ranks, known)
    places = examples.evenly_spread(60, examples.USERS)
    assert [each['rank'] is None for each in found] == [place < 7 for place in places] and places[1] < 7 < places[-1]
    rows = examples.rows({'examples': json.loads(json.dumps(found))})
    assert [row[-1] == '-' for row in rows[1:]] == [place < 7 for place in places]


def test_they_are_left_out_of_comparisons(tmp_path):
    shop = collectors()
    for name, best in (('one', 0.9), ('two', 0.4)):
        run(tmp_path / name, shop, best=best)
    folders = [tmp_path / name for name in ('one', 'two')]
    gains = []
    for marked in (False, True):
        if marked:
            for folder in folders[:1]:  # the other is of an earlier version
                ranks = metrics.load_ranks(folder / 'seed_42')
                nobody = np.arange(60) < 7
                metrics.save_ranks(folder / 'seed_42', ranks._replace(
                    sampled=np.where(nobody, np.nan, ranks.sampled), full=np.where(nobody, np.nan, ranks.full)))
        table = compare.compare_workdirs(folders, [report.load_report(folder) for folder in folders])
        gains.append(float(table[2][-2].split()[0]))
    one, two = (report.load_report(folder)['test']['sampled']['NDCG@10'] for folder in folders)
    assert gains[1] == pytest.approx(100 * (two - one), abs=0.006) and gains[0] != gains[1]


@pytest.mark.slow
def test_with_and_without_seen_items_are_not_compared(tmp_path, capsys):
    shop = regulars(100, 30, 0)
    for name, repeats in (('hidden', False), ('there', True)):
        found = run(tmp_path / name, shop, repeats=repeats, unmasked=not repeats)
        assert found['protocol']['repeats'] == repeats
        page = (tmp_path / name / 'report.md').read_text()
        assert ("those in the user's input too (evaluate.repeats)" in page) == repeats
        assert ("less those in the user's input" in page) != repeats
        assert ('it does not ask which of the items that the user had comes again' in page) == repeats
        assert (found['protocol'].get('full_unmasked') is None) == (found['test']['full_unmasked'] is None) == repeats
    both = [str(tmp_path / name) for name in ('hidden', 'there')]
    assert command.main(both) == 0
    printed = capsys.readouterr().out
    row = next(line for line in printed.splitlines() if line.startswith('there'))
    assert row.endswith('another evaluate.repeats') and '**' not in row
    assert command.main([*both, '--plot', str(tmp_path / 'picture.png')]) == 2
    assert 'another --config.evaluate.repeats' in capsys.readouterr().err
    old = json.loads((tmp_path / 'hidden/report.json').read_text())
    del old['protocol']['repeats']  # as in reports of before
    (tmp_path / 'hidden/report.json').write_text(json.dumps(old))
    assert command.main(both) == 0 and 'another evaluate.repeats' in capsys.readouterr().out
    assert command.main([both[0], both[0]]) == 0 and 'another evaluate.repeats' not in ''.join(
        capsys.readouterr().out.partition('All numbers')[0])

"""Counts over the evaluated users, each against a plain loop or by hand."""

import numpy as np
import pytest

from grasp_jax import config as config_lib
from grasp_jax.common.errors import UserError
from grasp_jax.data import dataset, facts, filters, prepare
from grasp_jax.data.interactions import Interactions


def sequences_of(histories, num_items, times=None):
    indptr = np.concatenate([[0], np.cumsum([len(items) for items in histories])]).astype(np.int64)
    items = np.concatenate(histories).astype(np.int32)
    times = np.concatenate(times) if times else np.arange(len(items))
    return filters.Sequences(Interactions(indptr, items, num_items), times, [], [], {}, doubles=2)


@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('block', [1, 3, 1 << 16])
def test_repeated_targets_by_a_plain_loop(monkeypatch, seed, block):
    monkeypatch.setattr(facts, '_BLOCK', block)
    rng = np.random.default_rng(seed)
    histories = [rng.integers(1, 8, rng.integers(1, 9)) for _ in range(40)]
    shop = sequences_of(histories, 7).interactions
    found = facts.repeated(shop, shop.evaluated_users(), shop.targets('test'))
    expected = [history[-1] in history[:-1] for history in histories if len(history) >= 3]
    assert found.tolist() == expected and 0 < sum(expected) < len(expected)


def test_counts_by_hand():
    histories = [[1, 2, 1], [1, 2, 3], [3, 1, 2, 4], [5, 6]]
    times = [[1, 1, 1], [1, 2, 2], [1, 2, 3, 4], [7, 7]]
    negatives = np.array([[3, 4], [4, 0], [0, 0]])
    assert facts.count(sequences_of(histories, 6, times), negatives) == {
        'doubles': 2, 'tied_ends': 2, 'one_time': 1, 'repeated_targets': 1,
        'new_targets': 1,  # item 4: training holds 1, 1, 3, 1, and 5 and 6 of the user who only trains
        'without_negatives': 1, 'few_negatives': 2}


@pytest.mark.parametrize(('repeats', 'switch', 'warned'), [(19, False, False), (20, False, True), (20, True, False)])
def test_repeats_are_warned_of_from_a_fifth_on(caplog, repeats, switch, warned):
    config = config_lib.default()
    config.data.name, config.evaluate.repeats = 'shop', switch
    facts.warn({'evaluated_users': 100, 'repeated_targets': repeats, 'without_negatives': 0}, config)
    line = f'shop: {repeats} of 100 test items ({repeats}%) are ones that their user had before'
    assert (line in caplog.text and 'evaluate.repeats=True' in caplog.text) == warned == bool(caplog.text)


def test_users_who_have_everything_are_warned_of(caplog):
    found, config = {'evaluated_users': 10, 'repeated_targets': 0, 'without_negatives': 3}, config_lib.default()
    facts.warn(found, config)
    assert 'the data set: 3 of 10 evaluated users have every item' in caplog.text
    assert 'they are left out of all means' in caplog.text
    config.evaluate.repeats = True  # then there are other candidates of full ranking
    facts.warn(found, config)
    assert 'they are left out of the means of the sampled protocol' in caplog.text


def test_sentences_say_what_there_is():
    assert facts.sentences({}) == facts.sentences({'doubles': 0, 'tied_ends': 0}) == []
    assert facts.sentences({'repeated_targets': 1234, 'unsold': 5}) == [
        '1,234 test items are ones that their user had before.', '5 items of the catalogue have no purchase.']
    told = {'evaluated_users': 5000, 'repeated_targets': 1234, 'new_targets': 50, 'few_negatives': 9}
    assert facts.sentences(told) == [
        '1,234 (24.7%) test items are ones that their user had before.',
        '50 (1.0%) test items are new: no row of the training has them.',
        '9 evaluated users have fewer candidates than were asked for under the sampled protocol.']


@pytest.fixture
def shop(tmp_path):
    """Prepares a small shop of tables, whose items e and b nobody bought; z is bought and not described."""
    source = tmp_path / 'source'
    source.mkdir()
    rows = [f'u{user},{item},{time}\n' for user in range(4) for time, item in enumerate('dzac'[user % 2:])]
    (source / 'interactions.csv').write_text('user,item,time\n' + ''.join(rows))
    (source / 'items.csv').write_text('item,title\ne,Egg\nc,Cup\nb,Bag\na,Axe\nd,Dog\nf,\n')

    def prepared(folder, **settings):
        config = config_lib.default()
        config.data.update({'kind': 'table', 'source': str(source), 'items_file': 'items.csv', 'filter': 'none',
                            'name': 'small', **settings})
        (tmp_path / folder).mkdir()
        return prepare.prepare(config, tmp_path / folder), dataset.load(tmp_path / folder)

    return prepared


def test_items_that_nobody_bought_stand_behind_the_others(shop):
    told, with_all = shop('all', keep_unsold=True)
    before, sold = shop('sold')
    assert list(sold.item_ids) == ['a', 'c', 'd', 'z'] and list(with_all.item_ids) == ['a', 'c', 'd', 'z', 'b', 'e']
    assert told['unsold'] == 2 and 'unsold' not in before and (told['items'], before['items']) == (6, 4)
    assert [known.get('title') for known in with_all.item_attributes] == ['Axe', 'Cup', 'Dog', None, 'Bag', 'Egg']
    np.testing.assert_array_equal(sold.interactions.items, with_all.interactions.items)
    assert with_all.interactions.train_item_counts()[5:].tolist() == [0, 0]
    assert set(np.unique(with_all.negatives['test'])) - {0} >= {5, 6}


def test_no_table_of_items_to_keep_unsold_ones_from(shop):
    with pytest.raises(UserError, match='keep_unsold asks for items .*data.items_file'):
        shop('none', keep_unsold=True, items_file='')

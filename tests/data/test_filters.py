"""Order, repeats, minimum counts and numbering."""

import itertools

import ml_collections
import numpy as np
import pytest

from grasp_jax import config as config_lib
from grasp_jax.common.errors import UserError
from grasp_jax.data import filters, interaction_log, source_reader


def data_config(**changes) -> ml_collections.ConfigDict:
    config = config_lib.default().data
    config.update({'filter': 'none', **changes})
    return config


def make_log(rows) -> interaction_log.InteractionLog:
    users, items, times = zip(*rows, strict=True)
    user_ids, item_ids = sorted(set(users)), sorted(set(items))
    return interaction_log.InteractionLog(np.array([user_ids.index(user) for user in users], np.int32),
                                          np.array([item_ids.index(item) for item in items], np.int32),
                                          np.array(times), user_ids, item_ids)


def random_log(seed: int, rows: int = 200) -> interaction_log.InteractionLog:
    rng = np.random.default_rng(seed)
    return make_log([(f'u{rng.integers(12)}', f'i{rng.integers(9)}', int(rng.integers(15))) for _ in range(rows)])


def as_sequences(found: filters.Sequences) -> dict[str, list[str]]:
    interactions = found.interactions
    return {user: [found.item_ids[item - 1] for item in interactions.items[start:stop]]
            for user, start, stop in zip(found.user_ids, interactions.indptr, interactions.indptr[1:], strict=False)}


@pytest.mark.parametrize('seed', range(5))
def test_k_core_is_a_fixed_point_and_independent_of_row_order(seed):
    rng = np.random.default_rng(seed)
    users, items = rng.zipf(1.5, 400) % 60, rng.zipf(1.5, 400) % 40
    mask = filters.k_core(users, items, 3, 4)
    again = filters.k_core(users[mask], items[mask], 3, 4)
    assert mask.any() and not mask.all() and again.all()
    order = rng.permutation(400)
    np.testing.assert_array_equal(filters.k_core(users[order], items[order], 3, 4), mask[order])


@pytest.mark.parametrize('seed', range(20))
def test_k_core_is_the_largest_set_that_holds(seed):
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 4, 11), rng.integers(0, 4, 11)
    union = np.zeros(11, bool)
    for chosen in itertools.product([False, True], repeat=11):
        subset = np.array(chosen)
        if all((users[subset] == user).sum() >= 2 for user in users[subset]) and all(
                (items[subset] == item).sum() >= 3 for item in items[subset]):
            union |= subset
    np.testing.assert_array_equal(filters.k_core(users, items, 2, 3), union)


def test_one_pass_counts_once_over_the_full_log():
    # i1 has 2 rows in the full log and stays, though one of them falls with its user.
    users, items = np.array([0, 0, 1, 1, 2]), np.array([0, 1, 0, 0, 1])
    np.testing.assert_array_equal(filters.one_pass(users, items, 2, 2), [True, True, True, True, False])
    np.testing.assert_array_equal(filters.one_pass(users, items, 2, 3), [True, False, True, True, False])
    assert not filters.k_core(users, items, 2, 3).any()


def test_equal_times_keep_file_order_and_never_look_at_the_id():
    found = filters.sequences(make_log([('u', 'z', 5), ('u', 'a', 5), ('u', 'm', 1), ('u', 'b', 5)]), data_config())
    assert as_sequences(found) == {'u': ['m', 'z', 'a', 'b']}
    found = filters.sequences(make_log([('u', 'b', 5), ('u', 'm', 1), ('u', 'a', 5), ('u', 'z', 5)]), data_config())
    assert as_sequences(found) == {'u': ['m', 'b', 'a', 'z']}


@pytest.mark.parametrize('duplicates', ['keep', 'exact', 'first', 'last'])
@pytest.mark.parametrize('kept', ['k_core', 'one_pass', 'none'])
def test_row_order_matters_only_within_ties(duplicates, kept):
    original = random_log(3)
    rng = np.random.default_rng(1)
    order = rng.permutation(len(original))
    group = original.users.astype(int) * 100 + original.times
    for value in np.unique(group):
        places = np.flatnonzero(group[order] == value)
        order[places] = np.sort(order[places])
    config = data_config(filter=kept, duplicates=duplicates, min_user=4, min_item=4)
    one, other = filters.sequences(original, config), filters.sequences(original.take(order), config)
    assert (one.user_ids, one.item_ids, one.dropped) == (other.user_ids, other.item_ids, other.dropped)
    np.testing.assert_array_equal(one.interactions.items, other.interactions.items)
    np.testing.assert_array_equal(one.interactions.indptr, other.interactions.indptr)
    np.testing.assert_array_equal(one.times, other.times)


def test_repeats_follow_the_policy():
    rows = [('u', 'a', 1), ('u', 'b', 2), ('u', 'a', 3), ('v', 'a', 1)]
    for policy, expected in [('keep', ['a', 'b', 'a']), ('exact', ['a', 'b', 'a']), ('first', ['a', 'b']),
                             ('last', ['b', 'a'])]:
        found = filters.sequences(make_log(rows), data_config(duplicates=policy))
        assert as_sequences(found) == {'u': expected, 'v': ['a']}
        assert found.dropped['repeats'] == 3 - len(expected)


def test_numbering_is_dense_and_times_never_decrease():
    original = random_log(7)
    found = filters.sequences(original, data_config(filter='k_core', min_user=12, min_item=16))
    interactions = found.interactions
    assert len(found.item_ids) < len(original.item_ids)
    assert set(interactions.items) == set(range(1, len(found.item_ids) + 1))
    assert found.user_ids == sorted(found.user_ids) and (interactions.lengths >= 12).all()
    assert interactions.items.dtype == np.int32 and interactions.indptr.dtype == np.int64
    for start, stop in zip(interactions.indptr, interactions.indptr[1:], strict=False):
        assert (np.diff(found.times[start:stop]) >= 0).all()
    assert found.dropped['interactions'] == len(original) - len(interactions.items)


@pytest.mark.parametrize(('changes', 'words'), [
    ({'filter': 'k_core', 'min_user': 999}, 'leaves none of 200 interactions; lower data.min_user'),
    ({'filter': 'one_pass', 'min_item': 999}, 'leaves none'),
    ({'filter': 'core'}, "data.filter is 'core'; choose"),
    ({'duplicates': 'drop'}, "data.duplicates is 'drop'; choose"),
])
def test_wrong_filters_are_refused_in_one_line(changes, words):
    with pytest.raises(UserError, match=words) as error:
        filters.sequences(random_log(0), data_config(**changes))
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(('policy', 'warned', 'left'), [('keep', True, 'xyxxy'), ('exact', False, 'xyxy'),
                                                        ('first', False, 'xy')])
def test_doubled_rows_are_counted_and_dropped_alone(caplog, policy, warned, left):
    rows = make_log([('a', 'x', 1), ('a', 'y', 1), ('a', 'x', 1), ('a', 'x', 5), ('a', 'y', 6), ('b', 'y', 1)])
    found = filters.sequences(rows, data_config(duplicates=policy))
    assert as_sequences(found) == {'a': list(left), 'b': ['y']}
    assert ('1 rows repeat the user, item and time' in caplog.text) == warned


@pytest.mark.parametrize(('tied', 'warned'), [(0, False), (2, False), (3, True)])
def test_users_whose_test_item_no_time_tells_are_counted(caplog, tied, warned):
    rows = [(f'u{user}', f'i{step}', min(step, 3) if user < tied else step) for user in range(4) for step in range(5)]
    rows += [('short', 'i0', 1), ('short', 'i1', 1)]  # trains only
    found = filters.sequences(make_log(rows), data_config(name='shop'))
    assert found.tied_ends() == tied
    line = f'shop: the last two interactions of {tied} of 4 evaluated users have the same time'
    assert (line in caplog.text) == warned and bool(caplog.text) == warned


@pytest.mark.parametrize(('changes', 'line'), [
    ({'filter': 'k_core', 'min_user': 3, 'min_item': 1}, 'leaves 3 of 5,003 users, 4 of 1,004 items, 12 of 10,012'),
    ({'filter': 'one_pass', 'min_user': 3, 'min_item': 1}, 'one_pass with min_user=3 and min_item=1 leaves 3 of'),
    ({'filter': 'k_core', 'min_user': 2, 'min_item': 2}, None), ({'filter': 'none'}, None)])
def test_a_filter_that_leaves_little_says_so_and_names_the_settings(caplog, changes, line):
    rows = [(f'many{user}', f'i{step}', step) for user in range(3) for step in range(4)]
    rows += [(f'few{user}', f'j{(user + step) % 1000}', step) for user in range(5000) for step in range(2)]
    filters.sequences(make_log(rows), data_config(name='mine', **changes))
    assert bool(caplog.text) == (line is not None)
    if line:
        assert line in caplog.text and 'data.min_user or data.min_item' in caplog.text
        assert 'data.filter=none' in caplog.text and len(caplog.records) == 1


@pytest.mark.parametrize(('rare', 'warned'), [(3, False), (5, True)])
def test_a_third_of_the_items_is_much(caplog, rare, warned):
    rows = [(f'u{user}', f'i{step}', step) for user in range(5) for step in range(10)]
    rows += [('u0', f'rare{item}', 99) for item in range(rare)]
    filters.sequences(make_log(rows), data_config(filter='k_core', min_user=1, min_item=2))
    assert (f'leaves 5 of 5 users, 10 of {10 + rare} items, 50 of {50 + rare} interactions' in caplog.text) == warned


@pytest.mark.parametrize(('policy', 'warned'), [('keep', False), ('exact', False), ('first', True), ('last', True)])
def test_a_policy_for_repeats_that_takes_a_third_says_so(caplog, policy, warned):
    rows = [('a', 'x', time) for time in range(4)] + [('a', 'y', 5)]
    filters.sequences(make_log(rows), data_config(duplicates=policy))
    assert (f'duplicates={policy} leaves 2 of 5 interactions' in caplog.text) == warned == bool(caplog.text)


@pytest.mark.parametrize('policy', ['keep', 'exact', 'first', 'last'])
def test_doubles_are_counted_whatever_becomes_of_them(policy):
    rows = [('a', 'x', 1), ('a', 'y', 1), ('a', 'x', 1), ('b', 'x', 1), ('a', 'x', 2), ('a', 'y', 1), ('a', 'y', 1)]
    assert filters.sequences(make_log(rows), data_config(duplicates=policy)).doubles == 3


@pytest.mark.parametrize('seed', range(3))
def test_doubles_among_many_rows(seed):
    rows = random_log(seed, 400)
    triples = list(zip(rows.users, rows.items, rows.times, strict=True))
    assert filters.sequences(rows, data_config()).doubles == len(triples) - len(set(triples)) > 0


def crowd_log(users=500, items=500, **crowds):
    """Everybody has 10 rows of other items; a user or an item of `crowds` has so many rows beside them."""
    rows = [(f'u{user:03d}', f'i{(7 * user + 11 * place) % items:03d}', place) for user in range(users)
            for place in range(10)]
    for name, count in crowds.items():
        rows += [(name, f'i{place % items:03d}', place) if name.startswith('user') else
                 (f'u{place % users:03d}', name, place) for place in range(count)]
    return make_log(rows)


@pytest.mark.parametrize(('crowds', 'words'), [
    ({'user_TEST': 1500}, "of 6,500 interactions so many are of one: user 'user_TEST' 23.1% (1,500); "),
    ({'VERSAND': 600}, "of 5,600 interactions so many are of one: item 'VERSAND' 10.7% (600); "),
    ({'user_guest': 600, 'VERSAND': 700}, "item 'VERSAND' 11.1% (700), user 'user_guest' 9.5% (600); "),
    ({'a': 800, 'b': 700, 'c': 900, 'd': 1000, 'user': 600},
     "item 'd' 11.1% (1,000), item 'c' 10.0% (900), item 'a' 8.9% (800) and 2 more as much; ")])
def test_who_has_too_many_rows_to_be_one_is_named(caplog, crowds, words):
    filters.sequences(crowd_log(**crowds), data_config(filter='none'))
    said = [line for line in caplog.messages if 'so many are of one' in line]
    assert len(said) == 1 and words in said[0] and said[0].endswith('take their rows out')


@pytest.mark.parametrize('log', [
    crowd_log(), crowd_log(users=150, items=150, VERSAND=150),  # 9% of the rows, but of few items
    crowd_log(users=12, items=9, user=60),  # a third of the rows, of few users
    crowd_log(VERSAND=350), crowd_log(user=250)])  # 6.5%, 4.8%
def test_a_popular_item_is_no_crowd(caplog, log):
    filters.sequences(log, data_config(filter='none'))
    assert 'so many are of one' not in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize('name', ['amazon_beauty_5core', 'amazon_fashion', 'movielens_small'])
def test_there_is_no_crowd_in_real_data(real_data, caplog, name):
    kind = {'amazon_beauty_5core': 'amazon', 'amazon_fashion': 'inter'}.get(name, 'table')
    config = config_lib.default()
    config.data.update({'kind': kind, 'source': str(real_data(name)), 'name': name, 'filter': 'none'})
    config.data.interactions_file = {'amazon': 'reviews.jsonl.gz', 'inter': '', 'table': 'interactions.csv.gz'}[kind]
    filters.sequences(source_reader.SourceReader(config).log, config.data)
    assert 'so many are of one' not in caplog.text

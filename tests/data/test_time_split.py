"""The split by time: who is asked for what, from what, and that nothing of later is seen before."""

import datetime

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.data import dataset, facts, filters, prepare, time_split
from grasp_jax.data.interaction_log import InteractionLog
from grasp_jax.data.interactions import draw_negatives
from grasp_jax.pipeline.checks import check_config


def data_config(**settings):
    return changed(default(), {f'data.{name}': value for name, value in
                               {'filter': 'none', 'split': 'time', **settings}.items()}).data


def made_log(rows):
    """Rows (user, item, time), in names."""
    users, items = (sorted({row[place] for row in rows}) for place in (0, 1))
    return InteractionLog(np.array([users.index(row[0]) for row in rows], np.int32),
                          np.array([items.index(row[1]) for row in rows], np.int32),
                          np.array([row[2] for row in rows]), users, items)


def random_rows(seed, users=12, items=15, count=150, end=100):
    rng = np.random.default_rng(seed)
    rows = [(f'u{rng.integers(users):02d}', f'i{rng.integers(items):02d}', int(rng.integers(0, end)))
            for _ in range(count)]
    return [*rows, ('u00', 'i00', 0), ('u00', 'i01', end)]


def oracle(rows, first, second, unsold=()):
    """Inputs and target of each user and split, in names, from the rows one by one: items that nobody bought before the
    first moment are in no list, unless the table of items is asked for them."""
    known = {item for _, item, when in rows if when < first} | set(unsold)
    rows = [row for row in rows if row[1] in known]
    found = {'train': {}, 'valid': {}, 'test': {}}
    for user in {row[0] for row in rows}:
        own = sorted((row for row in rows if row[0] == user), key=lambda row: row[2])  # equal times keep their order
        before = [item for _, item, when in own if when < first]
        if not before:
            continue
        found['train'][user] = before
        between = [item for _, item, when in own if first <= when < second]
        after = [item for _, item, when in own if when >= second]
        if between:
            found['valid'][user] = (before, between[0])
        if after:
            found['test'][user] = (before + between, after[0])
    return found


def by_name(found, split):
    known = found.interactions
    users = known.evaluated_users(split)
    targets = known.targets(split)
    return {found.user_ids[user]: ([found.item_ids[item - 1] for item in known.sequence(user, split)],
                                   found.item_ids[target - 1]) for user, target in zip(users, targets, strict=True)}


@pytest.mark.parametrize('seed', range(20))
def test_inputs_and_targets_are_those_of_a_plain_reading(seed):
    rows = random_rows(seed, count=[20, 60, 150][seed % 3])
    expected = oracle(rows, 60, 80)
    found = filters.sequences(made_log(rows), data_config(split_times=(60, 80)))
    assert set(found.user_ids) == set(expected['train'])
    for user, name in enumerate(found.user_ids):
        assert [found.item_ids[item - 1] for item in found.interactions.sequence(user, 'train')] == \
            expected['train'][name]
    for split in ('valid', 'test'):
        assert by_name(found, split) == expected[split]
    left = found.by_time
    assert left.cold_users == len({row[0] for row in rows}) - len(expected['train'])
    known = {row[1] for row in rows if row[2] < 60}
    assert found.item_ids == sorted(known)
    new = [row for row in rows if row[2] >= 60 and row[1] not in known and row[0] in expected['train']]
    assert (left.unknown, left.unknown_items, left.unsold) == (len(new), len({row[1] for row in new}), 0)
    counts = found.interactions.train_item_counts()
    for number, name in enumerate(found.item_ids, 1):
        assert counts[number] == sum(own.count(name) for own in expected['train'].values())


def test_a_row_at_a_border_lies_after_it():
    rows = [('a', 'w', 0), ('a', 'x', 9), ('a', 'y', 10), ('a', 'z', 20), ('b', 'w', 10), ('b', 'x', 20), ('c', 'y', 9),
            ('c', 'z', 9)]
    found = filters.sequences(made_log(rows), data_config(split_times=(10, 20)))
    assert by_name(found, 'valid') == {'a': (['w', 'x'], 'y')}
    assert by_name(found, 'test') == {'a': (['w', 'x', 'y'], 'z')}
    assert found.by_time.cold_users == 1  # b


@pytest.mark.parametrize('policy', ['k_core', 'one_pass'])
def test_a_filter_counts_training_rows_alone(policy):
    rows = random_rows(3, count=200)
    later = [row for row in random_rows(4, users=20, items=30, count=200) if row[2] >= 60]
    both = []
    for others in ([row for row in rows if row[2] >= 60], later):
        early = [row for row in rows if row[2] < 60]
        found = filters.sequences(made_log([*early, *others, ('u00', 'i00', 100)]), data_config(
            filter=policy, min_user=4, min_item=4, split_times=(60, 80)))
        both.append({name: [found.item_ids[item - 1] for item in found.interactions.sequence(user, 'train')]
                     for user, name in enumerate(found.user_ids)})
        assert set(found.item_ids) == {item for own in both[-1].values() for item in own}
    assert both[0] == both[1] and both[0]


@pytest.mark.parametrize('seed', range(10))
def test_no_change_of_later_rows_changes_the_training_part(seed):
    rng = np.random.default_rng(seed)
    rows = random_rows(seed, count=80)
    described = sorted({f'i{rng.integers(40):02d}' for _ in range(20)})

    def training(later, unsold):
        early = [row for row in rows if row[2] < 60]
        found = filters.sequences(made_log([*early, *later]), data_config(split_times=(60, 80)), unsold)
        known = found.interactions
        return found.user_ids, found.item_ids, [known.sequence(user, 'train').tolist() for user in range(len(
            found.user_ids))]

    def unsold(sold):
        return sorted(set(described) - set(sold))

    laters = [[(f'u{rng.integers(20):02d}', f'i{rng.integers(40):02d}', int(rng.integers(60, 100)))
               for _ in range(rng.integers(1, 200))] + [('u00', 'i00', 100)] for _ in range(4)]
    for asked in (None, unsold):
        first, *others = [training(later, asked) for later in laters]
        assert all(other == first for other in others)
        assert (set(first[1]) >= set(described)) == (asked is not None)


def test_items_of_later_alone_are_said(tmp_path, caplog):
    rows = [('a', 'x', 0), ('a', 'new', 60), ('a', 'x', 61), ('a', 'newer', 90), ('a', 'x', 91), ('b', 'x', 100),
            ('a', 'new', 99)]
    (tmp_path / 'source').mkdir()
    write_rows(tmp_path / 'source', rows)
    (tmp_path / 'source' / 'items.csv').write_text('item,title\nx,Known\nnew,Cup\nnobody,Bag\n')
    told, names = {}, {}
    for keep in (False, True):
        config = table_config(tmp_path / 'source', data__split='time', data__split_times=(50, 80),
                              data__items_file='items.csv', data__keep_unsold=keep)
        (tmp_path / f'{keep}').mkdir()
        told[keep] = prepare.prepare(config, tmp_path / f'{keep}')
        names[keep] = list(dataset.load(tmp_path / f'{keep}').item_ids)
    assert names == {False: ['x'], True: ['x', 'new', 'nobody']}
    assert [told[keep]['split'][key] for keep in (False, True) for key in ('unknown', 'unknown_items', 'later')] == \
        [3, 2, 5, 1, 1, 5]
    assert told[True]['unsold'] == 2 and told[True]['new_targets'] == 0 and told[True]['dropped']['items'] == 1
    assert '3 of 5 later interactions of the users in training are left out' in caplog.text
    said = time_split.described(told[False]['split'])
    assert '1 cold users, who have no training interaction, are left out with their 1 interactions; of the 5 later ' \
        'interactions of the users in training 3 are left out, as their 2 items are not in the catalogue' in said
    assert [facts.left_out(told[keep]) for keep in (False, True)] == [
        '1 users, 2 items, 4 interactions (1 of 1 cold users, 3 of items outside the catalogue)',
        '1 users, 1 items, 2 interactions (1 of 1 cold users, 1 of items outside the catalogue)']


@pytest.mark.parametrize('settings', [
    {}, {'filter': 'k_core', 'min_user': 5, 'min_item': 5}, {'filter': 'one_pass', 'min_user': 7, 'min_item': 5},
    {'duplicates': 'first'}, {'duplicates': 'first', 'filter': 'k_core', 'min_user': 5, 'min_item': 4}])
def test_every_row_that_is_left_out_has_its_reason(settings):
    rows = [*random_rows(3, count=200), *[('cold', f'i0{when // 10}', when) for when in (70, 80, 90)]]
    config = data_config(split_times=(60, 80), **settings)
    unique = rows
    if settings.get('duplicates'):
        order = sorted(range(len(rows)), key=lambda row: rows[row][2])
        unique = [rows[row] for place, row in enumerate(order)
                  if rows[row][:2] not in [rows[other][:2] for other in order[:place]]]
    found = filters.sequences(made_log(rows), config)
    begun = {user for user, _, when in unique if when < 60}
    left = {'dropped': found.dropped, 'split': {key: getattr(found.by_time, key) for key in (
        'cold_users', 'cold_interactions', 'unknown')}}
    cold = [row for row in unique if row[0] not in begun]
    unknown = [row for row in unique if row[2] >= 60 and row[0] in found.user_ids and row[1] not in found.item_ids]
    filtered = [row for row in unique if row[0] in begun and (
        row[0] not in found.user_ids or row[2] < 60 and row[1] not in found.item_ids)]
    said = [(len(rows) - len(unique), 'repeats'), (len(cold), f'of {len({row[0] for row in cold})} cold users'),
            (len(unknown), 'of items outside the catalogue'), (len(filtered), 'filtered')]
    words = ', '.join(f'{count} {reason}' for count, reason in said if count)
    assert len(cold) >= 3 and facts.left_out(left).endswith(f'interactions ({words})')
    assert bool(filtered) == ('filter' in settings)


def test_shares_are_those_of_the_span():
    log = made_log([('a', 'i', when) for when in (1000, 1500, 1810, 2000)])
    assert time_split.moments(log, data_config(split_times=(0.8, 0.9))) == (1800.0, 1900.0)
    assert time_split.moments(log, data_config(split_times=(1800, 1900))) == (1800, 1900)
    for shares in ((0.8, 0.9), (1800, 1900), ('1800', '1900.0')):
        found = filters.sequences(log, data_config(split_times=shares))
        assert found.interactions.ends.tolist() == [[2], [3]]


@pytest.mark.parametrize('unit', [1, 10**3, 10**6, 10**9])
def test_dates_are_read_in_the_unit_of_the_log(unit):
    begin, second, end = (int(datetime.datetime(year, 1, 1, tzinfo=datetime.UTC).timestamp())
                          for year in (2014, 2016, 2018))
    log = made_log([('a', 'x', begin * unit), ('a', 'y', second * unit), ('a', 'z', end * unit)])
    assert time_split.moments(log, data_config(split_times=('2016-01-01', '2016-01-01T12:00:00.5'))) == (
        second * unit, (second + 43200) * unit + unit // 2)
    # A zone that is named counts.
    assert time_split.moments(log, data_config(split_times=('2016-01-01T02:00:00+02:00', '20170101')))[0] == \
        second * unit


@pytest.mark.parametrize('times, message', [
    ((80, 60), r'\(80, 60\): the second has to be later than the first'),
    ((60, 60), r'\(60, 60\): the second has to be later'),
    ((0.9, 0.8), r'\(0.9, 0.8\): the second has to be later'),
    ((-5, 60), r'\(-5, 60\): the log runs from 0 to 100;'),
    ((0, 60), r'\(0, 60\): the log runs from 0 to 100;'),
    ((60, 101), r'\(60, 101\): the log runs from 0 to 100;'),
    (('2016-01-01', '2017-01-01'), r'\(2016-01-01, 2017-01-01\): the log runs from 0 to 100;'),
    ((0.5, 60), r'\(0.5, 60\): one is a share of the span and the other a moment'),
    (('0.5', '2015-01-01'), 'one is a share of the span and the other a moment'),
    ((60,), r'\(60\): give two moments'),
    (('spring', 60), r"\(spring, 60\): 'spring' is neither a number nor an ISO date"),
    ((float('nan'), 60), 'neither a number'),
    ((True, 60), 'neither a number'),
])
def test_moments_that_cannot_be(times, message):
    with pytest.raises(UserError, match=message):
        filters.sequences(made_log(random_rows(0)), data_config(split_times=times))


def test_times_that_count_steps_are_refused():
    rows = [(f'u{user:02d}', f'i{step % 2}', 1 + step) for user in range(40) for step in range(3 + user % 5)]
    with pytest.raises(UserError, match='40 of 40 users begin at 1, as where times count the steps of each user'):
        filters.sequences(made_log(rows), data_config(split_times=(0.5, 0.8)))
    # A day on which many begin is a day.
    found = filters.sequences(made_log([*rows, ('v0', 'i0', 2), ('v1', 'i0', 2)]), data_config(split_times=(0.5, 0.8)))
    assert len(found.interactions.evaluated_users('test'))


def test_a_split_that_leaves_nobody_is_refused():
    rows = [('a', 'x', 0), ('a', 'x', 90), ('b', 'x', 50), ('b', 'x', 100)]
    for times, where in (((60, 80), 'between the two moments'), ((60, 95), None), ((80, 100), None)):
        config = data_config(split_times=times)
        found = filters.sequences(made_log(rows), config)
        if where:
            with pytest.raises(UserError, match=f'{where}, so there is no valid target'):
                time_split.require_targets(found.interactions, config)
        else:
            time_split.require_targets(found.interactions, config)
    config = data_config(split_times=(60, 95))
    with pytest.raises(UserError, match='after the second moment, so there is no test target'):
        time_split.require_targets(filters.sequences(made_log([*rows[:3], ('c', 'z', 100)]), config).interactions,
                                   config)


@pytest.mark.parametrize('settings, message', [
    ({'data.split': 'random'}, "data.split='random': choose one of leave_one_out, time"),
    ({'data.split': 'time', 'data.split_times': (9, 3)}, 'later than the first'),
    ({'data.split': 'time', 'data.kind': 'inter'}, 'has no times'),
    ({'data.split': 'time', 'data.duplicates': 'last'}, 'duplicates=last'),
    ({'data.split': 'time', 'evaluate.cold_items': 0.1}, 'evaluate.cold_items=0.1: needs data.split'),
])
def test_settings_that_do_not_go_together(settings, message):
    with pytest.raises(UserError, match=message):
        check_config(changed(default(), {'model.method': 'none', **settings}))


def test_moments_that_do_nothing_are_said(caplog):
    check_config(changed(default(), {'model.method': 'none'}))
    assert not caplog.text
    check_config(changed(default(), {'model.method': 'none', 'data.split_times': (5, 9)}))
    assert 'data.split_times=(5, 9): does nothing under data.split=leave_one_out' in caplog.text


def test_negatives_of_validation_know_nothing_of_the_test():
    rows = random_rows(5, items=60, count=80)
    other = [row if row[2] < 80 else (row[0], 'i00', row[2]) for row in rows]
    drawn = []
    for some in (rows, other):
        found = filters.sequences(made_log(some), data_config(split_times=(60, 80))).interactions
        drawn.append(draw_negatives(found, 10, 1, 'valid'))
        for split in ('valid', 'test'):
            for user, row in zip(found.evaluated_users(split), draw_negatives(found, 10, 1, split), strict=True):
                assert not np.isin(row[row > 0], found.touched(user, split)).any()
                assert np.isin(found.sequence(user, split), found.touched(user, split)).all()
    assert len(drawn[0]) and np.array_equal(*drawn)


def test_ties_of_the_test_are_counted():
    rows = [('a', 'w', 0), ('a', 'x', 15), ('a', 'y', 30), ('a', 'z', 30), ('b', 'w', 0), ('b', 'x', 30),
            ('b', 'y', 31), ('c', 'w', 1), ('c', 'w', 30), *(('d', item, 0) for item in 'wxyz')]
    found = filters.sequences(made_log(rows), data_config(split_times=(10, 20)))
    assert found.tied_ends() == 1  # a


def write_rows(path, rows):
    path.mkdir(parents=True, exist_ok=True)
    (path / 'interactions.csv').write_text('user,item,time\n' + ''.join(f'{u},{i},{t}\n' for u, i, t in rows))


def table_config(path, **settings):
    return changed(default(), {'data.kind': 'table', 'data.name': 'rows', 'data.source': str(path),
                               'data.filter': 'none', 'model.method': 'none', 'evaluate.negatives': 5,
                               **{name.replace('__', '.'): value for name, value in settings.items()}})


def test_the_prepared_data_set_holds_the_split(tmp_path):
    rows = random_rows(1)
    write_rows(tmp_path / 'source', rows)
    config = table_config(tmp_path / 'source', data__split='time', data__split_times=(60, 80))
    (tmp_path / 'made').mkdir()
    facts = prepare.prepare(config, tmp_path / 'made')
    loaded, expected = dataset.load(tmp_path / 'made'), oracle(rows, 60, 80)
    for split in ('valid', 'test'):
        users = loaded.interactions.evaluated_users(split)
        assert {loaded.user_ids[user] for user in users} == set(expected[split])
        assert len(loaded.negatives[split]) == len(users) == facts['split'][f'{split}_users']
    assert 'before 60' in time_split.described(facts['split'])
    np.save(tmp_path / 'made' / dataset.SPLIT_ENDS, np.zeros((2, 3), np.int64))
    with pytest.raises(UserError, match='do not fit each other'):
        dataset.load(tmp_path / 'made')


def test_leave_one_out_is_what_it_was(tmp_path):
    write_rows(tmp_path / 'source', random_rows(1))
    (tmp_path / 'made').mkdir()
    prepare.prepare(table_config(tmp_path / 'source'), tmp_path / 'made')
    assert not (tmp_path / 'made' / dataset.SPLIT_ENDS).exists()
    assert (tmp_path / 'made' / 'dataset.json').read_text().count(':') == 2  # name and num_items
    before = {key: value for key, value in default().data.to_dict().items() if key not in ('split', 'split_times')}
    assert time_split.stage_settings(default().data.to_dict()) == before


@pytest.mark.parametrize(('moment', 'seconds', 'date'), [
    ('2024-01-01', '1704067200 (2024-01-01 00:00)', '2024-01-01'),
    ('2024-01-01T12:30:00', '1704112200 (2024-01-01 12:30)', '2024-01-01 12:30'),
    ('2024-01-01T00:00:07', '1704067207 (2024-01-01 00:00)', '2024-01-01 00:00:07')])
def test_moments_are_dates_where_the_log_has_dates(moment, seconds, date):
    for unit, words in ((1, seconds), (10**9, date)):
        log = made_log([('a', f'i{day}', (1704000000 + day * 86400) * unit) for day in range(9)])
        found = filters.sequences(log, data_config(split_times=(moment, '2024-01-05')))
        said = time_split.facts(found.interactions, found.by_time)
        assert said['moments'][0] == words and f'training before {words}, validation' in time_split.described(said)
    with pytest.raises(UserError, match='the log runs from 2023-12-31 05:20 to 2024-01-08 05:20; give'):
        filters.sequences(log, data_config(split_times=('2024-01-02', '2025-01-01')))

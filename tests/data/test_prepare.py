"""The whole first stage, on the shop, on example tables and on real data."""

import itertools
import json
import os
import pathlib
import resource

import numpy as np
import pytest

from grasp_jax import config as config_lib
from grasp_jax.common.errors import UserError
from grasp_jax.data import dataset, prepare, tfds_builder
from grasp_jax.data.synthetic import shop

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / 'configs' / 'own_data'


def make_config(**data):
    config = config_lib.default()
    config.data.update(data)
    return config


def test_shop_comes_back_as_it_was_made(tmp_path):
    config = make_config(name='demo', kind='shop', filter='none')
    config.data.shop.update({'customers': 80, 'products': 150, 'seed': 2})
    facts = prepare.prepare(config, tmp_path)
    loaded = dataset.load(tmp_path)
    made = shop.make(80, 150, seed=2)
    assert loaded.name == 'demo' and loaded.user_ids == made.log.user_ids
    assert loaded.user_attributes == made.user_attributes
    for user in range(80):
        own = np.flatnonzero(made.log.users == user)
        expected = [made.log.item_ids[item] for item in made.log.items[own[np.argsort(made.log.times[own])]]]
        start, stop = loaded.interactions.indptr[user:user + 2]
        assert [loaded.item_ids[item - 1] for item in loaded.interactions.items[start:stop]] == expected
    by_id = dict(zip(made.log.item_ids, made.item_attributes, strict=True))
    assert loaded.item_attributes == [by_id[identity] for identity in loaded.item_ids]
    assert (facts['users'], facts['items']) == (80, len(loaded.item_ids))
    assert facts['interactions'] == len(made.log)
    assert json.loads(json.dumps(facts)) == facts


def test_stored_negatives(tmp_path):
    config = make_config(kind='shop', filter='none')
    config.data.shop.update({'customers': 60, 'products': 200})
    prepare.prepare(config, tmp_path)
    loaded = dataset.load(tmp_path)
    valid, test = loaded.negatives['valid'], loaded.negatives['test']
    assert valid.shape == test.shape == (len(loaded.interactions.evaluated_users()), 100) and (valid != test).any()
    for drawn, (row, user) in itertools.product((valid, test), enumerate(loaded.interactions.evaluated_users())):
        own = loaded.interactions.items[slice(*loaded.interactions.indptr[user:user + 2])]
        assert not np.isin(drawn[row], own).any()
    config.evaluate.seed += 1
    (tmp_path / 'other').mkdir()
    prepare.prepare(config, tmp_path / 'other')
    assert (dataset.load(tmp_path / 'other').negatives['test'] != test).any()


def test_array_record_round_trip_with_a_very_long_user(tmp_path):
    indptr = np.array([0, 3, 6003], np.int64)
    items = np.arange(1, 6004, dtype=np.int32)
    times = np.arange(6003) / 4
    attributes = [{}, {'text': 'ä "quoted"\n', 'list': [1, None, 'x']}]
    tfds_builder.write(tmp_path, 'users', tfds_builder.Source(['a', 'ü'], attributes, indptr, items, times))
    read = list(tfds_builder.read(tmp_path, 'users'))
    assert [user['user_id'] for user in read] == ['a', 'ü'] and [user['attributes'] for user in read] == attributes
    np.testing.assert_array_equal(np.concatenate([user['items'] for user in read]), items)
    np.testing.assert_array_equal(np.concatenate([user['times'] for user in read]), times)
    assert len(read[1]['items']) == 6000
    assert list(tmp_path.rglob('*.array_record-*'))


def test_records_are_parted_in_files_and_damage_is_seen(tmp_path, monkeypatch):
    monkeypatch.setattr(tfds_builder, '_SHARD', 1000)
    ids, attributes = [f'p{row}' for row in range(2500)], [{'row': row} for row in range(2500)]
    tfds_builder.write(tmp_path, 'items', tfds_builder.Source(ids, attributes))
    read = list(tfds_builder.read(tmp_path, 'items'))
    assert [item['item_id'] for item in read] == ids and [item['attributes'] for item in read] == attributes
    first, second, third = sorted(tmp_path.rglob('*.array_record-*'))
    assert tfds_builder.checksum(third, 500) != tfds_builder.checksum(second, 500)
    content = bytearray(first.read_bytes())
    content[200:210] = bytes(10)
    first.write_bytes(content)
    with pytest.raises(RuntimeError):
        tfds_builder.checksum(first, 1000)


def test_records_that_find_no_room_are_one_line(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as a full disk
    try:
        with pytest.raises(UserError, match='items cannot be written .*make room or choose another --workdir'):
            tfds_builder.write(tmp_path, 'items', tfds_builder.Source(
                [str(row) for row in range(500)], [{'text': os.urandom(500).hex()} for _ in range(500)]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize('customers', [20, 400])
def test_the_room_on_the_disk_is_asked_for_beforehand(tmp_path, monkeypatch, customers):
    config = make_config(kind='shop', filter='none')
    config.data.shop.update({'customers': customers, 'products': 150})
    asked = []
    monkeypatch.setattr('grasp_jax.common.disk.require', lambda folder, size, *said: asked.append(size))
    prepare.prepare(config, tmp_path)
    written = sum(path.stat().st_size for path in tmp_path.rglob('*') if path.is_file())
    assert written - 200_000 < asked[0] < 1.5 * written  # an ArrayRecord file is 64 KB at least


def test_own_tables(tmp_path):
    config = make_config(name='own', kind='table', source=str(EXAMPLE), interactions_file='interactions.csv',
                         items_file='items.csv', users_file='users.csv', user_column='customer', item_column='product',
                         time_column='when')
    facts = prepare.prepare(config, tmp_path)
    loaded = dataset.load(tmp_path)
    assert facts['items_with_attributes'] == facts['items'] > 20 and facts['users_with_attributes'] == facts['users']
    assert set(loaded.item_attributes[0]) == {'title', 'brand', 'description'}
    assert set(loaded.user_attributes[0]) == {'age', 'city'}
    assert sum(path.stat().st_size for path in EXAMPLE.iterdir()) < 60_000


@pytest.mark.slow
def test_beauty_5_core(real_data, tmp_path):
    config = make_config(name='amazon_beauty_5core', source=str(real_data('amazon_beauty_5core')))
    facts = prepare.prepare(config, tmp_path)
    assert (facts['users'], facts['items'], facts['interactions']) == (22_363, 12_101, 198_502)
    assert facts['dropped'] == {'users': 0, 'items': 0, 'interactions': 0, 'repeats': 0}
    loaded = dataset.load(tmp_path)
    assert loaded.interactions.lengths.min() == 5 and loaded.interactions.lengths.max() == 204
    assert facts['items_with_attributes'] > 12_000
    assert (loaded.negatives['test'] > 0).all()


def test_fashion(real_data, tmp_path):
    folder = real_data('amazon_fashion')
    config = make_config(name='amazon_fashion', kind='inter', filter='none', source=str(folder))
    facts = prepare.prepare(config, tmp_path)
    assert (facts['users'], facts['items'], facts['interactions']) == (9_094, 4_722, 34_759)
    loaded = dataset.load(tmp_path)
    assert loaded.user_ids == [str(user + 1) for user in range(9_094)]
    lines = [tuple(map(int, line.split())) for line in (folder / 'inter.txt').read_text().splitlines()]
    assert loaded.interactions.items[:loaded.interactions.indptr[1]].tolist() == [i for u, i in lines if u == 1]


def test_users_too_short_for_the_split_train_only(tmp_path):
    source = tmp_path / 'source'
    source.mkdir()
    (source / 'inter.txt').write_text('1 1\n1 2\n2 1\n2 2\n2 3\n')
    (tmp_path / 'out').mkdir()
    config = make_config(kind='inter', filter='none', source=str(source))
    assert prepare.prepare(config, tmp_path / 'out')['evaluated_users'] == 1
    (source / 'inter.txt').write_text('1 1\n1 2\n2 1\n2 2\n')
    with pytest.raises(UserError, match='no user has 3 interactions'):
        prepare.prepare(config, tmp_path / 'out')


def test_a_damaged_data_set_is_refused(tmp_path):
    config = make_config(kind='shop', filter='none')
    config.data.shop.update({'customers': 20, 'products': 30})
    prepare.prepare(config, tmp_path)
    lines = (tmp_path / 'users.jsonl').read_text().splitlines(keepends=True)
    (tmp_path / 'users.jsonl').write_text(''.join(lines[:-1]))
    with pytest.raises(UserError, match='do not fit each other; delete this folder'):
        dataset.load(tmp_path)
    (tmp_path / 'users.jsonl').write_text('{')
    with pytest.raises(UserError, match=r'users.jsonl: cannot be read'):
        dataset.load(tmp_path)
    (tmp_path / 'users.jsonl').write_text(''.join(lines))
    (tmp_path / 'items.npy').write_bytes(b'')
    with pytest.raises(UserError, match=r'items\.npy: cannot be read'):
        dataset.load(tmp_path)

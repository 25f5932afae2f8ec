"""The daily refresh: only what changed is asked, embedded and searched, and the result is the whole one."""

import collections
import json
import shutil

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.pipeline import refresh
from grasp_jax.pipeline.stages import prepare_data, prepare_knowledge, refresh_knowledge, run_pipeline
from grasp_jax.retrieval import exact
from grasp_jax.retrieval.neighbours import groups_of
from grasp_jax.vectors import vector_files

Usage = collections.namedtuple('Usage', 'free')

USERS, ITEMS = 60, 40


def rows():
    """(user, item, time): everybody walks through the shop."""
    rng = np.random.default_rng(0)
    return [(f'u{user:03d}', f'i{item:03d}', time) for user in range(USERS)
            for time, item in enumerate(rng.permutation(ITEMS)[:rng.integers(5, 12)])]


def config_of(folder, log, kind, url=''):
    """A config on a table of these interactions."""
    folder.mkdir(exist_ok=True)
    lines = [f'{user},{item},{time}' for user, item, time in log]
    (folder / 'interactions.csv').write_text('\n'.join(['user,item,time', *lines]) + '\n')
    items = sorted({item for _, item, _ in log})
    (folder / 'items.jsonl').write_text(''.join(
        json.dumps({'item': item, 'title': f'thing {item} of kind {hash_of(item)}',
                    'shelf': f'shelf {hash_of(item) % 2}'}) + '\n' for item in items))
    config = default()
    config.data.update({'kind': 'table', 'name': 'table', 'source': str(folder), 'filter': 'none',
                        'interactions_file': 'interactions.csv', 'items_file': 'items.jsonl'})
    config.text.domain = 'shop'
    config.encode.update({'kind': kind, 'width': 12, 'batch_size': 8})
    config.retrieve.update({'k': 5, 'method': 'exact'})
    config.evaluate.negatives = 10
    config.train.max_epochs = 1
    if url:
        config.text.source = 'model'
        config.encode.model = 'vectors'
        config.llm.update({'model': 'scripted', 'base_url': url})
    return config


def hash_of(item):
    return int(item[1:]) * 7 % 5


def changed_log():
    """Three users buy again, one item and one user are new, and one user is gone."""
    log = [row for row in rows() if row[0] != 'u050']
    log += [(user, 'i003', 100) for user in ('u001', 'u002', 'u003')]
    return log + [('u0005', item, time) for time, item in enumerate(('i001', 'i0015', 'i002', 'i004', 'i005'))]


def check_whole(folder, dataset, k=5, groups=None):
    """Neighbours and means are those of a search from the beginning."""
    m, n = len(dataset.item_ids), len(dataset.user_ids)
    found = vector_files.load_tables(folder / 'encode', folder / 'retrieve', n, m)
    of_items, of_users = (np.load(folder / 'retrieve' / f'{who}_neighbours.npy') for who in ('item', 'user'))
    for vectors, lists, means, their in ((found.items[1:], of_items - 1, found.items_similar[1:], groups),
                                         (found.users, of_users, found.users_similar, None)):
        truth = exact.nearest(vectors, k, their)
        np.testing.assert_array_equal(lists, truth)
        np.testing.assert_allclose(means, vectors[truth].mean(1), atol=1e-6)


@pytest.mark.slow
def test_only_what_changed_is_asked_and_embedded(scripted, tmp_path):
    with scripted() as (url, log):
        prepare_knowledge(config_of(tmp_path / 'data1', rows(), 'openai', url), tmp_path / 'monday')
        asked = len(log())
        config = config_of(tmp_path / 'data2', changed_log(), 'openai', url)
        found = dict(refresh_knowledge(config, tmp_path / 'elsewhere' / 'tuesday', tmp_path / 'monday'))
        (tmp_path / 'elsewhere' / 'tuesday').rename(tmp_path / 'tuesday')
        assert not (tmp_path / 'elsewhere' / 'llm').exists(), 'the answers of before are found'
        new = log()[asked:]
        prompts, texts = [line for line in new if isinstance(line, str)], [text for line in new
                                                                           if isinstance(line, list) for text in line]
    assert len(prompts) == len(texts) == found['prompts sent'] == 5
    assert sorted('visited' in prompt for prompt in prompts) == [False, True, True, True, True]
    assert (found['items that are new'], found['items encoded'], found['items with another text']) == (1, 1, 0)
    assert (found['users that are new'], found['users that are gone'], found['users with another text']) == (1, 1, 3)
    assert found['users encoded'] == 4
    done = prepare_knowledge(config, tmp_path / 'tuesday')  # nothing is made again, nobody is asked
    check_whole(tmp_path / 'tuesday', done.dataset)
    old, new_table = (np.load(tmp_path / day / 'encode' / 'items.npy') for day in ('monday', 'tuesday'))
    ids = done.dataset.item_ids
    stayed = [row for row, identity in enumerate(ids) if identity != 'i0015']
    np.testing.assert_array_equal(new_table[1:][stayed], old[1:])
    (tmp_path / 'monday').rename(tmp_path / 'gone')  # a finished folder stands alone
    report = run_pipeline(config, tmp_path / 'tuesday')
    assert report['stages']['encode']['items_encoded'] == 1


@pytest.mark.slow
def test_nothing_changed_and_no_vector_is_kept_elsewhere(scripted, tmp_path):
    with scripted() as (url, _):
        config = config_of(tmp_path / 'data', rows(), 'openai', url)
        prepare_knowledge(config, tmp_path / 'monday')
        shutil.rmtree(tmp_path / 'llm' / 'vectors')
        prepare_data(config, tmp_path / 'tuesday')  # as --dry_run does
        found = dict(refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'monday'))
    assert found['items encoded'] == found['users encoded'] == 0
    for name in ('items', 'users'):
        np.testing.assert_array_equal(*(np.load(tmp_path / day / 'encode' / f'{name}.npy')
                                        for day in ('monday', 'tuesday')))


def test_a_fitted_lsa_serves_the_next_days(tmp_path):
    first = prepare_knowledge(config_of(tmp_path / 'data1', rows(), 'lsa'), tmp_path / 'monday')
    config = config_of(tmp_path / 'data2', changed_log(), 'lsa')
    found = dict(refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'monday'))
    assert (found['items encoded'], found['users encoded'], found['prompts sent']) == (1, 4, 0)
    check_whole(tmp_path / 'tuesday', prepare_knowledge(config, tmp_path / 'tuesday').dataset)
    # A new text gets the vector that the same text had before.
    back = config_of(tmp_path / 'data1', rows(), 'lsa')
    refresh_knowledge(back, tmp_path / 'wednesday', tmp_path / 'tuesday')
    for name in ('items', 'users'):
        tables_of = [np.load(tmp_path / day / 'encode' / f'{name}.npy') for day in ('monday', 'wednesday')]
        np.testing.assert_allclose(*tables_of, atol=1e-5)
    assert first.dataset.user_ids == prepare_knowledge(back, tmp_path / 'wednesday').dataset.user_ids


def test_other_groups_are_searched_for_anew(tmp_path):
    config = config_of(tmp_path / 'data1', rows(), 'lsa')
    prepare_knowledge(config, tmp_path / 'monday')
    config.retrieve.item_group = 'shelf'
    refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'monday')
    done = prepare_knowledge(config, tmp_path / 'tuesday').dataset
    check_whole(tmp_path / 'tuesday', done, groups=groups_of(done.item_attributes, 'shelf', 'item_group'))
    config.retrieve.item_group = ''
    refresh_knowledge(config, tmp_path / 'wednesday', tmp_path / 'tuesday')
    check_whole(tmp_path / 'wednesday', done)


def test_more_neighbours_are_searched_for_anew(tmp_path):
    config = config_of(tmp_path / 'data1', rows(), 'lsa')
    prepare_knowledge(config, tmp_path / 'monday')
    config.retrieve.k = 7
    refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'monday')
    check_whole(tmp_path / 'tuesday', prepare_knowledge(config, tmp_path / 'tuesday').dataset, k=7)


def test_what_moves_to_another_group_has_the_neighbours_of_that(tmp_path):
    config = config_of(tmp_path / 'data1', rows(), 'lsa')
    config.text.domain, config.retrieve.item_group = 'beauty', 'shelf'  # which no text of this domain tells
    prepare_knowledge(config, tmp_path / 'monday')
    path = tmp_path / 'data1' / 'items.jsonl'
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines[:3]:
        line['shelf'] = f'shelf {1 - int(line["shelf"][-1])}'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines))
    changes = dict(refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'monday'))
    assert changes['items encoded'] == 0 < changes['items whose neighbours are others, also by what is new']
    done = prepare_knowledge(config, tmp_path / 'tuesday').dataset
    check_whole(tmp_path / 'tuesday', done, groups=groups_of(done.item_attributes, 'shelf', 'item_group'))


def test_a_folder_of_before_that_is_damaged_is_refused(tmp_path):
    config = config_of(tmp_path / 'data1', rows(), 'lsa')
    prepare_knowledge(config, tmp_path / 'monday')
    path = tmp_path / 'monday' / 'retrieve' / 'item_neighbours.npy'
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(UserError, match='item_neighbours.npy: is not as it was written.*copy it again'):
        refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'monday')


def test_a_disk_without_room_is_said_before_anything_is_written(tmp_path, monkeypatch):
    config = config_of(tmp_path / 'data1', rows(), 'lsa')
    prepare_knowledge(config, tmp_path / 'monday')
    for stage in ('prepare', 'encode'):
        monkeypatch.setattr('shutil.disk_usage', lambda folder, stage=stage: Usage(
            free=1000 if stage in str(folder) else 10 ** 12))
        with pytest.raises(UserError, match=f'{stage} needs'):
            refresh_knowledge(config, tmp_path / f'tuesday{len(stage)}', tmp_path / 'monday')


def test_what_cannot_be_refreshed_is_refused(tmp_path):
    config = config_of(tmp_path / 'data1', rows(), 'lsa')
    with pytest.raises(UserError, match='previous=.*nothing.*has no finished stage prepare'):
        refresh_knowledge(config, tmp_path / 'tuesday', tmp_path / 'nothing')
    prepare_knowledge(config, tmp_path / 'monday')
    with pytest.raises(UserError, match='holds stages already'):
        refresh_knowledge(config, tmp_path / 'monday', tmp_path / 'monday')
    other = config_of(tmp_path / 'data1', rows(), 'lsa')
    other.encode.width = 8
    with pytest.raises(UserError, match='another section encode'):
        refresh_knowledge(other, tmp_path / 'tuesday', tmp_path / 'monday')
    assert not (tmp_path / 'tuesday').exists(), 'what is refused leaves nothing in the way'
    refresh.start(tmp_path / 'wednesday', tmp_path / 'monday', tmp_path / 'llm', config)
    manifest = tmp_path / 'monday' / 'encode' / 'manifest.json'
    manifest.write_text(manifest.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(UserError, match='has changed since'):
        prepare_knowledge(config, tmp_path / 'wednesday')
    shutil.rmtree(tmp_path / 'monday')
    with pytest.raises(UserError, match='monday: is gone, and a refresh began from it'):
        prepare_knowledge(config, tmp_path / 'wednesday')

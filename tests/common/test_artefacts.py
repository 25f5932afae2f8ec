"""Artefacts: complete or not there, made once, refused when something else is asked for."""

import json
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError


def maker(calls, text='hello'):
    def make(folder):
        calls.append(folder)
        (folder / 'data.txt').write_text(text)
        return {'rows': 3}

    return make


def test_made_once_and_reused(tmp_path):
    calls = []
    first = artefacts.build(tmp_path / 'encode', {'a': 1}, ['x'], maker(calls))
    second = artefacts.build(tmp_path / 'encode', {'a': 1}, ['x'], maker(calls))
    assert len(calls) == 1 and not first.reused and second.reused
    assert first.fingerprint == second.fingerprint and second.facts == {'rows': 3}
    manifest = json.loads((tmp_path / 'encode' / 'manifest.json').read_text())
    assert manifest['files']['data.txt'] == artefacts.file_checksum(tmp_path / 'encode' / 'data.txt')


def test_a_failure_or_a_kill_leaves_nothing_that_looks_complete(tmp_path):
    def fails(folder):
        (folder / 'half.txt').write_text('half')
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        artefacts.build(tmp_path / 'encode', {}, [], fails)
    assert not (tmp_path / 'encode').exists()
    done = artefacts.build(tmp_path / 'encode', {}, [], maker([]))
    assert not (done.path / 'half.txt').exists()
    assert [path.name for path in tmp_path.iterdir()] == ['encode']


def test_what_is_unfinished_is_found_again_by_the_same_config_and_contents_alone(tmp_path):
    found = []

    def killed(folder):
        found.append((artefacts.unfinished(folder) / 'block').exists())
        (artefacts.unfinished(folder) / 'block').write_text('paid for')
        raise KeyboardInterrupt

    def ends(folder):
        found.append((artefacts.unfinished(folder) / 'block').exists())
        return {}

    for width, made_of in ((8, 'a'), (8, 'a'), (9, 'a'), (9, 'b')):
        with pytest.raises(KeyboardInterrupt):
            artefacts.build(tmp_path / 'retrieve', {'width': width}, [], killed, made_of)
    artefacts.build(tmp_path / 'retrieve', {'width': 9}, [], ends, 'b')
    assert found == [False, True, False, False, True]
    assert [path.name for path in tmp_path.iterdir()] == ['retrieve']


def test_what_a_kill_left_beside_a_complete_stage_goes(tmp_path):
    artefacts.build(tmp_path / 'retrieve', {}, [], maker([]))
    artefacts.unfinished(tmp_path / 'retrieve').mkdir()
    artefacts.build(tmp_path / 'retrieve', {}, [], maker([]))
    assert [path.name for path in tmp_path.iterdir()] == ['retrieve']


def test_another_config_or_other_inputs_are_refused_by_name(tmp_path):
    artefacts.build(tmp_path / 'encode', {'lsa': {'width': 8}, 'k': 1}, ['x'], maker([]))
    with pytest.raises(UserError, match=r'encode: .*\(lsa.width: 8 -> 9\)'):
        artefacts.build(tmp_path / 'encode', {'lsa': {'width': 9}, 'k': 1}, ['x'], maker([]))
    with pytest.raises(UserError, match='its inputs changed'):
        artefacts.build(tmp_path / 'encode', {'lsa': {'width': 8}, 'k': 1}, ['y'], maker([]))


def test_a_folder_of_something_else_is_never_touched(tmp_path):
    (tmp_path / 'encode').mkdir()
    (tmp_path / 'encode' / 'thesis.txt').write_text('three years')
    with pytest.raises(UserError, match='is not an artefact'):
        artefacts.build(tmp_path / 'encode', {}, [], maker([]))
    assert (tmp_path / 'encode' / 'thesis.txt').exists()


def test_a_damaged_manifest_is_one_line(tmp_path):
    artefacts.build(tmp_path / 'encode', {}, [], maker([]))
    (tmp_path / 'encode' / 'manifest.json').write_text('{"finger')
    with pytest.raises(UserError, match='cannot be read') as caught:
        artefacts.build(tmp_path / 'encode', {}, [], maker([]))
    assert '\n' not in str(caught.value)


@pytest.mark.parametrize('large', [False, True])
@pytest.mark.parametrize('damage', ['missing', 'shorter', 'other bytes'])
def test_a_stage_that_is_not_as_it_was_written_is_refused(tmp_path, monkeypatch, damage, large):
    def make(folder):
        (folder / 'rows.bin').write_bytes(b'1234')
        return {}

    if large:
        monkeypatch.setattr(artefacts, '_LOOKED_THROUGH', 3)
    path = artefacts.build(tmp_path / 'stage', {}, [], make).path
    if damage == 'missing':
        (path / 'rows.bin').unlink()
    else:
        (path / 'rows.bin').write_bytes(b'12' if damage == 'shorter' else b'4321')
    if large and damage == 'other bytes':  # which would take long to find
        assert artefacts.build(path, {}, [], make).reused
        return
    with pytest.raises(UserError, match=r'rows\.bin: is .* delete .*stage, and the same command makes it again'):
        artefacts.build(path, {}, [], make)


def test_a_claimed_folder_belongs_to_its_config(tmp_path):
    artefacts.claim(tmp_path / 'seed42', {'lr': 1}, ['x'])
    artefacts.claim(tmp_path / 'seed42', {'lr': 1}, ['x'])
    with pytest.raises(UserError, match='lr: 1 -> 2'):
        artefacts.claim(tmp_path / 'seed42', {'lr': 2}, ['x'])


def test_what_was_made_from_a_stage_that_has_come_out_otherwise_is_refused(tmp_path):
    first = artefacts.build(tmp_path / 'encode', {}, [], maker([], 'vectors'))
    artefacts.build(tmp_path / 'retrieve', {}, [first.fingerprint], maker([], 'lists'), first.contents)
    artefacts.claim(tmp_path / 'seed42', {}, [], made_of=first.contents)

    def again(text):
        shutil.rmtree(tmp_path / 'encode')
        made = artefacts.build(tmp_path / 'encode', {}, [], maker([], text))
        assert artefacts.build(tmp_path / 'encode', {}, [], maker([])).contents == made.contents
        found = artefacts.build(tmp_path / 'retrieve', {}, [made.fingerprint], maker([], 'lists'), made.contents)
        artefacts.claim(tmp_path / 'seed42', {}, [], made_of=made.contents)
        return found

    assert again('vectors').reused
    with pytest.raises(UserError, match='retrieve: was made from stages that have come out otherwise'):
        again('others')
    shutil.rmtree(tmp_path / 'retrieve')
    with pytest.raises(UserError, match='seed42: was made from stages'):
        again('others')
    artefacts.claim(tmp_path / 'seed42', {}, [])  # what is done may have been done elsewhere


def test_order_of_keys_does_not_matter_and_values_do():
    assert artefacts.fingerprint('s', {'a': 1, 'b': 2}, []) == artefacts.fingerprint('s', {'b': 2, 'a': 1}, [])
    assert artefacts.fingerprint('s', {'a': 1}, ['x', 'y']) != artefacts.fingerprint('s', {'a': 1}, ['y', 'x'])


def test_a_folder_is_built_by_one_at_a_time(tmp_path):
    order = []

    def second():
        with artefacts.lock(tmp_path):
            order.append('second')

    with artefacts.lock(tmp_path):
        other = threading.Thread(target=second)
        other.start()
        other.join(0.3)
        order.append('first')
    other.join(10)
    assert order == ['first', 'second']


def test_a_setting_that_came_later_leaves_a_claimed_folder_its_owner_at_its_usual_value_alone(tmp_path):
    usual = {'train': {'lr': 9, 'ema_decay': 0.0}}
    artefacts.claim(tmp_path / 'seed42', {'train': {'lr': 1}}, ['x'])
    artefacts.claim(tmp_path / 'seed42', {'train': {'lr': 1, 'ema_decay': 0.0}}, ['x'], usual)
    for other in ({'lr': 1, 'ema_decay': 0.5}, {'lr': 9, 'ema_decay': 0.0}):
        with pytest.raises(UserError, match='was made with another config'):
            artefacts.claim(tmp_path / 'seed42', {'train': other}, ['x'], usual)


def test_settings_that_are_free_may_change_in_a_claimed_folder(tmp_path):
    free = {'evaluate': ('ks',)}
    artefacts.claim(tmp_path / 'seed42', {'evaluate': {'ks': (1, 5), 'seed': 1}}, ['x'], {}, free)
    artefacts.claim(tmp_path / 'seed42', {'evaluate': {'ks': (10,), 'seed': 1}}, ['x'], {}, free)
    with pytest.raises(UserError, match='evaluate.seed: 1 -> 2'):
        artefacts.claim(tmp_path / 'seed42', {'evaluate': {'ks': (1, 5), 'seed': 2}}, ['x'], {}, free)


def test_several_writers_of_one_file_never_leave_half_of_it(tmp_path):
    path = tmp_path / 'report.md'

    def write(number):
        for _ in range(30):
            artefacts.write_text(path, f'{number}' * 100_000)

    script = ('import pathlib, sys; from grasp_jax.common import artefacts\n'
              f'for _ in range(30): artefacts.write_text(pathlib.Path({str(path)!r}), "b" * 100_000)')
    with subprocess.Popen([sys.executable, '-c', script], stderr=subprocess.PIPE, text=True) as other:
        while other.poll() is None:
            write('a')
            assert set(path.read_text()) in ({'a'}, {'b'}) and path.stat().st_size == 100_000
        assert other.returncode == 0, other.stderr.read()
    assert [found.name for found in tmp_path.iterdir()] == ['report.md']


def test_what_no_later_stage_reads_is_no_part_of_the_contents(tmp_path):
    def prepare(text, exported):
        def make(folder):
            (folder / 'tfds').mkdir()
            (folder / 'tfds' / 'users.array_record').write_text(exported)
            (folder / 'items.npy').write_text(text)
            return {}

        made = artefacts.build(tmp_path / 'prepare', {}, [], make)
        shutil.rmtree(tmp_path / 'prepare')
        return made.contents

    assert prepare('a', '1') == prepare('a', '2') != prepare('b', '1')


def test_files_hold_no_number_that_json_lacks(tmp_path):
    odd = {'nan': float('nan'), 'deep': [1.5, (float('inf'), {'x': np.float64('-inf')})], 'narrow': np.float32('nan'),
           'array': np.array([0.5, np.nan]), 'count': np.int64(3), 'half': np.float32(0.5), 'path': tmp_path,
           'no': None}
    held = {'nan': None, 'deep': [1.5, [None, {'x': None}]], 'narrow': None, 'array': [0.5, None], 'count': 3,
            'half': 0.5, 'path': str(tmp_path), 'no': None}
    artefacts.write_json(tmp_path / 'a.json', odd)
    text = (tmp_path / 'a.json').read_text()
    assert json.loads(text, parse_constant=lambda name: pytest.fail(name)) == held == artefacts.as_json(odd)
    made = artefacts.build(tmp_path / 'stage', {}, [], lambda folder: {'share': float('nan'), 'rows': (1, 2)})
    again = artefacts.build(tmp_path / 'stage', {}, [], lambda folder: pytest.fail('made again'))
    assert made.facts == {'share': None, 'rows': (1, 2)} and again.facts == {'share': None, 'rows': [1, 2]}

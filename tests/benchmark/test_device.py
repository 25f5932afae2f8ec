"""All that `benchmark device` measures, small, on the device of this machine."""

import itertools
import json

import pytest

from grasp_jax.benchmark import device, markdown, timing, workload
from grasp_jax.common.errors import UserError

TINY = workload.SIZES['tiny']


def options(folder, **changed):
    small = {'minutes': 60, 'large': TINY, 'reference': False, 'rounds': 1, 'steps': 3, 'users': 2}
    return device.Options(folder, **small | changed)


def written(rows, folder):
    found = {'command': 'device', 'machine': {**timing.machine(), 'command': 'a test'}, 'matmul_flops_per_s': 1e11,
             'size': {'name': 'tiny', **vars(TINY)}, 'results': rows}
    markdown.write(found, folder, device.plot)
    return json.loads((folder / 'device.json').read_text()), (folder / 'device.md').read_text()


@pytest.mark.slow
def test_every_part_is_measured_and_written(tmp_path, monkeypatch):
    monkeypatch.setattr(device, '_BACKBONES', ('gru4rec',))
    monkeypatch.setattr(device, '_MORE_METHODS', ('llm_init',))
    monkeypatch.setattr(device, '_STRONG', ('grasp_mixture',))
    rows = list(device.measure(TINY, options(tmp_path)))
    assert not [row for row in rows if 'why' in row]
    assert list(dict.fromkeys(row['part'] for row in rows)) == [
        'train', 'strong', 'evaluate', 'serve', 'large', 'retrieve', 'methods']
    assert all(row['seconds'] > 0 for row in rows)
    assert [row['name'] for row in rows if row['part'] == 'large'] == ['tables on the device', 'tables on the host']
    found, page = written(rows, tmp_path)
    assert found['results'] == json.loads(json.dumps(rows))
    assert '| strong | sasrec grasp_mixture |' in page and '| exact (grasp_jax) |' in page and 'users' in page
    assert (tmp_path / 'device.png').read_bytes().startswith(b'\x89PNG') and list((tmp_path / 'traces').rglob('*.pb'))


def test_a_part_that_fails_stops_no_other_and_a_kill_loses_one_row(tmp_path, monkeypatch):
    def broken():
        raise UserError('there is no such thing\nand more')

    monkeypatch.setattr(device, '_parts', lambda *_: {'train': [('one', broken)], 'retrieve': [
        ('two', lambda: [{'search': 'exact', 'rows': 3, 'width': 2, 'k': 1, 'seconds': 1.0, 'peak_bytes': None,
                          'recall': 1.0}]), ('three', broken)]})
    rows = device.measure(TINY, options(tmp_path))
    first, second = itertools.islice(rows, 2)
    assert first['why'] == 'there is no such thing' and second['search'] == 'exact'
    kept = json.loads((tmp_path / 'device.json').read_text())
    assert kept['results'] == [first] and not kept['complete']
    _, page = written([first, second, *rows], tmp_path)
    assert '| train | one | there is no such thing |' in page and '| exact | 3 |' in page


def test_nothing_begins_when_the_time_is_up(tmp_path):
    rows = list(device.measure(TINY, options(tmp_path, minutes=0)))
    assert len(rows) > 15 and all(row['why'] == 'no time left of 0 minutes' for row in rows)
    assert not list(tmp_path.iterdir())
    assert 'no time left' in written(rows, tmp_path)[1]

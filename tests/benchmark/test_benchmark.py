"""The benchmark measures what it says: programs in turns, the same function on both sides, figures that render."""

import dataclasses
import pickle
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.benchmark import (
    evaluation,
    llm_esr,
    markdown,
    preparation,
    profile,
    retrieval,
    substeps,
    sweep,
    timing,
    training,
    workload,
)
from grasp_jax.common import disk
from grasp_jax.common.errors import UserError
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.training_setup import make_training_setup

TINY = workload.SIZES['tiny']
MACHINE = {'machine': {**timing.machine(), 'command': 'a test'}, 'matmul_flops_per_s': 1e11,
           'size': {'name': 'tiny', **vars(TINY)}}


@pytest.fixture(scope='module')
def tiny():
    return workload.interactions_of(TINY), workload.tables_of(TINY)


def test_programs_take_turns_and_warm_up_calls_are_not_timed():
    calls = []
    seconds = timing.alternate({'a': lambda: calls.append('a'), 'b': lambda: (calls.append('b'), time.sleep(0.01))},
                               rounds=3, warm_up=2)
    assert calls == ['a', 'b'] * 5
    assert len(seconds['a']) == 3 and min(seconds['b']) >= 0.01


def test_summary_divides_by_the_units_of_a_call():
    found = timing.summary([4.0, 2.0, 6.0], per_call=2)
    assert (found['median_s'], found['min_s'], found['max_s'], found['calls']) == (2.0, 1.0, 3.0, 3)


def test_peak_memory_sees_what_is_allocated_and_freed():
    _, peak = timing.with_peak_memory(lambda: float(np.ones(25_000_000).sum()))
    if peak is None:
        pytest.skip('this system does not tell the peak of the memory')
    assert 150e6 < peak < 400e6


@pytest.mark.parametrize('size', (TINY, workload.SIZES['beauty_paper']))
def test_workloads_have_the_sizes_and_lengths_they_name(size):
    found = workload.interactions_of(size)
    assert found.num_users == size.users and found.num_items == size.items
    assert found.items.min() >= 1 and found.items.max() <= size.items
    assert found.lengths.min() >= 3
    np.testing.assert_allclose(found.lengths.mean(), size.mean_length, rtol=0.03)
    np.testing.assert_array_equal(found.items, workload.interactions_of(size).items)


@pytest.mark.parametrize('where', ('device', 'host'))
def test_vectors_have_unit_length_and_padding_is_zero(where):
    found = workload.tables_of(dataclasses.replace(TINY, tables=where))
    for table, rows in zip(found[:4], (TINY.users, TINY.users, TINY.items + 1, TINY.items + 1), strict=True):
        assert table.shape == (rows, TINY.width) and isinstance(table, np.memmap) == (where == 'host')
        np.testing.assert_allclose(np.linalg.norm(table[1:].astype(np.float32), axis=1), 1, atol=2e-3)
    assert not found.items[0].any() and not found.items_similar[0].any()


def test_tables_that_do_not_fit_the_disk_are_refused_at_once(monkeypatch):
    usage = type('Usage', (), {'free': 1e9})
    monkeypatch.setattr(disk.shutil, 'disk_usage', lambda folder: usage)
    with pytest.raises(UserError, match=r'1\.0 GB are free.*TMPDIR'):
        workload.tables_of(workload.SIZES['industry'])


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'method'), (('sasrec', 'grasp'), ('bert4rec', 'none')))
def test_both_sides_compute_the_same_loss_and_every_part_is_timed(tiny, monkeypatch, backbone, method):
    pytest.importorskip('torch', reason='needs the [reference] extra')
    called = []

    def two_seconds_each(programs, rounds, **_):
        for program in programs.values():
            program()
        called.extend(programs)
        return {name: [2.0] * rounds for name in programs}

    monkeypatch.setattr(timing, 'alternate', two_seconds_each)
    row = training.measure(TINY, backbone, method, *tiny, training.Options(rounds=1, steps=2))
    assert row['loss_difference'] < 1e-4
    # A call of ours takes two steps, or does a part five times, where the reference's takes one and does it once.
    ours, theirs = row['step']['grasp_jax'], row['step']['pytorch']
    assert (ours['median_s'], theirs['median_s'], row['ratio']) == (1.0, 2.0, 2.0)
    assert (ours['sequences_per_s'], theirs['sequences_per_s']) == (TINY.batch_size, TINY.batch_size / 2)
    assert set(row['parts']) == {'batch', 'item encoder', 'backbone', 'optimizer'}
    assert all((part['grasp_jax_s'], part['pytorch_s'], part['ratio']) == (0.4, 2.0, 5.0)
               for part in row['parts'].values())
    wide = row['parts']['item encoder']
    assert called.count('matmul') == ('flops' in wide) == (method == 'grasp')
    if method == 'grasp':
        assert wide['flops_per_s'] == wide['flops'] / 0.4 and wide['matmul_flops_per_s'] == 2048 ** 3
    text = markdown.render({'command': 'train', 'results': [row], **MACHINE})
    assert '200 users, 300 items' in text and f'{row["ratio"]:.1f}' in text


@pytest.mark.slow
def test_training_is_measured_without_the_reference_and_with_tables_on_the_host(tiny):
    size = dataclasses.replace(TINY, tables='host')
    # More steps than an epoch has: a call then ends with the epoch.
    row = training.measure(size, 'gru4rec', 'grasp', *tiny, training.Options(rounds=1, steps=50, reference=False))
    assert 'ratio' not in row and row['step']['grasp_jax']['sequences_per_s'] > 0
    assert row['parts']['item encoder']['grasp_jax_s'] > 0
    with pytest.raises(UserError, match='the reference needs all vectors on its device'):
        training.measure(size, 'gru4rec', 'grasp', *tiny, training.Options())
    found = evaluation.measure(size, 'sasrec', 'grasp', tiny[0], workload.negatives_of(tiny[0]), tiny[1], None)
    assert found['both']['grasp_jax_s'] > 0
    assert '-' in markdown.render({'command': 'train', 'results': [row], **MACHINE}, as_markdown=True)


def test_a_profile_leaves_a_trace_and_the_longest_operations(tmp_path):
    double = jax.jit(lambda x: x @ x)
    matrix = jnp.ones((500, 500))
    found = profile.operations(lambda: double(matrix).block_until_ready(), tmp_path / 'trace')
    assert list((tmp_path / 'trace').rglob('*.xplane.pb'))
    assert found == sorted(found, key=lambda one: -one['seconds'])
    row = {'backbone': 'sasrec', 'method': 'grasp', 'operations': [{'name': 'dot.7', 'seconds': 0.25, 'calls': 3}],
           'step': {'grasp_jax': {'median_s': 1.0, 'sequences_per_s': 1.0, 'peak_bytes': None}}}
    assert 'dot.7' in markdown.render({'command': 'train', 'results': [row], **MACHINE})


def test_wide_operations_are_counted_from_the_shapes(tiny):
    config = workload.config_of(TINY, backbone='sasrec', method='grasp')
    run = make_training_setup(config, make_mesh((1, 1), _one()), tiny[0], {}, tiny[1])
    shape = Epochs(run, 0).shape
    rows = 2 * shape.rows * (TINY.max_length + 1)  # inputs and negatives
    forward = rows * (4 * TINY.width) * 128 * 2  # a multiply-add is two
    assert substeps.wide_flops(run, shape) == 2 * forward


@pytest.mark.slow
@pytest.mark.parametrize(('backbone', 'method'), (('sasrec', 'grasp'), ('bert4rec', 'grasp'), ('gru4rec', 'none')))
def test_both_sides_rank_by_the_same_scores(tiny, monkeypatch, backbone, method):
    pytest.importorskip('torch', reason='needs the [reference] extra')
    monkeypatch.setattr(evaluation, '_seconds', lambda program: (program(), 6.0)[1])
    negatives = workload.negatives_of(tiny[0])
    users = 10_000 if method == 'none' else 5  # more than there are: all
    row = evaluation.measure(TINY, backbone, method, tiny[0], negatives, tiny[1], users=users)
    assert row['both']['pytorch_users'] == min(users, TINY.users)
    assert row['both']['largest_difference'] < 1e-4 and row['users'] == TINY.users
    assert row['both']['grasp_jax_s_per_user'] == 6.0 / TINY.users
    assert row['both']['pytorch_s_per_user'] == 6.0 / min(users, TINY.users)
    assert row['ratio'] == pytest.approx(TINY.users / min(users, TINY.users))
    assert f'{row["ratio"]:.0f}' in markdown.render({'command': 'evaluate', 'results': [row], **MACHINE})


def test_every_search_finds_the_neighbours():
    rows = retrieval.measure(TINY, 10, None)
    assert [row['search'] for row in rows][:2] == ['exact (grasp_jax)', 'scikit-learn brute force']
    assert all(row['recall'] > 0.99 and row['seconds'] > 0 for row in rows)
    assert 'recall' in markdown.render({'command': 'retrieve', 'results': rows, **MACHINE})


@pytest.mark.parametrize('content', (np.zeros(9, np.float32), np.full((30, 2), np.nan), np.zeros((5, 2)), b'',
                                     np.zeros((30, 2), int)), ids=('1-D', 'NaN', 'few', 'empty', 'whole'))
def test_vectors_that_nothing_can_be_searched_in_are_refused(tmp_path, content):
    path = tmp_path / 'vectors.npy'
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    with pytest.raises(UserError, match='--vectors=.*vectors.npy'):
        retrieval.load(str(path), 10)


@pytest.mark.slow
def test_a_call_is_the_same_program_whatever_an_epoch_ends_with(tiny):
    run = make_training_setup(workload.config_of(TINY), make_mesh((1, 1), _one()), tiny[0], {}, tiny[1])
    with run.config.unlocked():
        run.config.train.scan_steps = len(Epochs(run, 0).plan(0)) - 1
    trainer = training._Trainer(run)
    for call in range(1, 4):
        trainer.steps()
        assert int(trainer.state.step) == call * trainer.scan_steps, 'the short end of an epoch is passed over'


@pytest.mark.slow
@pytest.mark.parametrize('ending', ['parquet', 'csv'])
def test_a_made_up_table_is_prepared(ending):
    found = preparation.measure(20_000, ending)
    assert 15_000 < found['interactions'] < 20_000 and 1000 < found['users'] < 2000 and found['items'] > 200
    assert found['written_bytes'] > 8 * 100 * found['users'] and found['peak_bytes'] > 50e6 and found['seconds'] > 0
    text = markdown.render({**MACHINE, 'command': 'prepare', 'results': [found]})
    assert '20,000' in text and f'{found["users"]:,}' in text


@pytest.mark.slow
def test_the_sweep_draws_its_picture(tmp_path):
    base = dataclasses.replace(TINY, users=100)
    rows = list(sweep.measure(1, 2, False, base, {'items': (100,), 'length': (10,)}))
    assert [(row['axis'], row['value']) for row in rows] == [('items', 100), ('length', 10)]
    sweep.plot(rows, tmp_path / 'plots' / 'scaling.png')
    assert (tmp_path / 'plots' / 'scaling.png').read_bytes().startswith(b'\x89PNG')
    assert 'fastest' in markdown.render({'command': 'sweep', 'results': rows, **MACHINE})


def test_the_export_holds_what_the_other_trainer_reads(tiny, tmp_path):
    folder = llm_esr.export(*tiny, tmp_path)
    lines = np.loadtxt(folder / 'inter.txt', int)
    assert lines.min(0).tolist() == [1, 1] and lines[:, 0].max() == TINY.users
    np.testing.assert_array_equal(lines[:, 1], tiny[0].items)
    arrays = {path.stem: pickle.loads(path.read_bytes()) for path in folder.glob('*.pkl')}
    assert {name: array.shape for name, array in arrays.items()} == {
        'itm_emb_np': (TINY.items, TINY.width), 'usr_emb_np': (TINY.users, TINY.width),
        'pca64_itm_emb_np': (TINY.items, TINY.width), 'sim_user_100': (TINY.users, 100)}
    assert not (arrays['sim_user_100'] == np.arange(TINY.users)[:, None]).any()
    assert '--max_len 20' in llm_esr.command(TINY, 'sasrec', '/there')


@pytest.mark.parametrize(('arguments', 'message'), (
    (['fly'], 'name one of train, evaluate, retrieve, sweep, llm_esr'), (['train', '--size=huge'], '--size=huge'),
    (['retrieve', '--size=tiny', '--vectors=nowhere.npy'], '--vectors=nowhere.npy'),
    (['train', '--size=tiny', '--backbones=lstm'], 'lstm'),
    (['evaluate', '--backbones='], '--backbones'), (['sweep', '--plot=x.svgx'], '--plot=x.svgx')))
def test_a_wrong_command_line_is_an_error_of_one_line(module, arguments, message):
    done = module('benchmark', *arguments)
    assert done.returncode == 2 and message in done.stderr and 'Traceback' not in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def _one():
    return jax.devices()[:1]

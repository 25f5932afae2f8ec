"""A run that is given more epochs in its folder ends as one that had them from the start, bit for bit."""

import json
import shutil

import jax
import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.pipeline.stages import run_pipeline
from grasp_jax.ranking.lists import load_lists
from grasp_jax.ranking.metrics import load_ranks
from grasp_jax.training import growing, seeds
from grasp_jax.training.checkpoints import Checkpoints
from grasp_jax.training.metrics_log import read_metrics
from tests.tiny_runs import tiny_config, write_table

KEPT = ('epoch', 'step', 'loss', 'valid_ndcg10', 'valid_hr10')


def train(small_run, folder, max_epochs, patience=9, **train):
    """One seed of the small run, which learns fast enough that its best epoch is not the last."""
    run = small_run(method='none', train={'max_epochs': max_epochs, 'patience': patience, 'learning_rate': 3e-2,
                                          **train})
    return run, seeds.train_and_test(run, 0, folder, 'x', 'contents')


def left(run, folder):
    """What a finished run leaves: its log, its best epoch and that state, its ranks and its lists."""
    with Checkpoints(folder / 'checkpoints') as checkpoints:
        best = checkpoints.best()
        state = checkpoints.load(best.epoch, run.state_shapes(0), run.mesh)
    log = [[line[key] for key in KEPT] for line in read_metrics(folder)]
    ranks, lists = load_ranks(folder), load_lists(folder)
    return log, best, [*map(np.asarray, jax.tree.leaves(state)), *(each for each in ranks if each is not None), *lists]


def assert_equal(one, two):
    assert one[:2] == two[:2]
    for a, b in zip(one[2], two[2], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture(scope='module')
def through(tmp_path_factory):
    """Runs that had their end from the start, by that end."""
    base, known = tmp_path_factory.mktemp('through'), {}

    def make(small_run, *end):
        if end not in known:
            known[end] = left(*train(small_run, base / '_'.join(map(str, end)), *end))
        return known[end]

    return make


def first_end(values, max_epochs, patience):
    """What a run does, written as its loop."""
    best = None
    for epoch in range(max_epochs):
        if best is not None and epoch - 1 - best >= patience:
            return epoch
        if epoch == len(values):
            return None
        if best is None or values[epoch] > values[best]:
            best = epoch
    return max_epochs


def test_where_a_run_ends_is_where_its_loop_ends():
    rng = np.random.default_rng(0)
    for _ in range(2000):
        values = rng.integers(0, 6, rng.integers(0, 9)).tolist()
        end = int(rng.integers(1, 10)), int(rng.integers(1, 6))
        assert growing.ends_after(values, *end) == first_end(values, *end), (values, end)


@pytest.mark.slow
@pytest.mark.parametrize('ends', [[(2, 9), (4, 9), (8, 9)], [(8, 1), (8, 2), (8, 9)],
                                  [(3, 1), (8, 1), (8, 9)]], ids=str)
def test_a_run_that_grew_equals_one_that_had_its_end_from_the_start(small_run, through, tmp_path, ends):
    for end in ends:
        run, folder = train(small_run, tmp_path / 'seed0', *end)
        assert_equal(left(run, folder), through(small_run, *end))


@pytest.mark.slow
def test_a_run_whose_epochs_are_several_passes_grows_as_well(small_run, tmp_path):
    found = []
    for folder, ends in ((tmp_path / 'grown', [(1, 1), (3, 1), (3, 9)]), (tmp_path / 'through', [(3, 9)])):
        for end in ends:
            run, _ = train(small_run, folder, *end, min_steps_per_epoch=8)
        found.append(left(run, folder))
    assert_equal(*found)
    assert [line[1] for line in found[0][0]] == [12, 24, 36]


@pytest.mark.slow
@pytest.mark.parametrize('step', ['forget_best', 'note_ranked', 'save_lists', 'save_ranks', 'train', 'test_ranks'])
def test_a_kill_at_any_step_of_growing_leaves_a_folder_that_goes_on(small_run, through, tmp_path, monkeypatch, step):
    run, folder = train(small_run, tmp_path / 'seed0', 1)
    before = left(run, folder)
    place = growing if hasattr(growing, step) else seeds
    real = getattr(place, step)
    for when in ('before', 'after'):
        def killed(*arguments, when=when):
            if when == 'after':
                real(*arguments)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(place, step, killed)
            train(small_run, folder, 8)
        assert (folder / 'test_ranks.npz').exists(), 'the ranks of before stay until new ones take their place'
        if step not in ('save_ranks', 'note_ranked'):
            np.testing.assert_array_equal(load_ranks(folder).full, before[2][-4])
    again = train(small_run, folder, 8)
    assert_equal(left(*again), through(small_run, 8, 9))


@pytest.mark.slow
def test_a_run_that_grew_and_is_whole_is_up_to_date(small_run, tmp_path, monkeypatch):
    for end in (1, 8):
        train(small_run, tmp_path / 'seed0', end)
    monkeypatch.setattr(seeds, 'train', None)  # would be called
    train(small_run, tmp_path / 'seed0', 8)


@pytest.mark.slow
def test_ranks_of_a_best_epoch_that_stays_are_not_made_again(small_run, tmp_path, monkeypatch):
    run, folder = train(small_run, tmp_path / 'seed0', 8)
    best, end = left(run, folder)[1].epoch + 1, len(read_metrics(folder))
    assert best < end
    shutil.rmtree(folder)
    train(small_run, folder, best)
    monkeypatch.setattr(seeds, 'test_ranks', None)
    run, _ = train(small_run, folder, end)
    assert len(read_metrics(folder)) == end and left(run, folder)[1].epoch == best - 1


@pytest.mark.slow
def test_a_shorter_run_is_another_one_unless_it_ends_where_this_one_did(small_run, tmp_path):
    run, folder = train(small_run, tmp_path / 'seed0', 8, 1)
    done = len(read_metrics(folder))
    assert done < 8
    train(small_run, folder, done)  # with all of its epochs, and more patience
    train(small_run, folder, 8, 1)
    before = (folder / 'manifest.json').read_bytes()
    with pytest.raises(UserError, match=rf'holds {done} epochs already, and a run with train.max_epochs=1, '
                                        'train.patience=9 ends after 1; raise them, or choose another'):
        train(small_run, folder, 1)
    assert (folder / 'manifest.json').read_bytes() == before


@pytest.mark.slow
def test_a_killed_run_may_be_given_another_end_as_well(small_run, through, tmp_path):
    run, folder = train(small_run, tmp_path / 'seed0', 3)
    (folder / 'test_ranks.npz').unlink()  # as where the kill came before
    run, folder = train(small_run, folder, 8)
    assert_equal(left(run, folder), through(small_run, 8, 9))


@pytest.mark.slow
def test_results_without_checkpoints_do_not_begin_afresh(small_run, tmp_path):
    _, folder = train(small_run, tmp_path / 'seed0', 2)
    shutil.rmtree(folder / 'checkpoints')
    train(small_run, folder, 2)  # as they are they are done
    with pytest.raises(UserError, match='no checkpoint of its last epoch to go on from with train.max_epochs=3'):
        train(small_run, folder, 3)
    assert len(read_metrics(folder)) == 2


@pytest.mark.slow
def test_nothing_else_may_change(small_run, tmp_path):
    _, folder = train(small_run, tmp_path / 'seed0', 2)
    with pytest.raises(UserError, match='train.batch_size: 16 -> 8'):
        train(small_run, folder, 4, batch_size=8)
    short, longer = (small_run(method='none', train={'max_epochs': end, 'learning_rate': 3e-2}) for end in (2, 4))
    with pytest.raises(UserError, match='come out otherwise since'):
        seeds.train_and_test(longer, 0, folder, 'x', 'other contents')
    seeds.claim_run(folder, short.config, ['x'])
    with pytest.raises(UserError, match='train.max_epochs: 2 -> 4'):  # a table must not mix runs of different ends
        seeds.claim_run(folder, longer.config, ['x'])


@pytest.mark.slow
def test_the_report_and_what_was_set_aside_follow(tmp_path):
    write_table(tmp_path / 'data')
    settings = {'evaluate__cold_users': 0.1, 'model__method': 'none'}
    for name, ends in (('grown', (1, 4)), ('through', (4,))):
        for end in ends:
            run_pipeline(tiny_config(tmp_path / 'data', train__max_epochs=end, **settings), tmp_path / name,
                         tmp_path / 'stages')
    grown, through = (json.loads((tmp_path / name / 'report.json').read_text()) for name in ('grown', 'through'))
    assert grown['validation']['epoch'] > 1 and grown['training']['epochs'] == 4
    for key in ('test', 'validation', 'cold_start', 'protocol'):
        assert grown[key] == through[key], key

import math

import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.ranking import metrics

KS = (1, 3, 5, 10, 20)


@pytest.fixture
def ranks():
    return np.random.default_rng(0).integers(2, 202, 1001) / 2  # half ranks too


def slow_ndcg(rank, k):
    """Gain 1 at the target's place, none elsewhere; the ideal list has it first."""
    return sum(1 / math.log2(place + 1) for place in [rank] if place <= k) / (1 / math.log2(2))


def test_ndcg_and_hits_equal_a_slow_loop(ranks):
    for k in KS:
        assert metrics.ndcg(ranks, k) == pytest.approx([slow_ndcg(rank, k) for rank in ranks])
        assert metrics.hit_rate(ranks, k).tolist() == [float(rank <= k) for rank in ranks]
    assert metrics.summarise(ranks, KS)['MRR'] == pytest.approx(sum(1 / rank for rank in ranks) / len(ranks))


def test_metrics_never_fall_with_k_and_never_rise_with_rank(ranks):
    summary = metrics.summarise(ranks, KS)
    for name in ('NDCG', 'HR'):
        assert np.all(np.diff([summary[f'{name}@{k}'] for k in KS]) >= 0)
        assert summary[f'{name}@1'] == summary['HR@1']
    ordered = np.sort(ranks)
    assert np.all(np.diff(metrics.ndcg(ordered, 10)) <= 0)


def test_a_tie_is_no_hit_at_one_and_lies_between_its_neighbours():
    assert metrics.hit_rate(np.array([1, 1.5]), 1).tolist() == [1, 0]
    first, tied, second = metrics.ndcg(np.array([1, 1.5, 2]), 10)
    assert first == 1 and second < tied < first


def test_a_constant_scorer_lands_at_the_mean_rank_of_chance_and_never_gains():
    candidates = 101
    constant = np.full(500, 1 + (candidates - 1) / 2)
    random = np.random.default_rng(1).integers(1, candidates + 1, 100_000)
    assert constant.mean() == 51
    assert random.mean() == pytest.approx(51, abs=0.5)
    by_chance, by_constant = metrics.summarise(random, KS), metrics.summarise(constant, KS)
    assert by_chance['HR@10'] == pytest.approx(10 / 101, abs=0.005)
    for name, value in by_constant.items():
        assert value <= by_chance[name]
    assert by_constant['HR@10'] == 0
    assert metrics.summarise(constant, (51,))['HR@51'] == 1


@pytest.mark.parametrize('others', (1, 2, 9, 18, 19, 100))
def test_a_constant_scorer_beats_chance_only_at_the_cut_offs_that_are_warned_of(others):
    ks = range(1, others + 3)
    constant = metrics.summarise(np.array([1 + others / 2]), ks)
    chance = metrics.summarise(np.arange(1, others + 2), ks)
    found = metrics.tied_hits(ks, others)
    assert found == [k for k in ks if constant[f'HR@{k}'] == 1]
    assert {k for k in ks if constant[f'HR@{k}'] > chance[f'HR@{k}']} == {k for k in found if k <= others}
    assert all(constant[f'NDCG@{k}'] <= chance[f'NDCG@{k}'] for k in ks if k not in found or k > others)
    assert constant['MRR'] <= chance['MRR']


def test_merged_batches_equal_the_whole_and_padding_changes_nothing(ranks):
    merged = None
    for start in range(0, len(ranks), 64):
        batch = ranks[start:start + 64]
        filled = np.concatenate([batch, np.ones(64 - len(batch))])
        part = metrics.accumulate(filled, KS, np.arange(64) < len(batch))
        merged = part if merged is None else metrics.merge(part, merged)
    whole = metrics.accumulate(ranks, KS)
    for name, mean in whole.items():
        assert merged[name].count == mean.count == len(ranks)
        assert merged[name].total == pytest.approx(mean.total, rel=1e-12)
    assert metrics.summarise(ranks, KS) == {name: mean.value for name, mean in whole.items()}


def test_nothing_counted_is_not_a_number():
    assert all(math.isnan(value) for value in metrics.summarise(np.zeros(0), KS).values())


def test_ranks_survive_the_disk_and_damage_is_named(tmp_path):
    ranks = metrics.Ranks(np.arange(3), np.array([4, 5, 6]), np.array([1, 1.5, 101]), np.array([1, 2, 700.5]))
    for some in (ranks, ranks._replace(full_unmasked=np.array([1, 4, 900.5]))):  # without it as in older files
        metrics.save_ranks(tmp_path, some)
        for written, read in zip(some, metrics.load_ranks(tmp_path), strict=True):
            np.testing.assert_array_equal(written, read)
    metrics.save_ranks(tmp_path, ranks._replace(full_unmasked=np.array([1, 0.5, 3])))
    with pytest.raises(UserError, match=r'row 1 of full_unmasked is 0.5'):
        metrics.load_ranks(tmp_path)
    nobody = ranks._replace(full=np.array([1, np.nan, 3]))  # beside the target to be ranked against
    metrics.save_ranks(tmp_path, nobody)
    np.testing.assert_array_equal(metrics.load_ranks(tmp_path).full, nobody.full)
    metrics.save_ranks(tmp_path, ranks._replace(full=np.array([1, np.inf, 3])))
    with pytest.raises(UserError, match=r'test_ranks\.npz: row 1 of full is inf'):
        metrics.load_ranks(tmp_path)
    metrics.save_ranks(tmp_path, ranks._replace(sampled=np.ones(2)))
    with pytest.raises(UserError, match='sampled has shape'):
        metrics.load_ranks(tmp_path)
    (tmp_path / metrics.RANKS_FILE).write_bytes(b'PK\x03\x04 cut off')
    with pytest.raises(UserError, match='cannot be read'):
        metrics.load_ranks(tmp_path)
    with pytest.raises(UserError, match='is not there; run again'):
        metrics.load_ranks(tmp_path / 'nowhere')
    many = np.random.default_rng(0).permutation(5000)
    metrics.save_ranks(tmp_path, metrics.Ranks(many, many, many + 1.0, many + 1.0))
    content = bytearray((tmp_path / metrics.RANKS_FILE).read_bytes())
    content[200:400] = bytes(200)  # inside the first compressed stream
    (tmp_path / metrics.RANKS_FILE).write_bytes(content)
    with pytest.raises(UserError, match='cannot be read'):
        metrics.load_ranks(tmp_path)


def test_ranks_are_never_unpickled(tmp_path):
    np.savez(tmp_path / metrics.RANKS_FILE, users=np.array([{}], dtype=object))
    with pytest.raises(UserError, match='cannot be read'):
        metrics.load_ranks(tmp_path)


def test_who_has_no_rank_counts_nowhere():
    ranks = np.array([3.0, np.nan, 1.0, np.nan])
    assert metrics.summarise(ranks, KS) == metrics.summarise(ranks[[0, 2]], KS)
    assert metrics.accumulate(ranks, KS)['MRR'].count == 2
    for values in (metrics.ndcg(ranks, 10), metrics.hit_rate(ranks, 10), metrics.reciprocal_rank(ranks)):
        assert np.isnan(values).tolist() == [False, True, False, True]
    assert all(np.isnan(value) for value in metrics.summarise(ranks[[1, 3]], KS).values())

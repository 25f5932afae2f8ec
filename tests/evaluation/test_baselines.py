"""Baselines against plain loops, on small logs with ties, repeats, users without negatives and unknown targets."""

import numpy as np
import pytest

from grasp_jax.data.interactions import Interactions, draw_negatives
from grasp_jax.evaluation import baselines, item_tables
from grasp_jax.ranking import metrics
from grasp_jax.retrieval.bought_together import together
from grasp_jax.retrieval.exact import unit


def log(seed, users=40, items=25, shortest=1):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(shortest, 12, users)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Interactions(indptr, rng.zipf(1.4, lengths.sum()).clip(max=items).astype(np.int32), items)


def plain_scores(interactions, name, history, vectors):
    """Scores of items 0..m, worked out pair by pair."""
    size = interactions.num_items + 1
    trained = [interactions.sequence(user, 'train') for user in range(interactions.num_users)]
    having = [{user for user, own in enumerate(trained) if item in own} for item in range(size)]

    def cosine(one, other):
        return len(having[one] & having[other]) / np.sqrt(len(having[one]) * len(having[other])) if (
            one != other and having[one] and having[other]) else 0.0

    if name == 'popularity':
        return np.array([sum(list(own).count(item) for own in trained) for item in range(size)])
    if name == 'own_items':
        return np.array([list(history).count(item) for item in range(size)])
    if name == 'transitions':
        return np.array([sum(a == history[-1] and b == item for own in trained
                             for a, b in zip(own, own[1:], strict=False)) for item in range(size)])
    if name == 'content':
        return unit(vectors) @ unit(vectors)[history].mean(0)
    if name.startswith('graph'):
        table = plain_graph(interactions, vectors if name == 'graph_texts' else None)
        return sum(0.5 ** place * table[item] for place, item in enumerate(history[::-1][:3]))
    known = set(history[-3:] if name.endswith('last3') else history)
    return np.array([sum(cosine(one, item) for one in known) for item in range(size)])


def plain_graph(interactions, vectors):
    edges = together(interactions).toarray().astype(float)
    if vectors is not None:
        cosines = np.maximum(unit(vectors)[1:] @ unit(vectors)[1:].T, 0)
        np.fill_diagonal(cosines, 0)
        edges[1:, 1:] += 0.1 * cosines / cosines.sum(1, keepdims=True)
    return edges + 0.5 * edges @ edges


def plain_rank(scores, target, others):
    return 1 + sum(scores[item] > scores[target] + 1e-6 for item in others) + sum(
        abs(scores[item] - scores[target]) <= 1e-6 for item in others) / 2


@pytest.mark.slow
@pytest.mark.parametrize('repeats', [False, True])
def test_ranks_are_those_of_plain_loops(repeats, monkeypatch):
    monkeypatch.setattr(item_tables, '_ALIKE', 24)  # all others, as ties at a border are broken by numbers
    for seed in range(3):
        interactions, vectors = log(seed), np.random.default_rng(seed).normal(size=(26, 5)).astype(np.float32)
        vectors[[3, 4]] = vectors[5]  # ties
        negatives = draw_negatives(interactions, 20, 1)
        assert (negatives == 0).any()
        sample = baselines.ranked(interactions, negatives)
        found = baselines.by_counts(interactions, sample, repeats)
        found |= baselines.by_vectors(interactions, sample, vectors[1:], repeats)
        assert set(found) == set(baselines.NAMES) - (set() if repeats else {'own_items'})
        compared = 0
        for row, (user, target) in enumerate(zip(sample.users, sample.targets, strict=True)):
            history = interactions.sequence(user, 'test')
            everything = set(range(1, 26)) - {target} - (set() if repeats else set(history))
            for name, ranks in found.items():
                scores = plain_scores(interactions, name, history, vectors)
                near = [item for item in everything if abs(scores[item] - scores[target]) <= 1e-6]
                if name in ('content', 'graph_texts') and (vectors[near] != vectors[target]).any():
                    continue  # equal but for the last bit of other vectors, as of a history of two items
                assert ranks.full[row] == plain_rank(scores, target, everything), (name, user)
                compared += 1
                assert ranks.sampled[row] == plain_rank(scores, target, negatives[row][negatives[row] > 0]), name
        assert compared > 6 * len(sample.users)


def test_who_has_everything_has_no_rank():
    interactions = log(4, items=5)
    sample = baselines.ranked(interactions, draw_negatives(interactions, 5, 1))
    for repeats in (False, True):
        found = baselines.by_counts(interactions, sample, repeats)
        whole = [len({*history, target}) == 5 for history, target in zip(sample.histories, sample.targets, strict=True)]
        for ranks in found.values():
            assert np.isnan(ranks.sampled).tolist() == whole and 0 < sum(whole) < len(whole)
            assert np.isnan(ranks.full).tolist() == ([False] * len(whole) if repeats else whole)


def test_what_is_held_out_is_not_counted():
    one = log(5, shortest=3)
    other = Interactions(one.indptr, one.items.copy(), one.num_items)
    rng = np.random.default_rng(0)
    for user in one.evaluated_users():
        other.items[one.indptr[user + 1] - 2:one.indptr[user + 1]] = rng.integers(1, 26, 2)
    assert (one.items != other.items).any()
    for table in (item_tables.similarities, item_tables.transitions, item_tables.graph):
        assert (table(one) != table(other)).nnz == 0 and table(one).nnz
    assert np.array_equal(one.train_item_counts(), other.train_item_counts())


def test_a_scorer_that_knows_nothing_is_at_chance():
    interactions = log(6)
    sample = baselines.ranked(interactions, draw_negatives(interactions, 4, 1))
    found = baselines.by_content(sample, np.zeros((25, 3), np.float32))
    left = [25 - len(set(history) | {target}) for history, target in zip(sample.histories, sample.targets, strict=True)]
    assert found.full == pytest.approx(1 + np.array(left) / 2)
    assert found.sampled == pytest.approx(1 + (sample.negatives > 0).sum(1) / 2)


def test_small_blocks_give_the_same(monkeypatch):
    interactions = log(7, users=60)
    sample = baselines.ranked(interactions, draw_negatives(interactions, 20, 1))
    whole = baselines.by_counts(interactions, sample)
    monkeypatch.setattr(baselines, '_BLOCK', 40)
    monkeypatch.setattr(item_tables, '_BLOCK', 40)
    for name, ranks in baselines.by_counts(interactions, sample).items():
        for one, other in zip(ranks[:4], whole[name][:4], strict=True):
            assert np.array_equal(one, other)


def test_bounds_of_large_data(monkeypatch):
    interactions = log(8, users=60)
    negatives, whole = draw_negatives(interactions, 20, 1), item_tables.similarities(interactions)
    monkeypatch.setattr(item_tables, '_ENTRIES', 4 * 25)
    few = item_tables.similarities(interactions)
    for item in range(26):
        entries, kept = whole[item].toarray()[0], few[item].toarray()[0]
        assert np.array_equal(np.sort(kept)[::-1][:4], np.sort(entries)[::-1][:4]) and (kept > 0).sum() <= 4
    monkeypatch.setattr(baselines, '_CELLS', 10 * 25)
    sample = baselines.ranked(interactions, negatives)
    evaluated = interactions.evaluated_users()
    assert len(sample.users) == 10 and set(sample.users) <= set(evaluated)
    assert np.array_equal(sample.negatives, negatives[np.searchsorted(evaluated, sample.users)])
    monkeypatch.setattr(item_tables, '_PAIRS', int((np.minimum(interactions.input_lengths('train'), 3) ** 2).sum()))
    assert item_tables.newest_counted(interactions) == 3
    newest = [interactions.sequence(user, 'train')[-3:] for user in range(interactions.num_users)]
    capped = Interactions(np.concatenate([[0], np.cumsum([len(own) for own in newest])]),
                          np.concatenate(newest), interactions.num_items)
    monkeypatch.setattr(Interactions, 'input_lengths', lambda self, split: self.lengths if self is capped else
                        original(self, split))
    assert (item_tables.similarities(interactions) != item_tables.similarities(capped)).nnz == 0


original = Interactions.input_lengths


def test_ranks_come_back_from_a_file(tmp_path):
    interactions = log(9)
    sample = baselines.ranked(interactions, draw_negatives(interactions, 20, 1), count=12)
    found = baselines.by_counts(interactions, sample)
    baselines.save(tmp_path / 'ranks.npz', found)
    again = baselines.load(tmp_path / 'ranks.npz')
    assert list(again) == list(found) and len(again['popularity'].users) == 12
    for name, ranks in again.items():
        assert metrics.summarise(ranks.full, (10,)) == metrics.summarise(found[name].full, (10,))
        assert np.array_equal(ranks.targets, sample.targets)

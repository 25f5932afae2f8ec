"""The synthetic shop: repeatable, its texts tell its tastes, its dial does what it says."""

import numpy as np
import pytest
from sklearn.feature_extraction.text import TfidfVectorizer

from grasp_jax.common.errors import UserError
from grasp_jax.data.synthetic import shop


@pytest.fixture(scope='module')
def made() -> shop.Shop:
    return shop.make()


def item_vectors(made: shop.Shop) -> np.ndarray:
    texts = [' '.join([found['title'], found['description'], *found['features']]) for found in made.item_attributes]
    return TfidfVectorizer().fit_transform(texts).toarray()


def test_same_arguments_make_the_same_shop():
    one, other, third = shop.make(50, 40, 0.3, seed=4), shop.make(50, 40, 0.3, seed=4), shop.make(50, 40, 0.3, seed=5)
    np.testing.assert_array_equal(one.log.items, other.log.items)
    np.testing.assert_array_equal(one.log.times, other.log.times)
    assert one.item_attributes == other.item_attributes and one.user_attributes == other.user_attributes
    assert one.log.items.tolist() != third.log.items.tolist()


def test_sizes_lengths_and_no_repeats(made):
    assert len(made.log.user_ids) == len(made.user_attributes) == 1500
    assert len(made.log.item_ids) == len(made.item_attributes) == 400
    lengths = np.bincount(made.log.users)
    assert lengths.min() >= 5 and lengths.max() <= 40 and 7 < lengths.mean() < 11
    assert len(np.unique(made.log.users.astype(int) * 400 + made.log.items)) == len(made.log)


def test_popularity_has_a_long_tail(made):
    counts = np.sort(np.bincount(made.log.items, minlength=400))[::-1]
    assert counts[:80].sum() > 0.3 * counts.sum() and counts[-1] >= 1
    assert counts[0] > 8 * np.median(counts[200:])


def test_texts_recover_the_product_type(made):
    vectors = item_vectors(made)
    likeness = vectors @ vectors.T
    np.fill_diagonal(likeness, -1)
    assert np.mean(made.item_types[likeness.argmax(axis=1)] == made.item_types) > 0.9


def test_texts_of_the_history_tell_the_next_item_even_in_the_tail(made):
    vectors = item_vectors(made)
    order = np.lexsort((made.log.times, made.log.users))
    sequences = np.split(made.log.items[order], np.cumsum(np.bincount(made.log.users))[:-1])
    popularity = np.bincount(made.log.items, minlength=400)
    rng = np.random.default_rng(0)
    hits, popular_hits = [], []
    for sequence in sequences:
        target = sequence[-1]
        others = rng.choice(np.setdiff1d(np.arange(400), sequence), 100, replace=False)
        mean = vectors[sequence[:-1]].mean(axis=0)
        if popularity[target] < np.quantile(popularity, 0.8):
            hits.append((vectors[others] @ mean >= vectors[target] @ mean).sum() < 10)
            popular_hits.append((popularity[others] >= popularity[target]).sum() < 10)
    assert np.mean(hits) > 0.4 > 2 * np.mean(popular_hits)


def test_what_follows_is_not_only_taste(made):
    order = np.lexsort((made.log.times, made.log.users))
    users, types = made.log.users[order], made.item_types[made.log.items[order]]
    same = users[1:] == users[:-1]
    pairs = np.zeros((36, 36))
    np.add.at(pairs, (types[:-1][same], types[1:][same]), 1)
    follow = np.arange(36) // 6 * 6 + (np.arange(36) + 1) % 6
    forward, backward = pairs[np.arange(36), follow].sum(), pairs[follow, np.arange(36)].sum()
    assert forward > 2 * backward


@pytest.mark.slow
def test_hallucination_changes_profiles_and_nothing_else():
    shops = [shop.make(200, 60, share, seed=1) for share in (0.0, 0.25, 0.5, 1.0)]
    for made, share in zip(shops, (0.0, 0.25, 0.5, 1.0), strict=True):
        assert made.hallucinated.sum() == 200 * share
        np.testing.assert_array_equal(made.log.items, shops[0].log.items)
        assert made.item_attributes == shops[0].item_attributes
        for user in range(200):
            right = made.user_attributes[user] == shops[0].user_attributes[user]
            assert right != made.hallucinated[user]
            assert made.user_attributes[user] in shops[0].user_attributes
    assert not (shops[1].hallucinated & ~shops[2].hallucinated).any()
    assert shop.make(200, 60, 0.29, seed=1).hallucinated.sum() == 58, 'not 57 for a product of 57.99999'


@pytest.mark.slow
def test_a_right_profile_names_the_tastes(made):
    named = 0
    for user, profile in enumerate(made.user_attributes):
        items = made.log.items[made.log.users == user]
        named += np.mean([made.item_attributes[item]['categories'][1] in profile['interests'] for item in items])
    assert named / 1500 > 0.4


@pytest.mark.parametrize(('arguments', 'words'), [
    ({'customers': 1}, 'data.shop.customers=1 and'), ({'products': 3}, 'data.shop.products=3: '),
    ({'hallucination': 1.5}, '=1.5: give a share'), ({'seed': -1}, 'data.shop.seed=-1: ')])
def test_wrong_arguments(arguments, words):
    with pytest.raises(UserError, match=words):
        shop.make(**arguments)

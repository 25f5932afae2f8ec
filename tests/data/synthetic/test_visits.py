"""The fast draw of the shop's purchases has the law of the plain one."""

import numpy as np
import pytest

from grasp_jax.data.synthetic import shop, visits


@pytest.fixture(scope='module')
def world():
    rng = np.random.default_rng(0)
    return shop._stock(rng, 90, 1.0), shop._people(rng, 3)


@pytest.mark.parametrize(('kind', 'bought'), [(3, []), (3, [0]), (3, [0, 1]), (visits.ANY, [5, 60, 61])])
def test_fast_draws_are_distributed_as_plain_ones(world, kind, bought):
    stock, people = world
    own = np.flatnonzero(stock.types == kind) if kind != visits.ANY else np.arange(90)
    owned = own[bought].astype(np.int32)
    rng, count = np.random.default_rng(1), 6000
    user = np.ones(count, np.int64)
    fast = visits._without_repeats(rng, visits._Cells(stock), stock, people, user,
                                   np.full(count, kind), np.tile(owned, (count, 1)))
    plain = [visits.choose_plain(rng, stock, people, 1, kind, owned) for _ in range(count)]
    shares = [np.bincount(found, minlength=90) / count for found in (fast, plain)]
    assert not np.isin(fast, owned).any()
    np.testing.assert_allclose(*shares, atol=5 * np.sqrt(0.5 / count))


def test_a_type_that_is_sold_out_gives_way_to_another(world):
    stock, people = world
    own = np.flatnonzero(stock.types == 3).astype(np.int32)
    cells = visits._Cells(stock)
    found = visits._without_repeats(np.random.default_rng(0), cells, stock, people, np.zeros(50, np.int64),
                                    np.full(50, 3), np.tile(own, (50, 1)))
    assert not np.isin(found, own).any() and (found >= 0).all()


def test_a_type_without_products_gives_way_to_another():
    made = shop.make(40, 12)
    assert (made.log.items >= 0).all() and len(made.log) >= 5 * 40


def test_mean_length_and_popularity_are_dials():
    steep, flat = (shop.make(300, 500, mean_length=20.0, popularity=power) for power in (1.0, 0.2))
    for made in (steep, flat):
        assert 18 < len(made.log) / 300 < 22
    top = [np.sort(np.bincount(made.log.items, minlength=500))[-50:].sum() / len(made.log) for made in (steep, flat)]
    assert top[0] > 1.5 * top[1]

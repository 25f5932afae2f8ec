"""A synthetic shop whose users' tastes and products' texts are known, with a dial for hallucination.

Every user has one to three product types that they like, and drifts from some of them to others while they shop. Some
types follow others (a pump, then a light). Within a type people choose by popularity, by their brand and by their
style; all three show in the texts but popularity, whose tail is long. So a model of ids learns the popular products,
and the texts are what tells the rare ones apart.
"""

import collections.abc
import dataclasses
from typing import Any

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import Lazy
from grasp_jax.data.interaction_log import InteractionLog
from grasp_jax.data.synthetic import visits, vocabulary
from grasp_jax.data.synthetic.visits import Items, Users

_DEPARTMENTS = tuple(vocabulary.DEPARTMENTS)
_TYPES = tuple((department, kind) for department in _DEPARTMENTS for kind in vocabulary.DEPARTMENTS[department])
_STYLES = tuple(vocabulary.STYLES)
_PER_DEPARTMENT = len(_TYPES) // len(_DEPARTMENTS)
_BRANDS_PER_DEPARTMENT = 4

_MIN_LENGTH, _LONGEST = 5, 4.5  # lengths are 5 + geometric, cut at so many means
_DAY = 86400
_OPENING = 1_500_000_000  # Unix seconds
_PRODUCTS, _PROFILES = 1, 2  # what seeds the texts of an item and of a user, beside its number


@dataclasses.dataclass(frozen=True)
class Shop:
    """The shop and what is true about it.

    Attributes:
      log: every purchase.
      item_attributes: title, brand, price, categories, features and description, in the order of `log.item_ids`.
      user_attributes: age, gender, city, occupation and interests (a text), in the order of `log.user_ids`. Both are
        written when they are asked for.
      item_types: int [m], product type of each item.
      item_styles: int [m].
      tastes: float [2, n, types], each user's liking of the types at first and at last; rows sum to 1.
      styles: int [n], the style that each user likes.
      hallucinated: bool [n], whose profile was written about somebody else.
    """

    log: InteractionLog
    item_attributes: collections.abc.Sequence[dict[str, Any]]
    user_attributes: collections.abc.Sequence[dict[str, Any]]
    item_types: np.ndarray
    item_styles: np.ndarray
    tastes: np.ndarray
    styles: np.ndarray
    hallucinated: np.ndarray


def make(customers: int = 1500, products: int = 400, hallucination: float = 0.0, seed: int = 0,
         mean_length: float = 9.0, popularity: float = 1.0) -> Shop:
    """Makes a shop; the same arguments make the same shop.

    Purchases do not depend on `hallucination`, and whoever is hallucinated at one share is so at every larger one.

    Args:
      customers: number of users n.
      products: number of items m.
      hallucination: share of users whose profile is another user's, in [0, 1].
      seed: of everything that is drawn.
      mean_length: purchases a user, about; the shortest sequence has 5.
      popularity: how much more popular products are bought: Zipf's exponent over all products, 1.8 times as much
        within a type.

    Raises:
      UserError: an argument is out of range.

    Example:
      >>> shop = make(customers=20, products=12)
      >>> shop.log.user_ids[:2], len(shop.item_attributes), sorted(shop.item_attributes[0])
      (['u00', 'u01'], 12, ['brand', 'categories', 'description', 'features', 'price', 'title'])
    """
    if customers < 2 or products < 2 * _MIN_LENGTH:
        raise UserError(f'data.shop.customers={customers} and data.shop.products={products}: the shop needs at '
                        f'least 2 and {2 * _MIN_LENGTH}')
    if not 0 <= hallucination <= 1:
        raise UserError(f'data.shop.hallucination={hallucination}: give a share from 0 to 1')
    if seed < 0:
        raise UserError(f'data.shop.seed={seed}: give 0 or more')
    if mean_length < _MIN_LENGTH or popularity < 0:
        raise UserError(f'data.shop.mean_length={mean_length} and data.shop.popularity={popularity}: they need at '
                        f'least {_MIN_LENGTH} and 0')
    stock_rng, user_rng, visit_rng, profile_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(4))
    stock, people = _stock(stock_rng, products, popularity), _people(user_rng, customers)
    log = _visits(visit_rng, stock, people, mean_length)
    order, distance = profile_rng.permutation(customers), profile_rng.integers(1, customers, customers)
    hallucinated = np.zeros(customers, bool)
    hallucinated[order[:round(hallucination * customers)]] = True
    about = np.where(hallucinated, (np.arange(customers) + distance) % customers, np.arange(customers))
    return Shop(
        log, Lazy(products, lambda item: _product(np.random.default_rng((seed, _PRODUCTS, item)), stock, item)),
        Lazy(customers, lambda user: _profile(np.random.default_rng((seed, _PROFILES, about[user])), people,
                                              about[user])),
        stock.types, stock.styles, people.tastes, people.styles, hallucinated)


def _stock(rng: np.random.Generator, count: int, popularity: float) -> Items:
    types = rng.permutation(np.arange(count) % len(_TYPES))
    rank = rng.permutation(count)
    department = np.arange(len(_TYPES)) // _PER_DEPARTMENT
    follow = department * _PER_DEPARTMENT + (np.arange(len(_TYPES)) + 1) % _PER_DEPARTMENT
    return Items(types, rng.integers(0, _BRANDS_PER_DEPARTMENT, count), rng.integers(0, len(_STYLES), count),
                 -popularity * np.log(rank + 3.0), department, follow)


def _people(rng: np.random.Generator, count: int) -> Users:
    tastes = np.zeros((2, count, len(_TYPES)))
    picks = np.argsort(rng.random((count, len(_TYPES))), axis=1)[:, :4]
    number = rng.integers(1, 4, count)
    for place in range(3):
        has = np.flatnonzero(place < number)
        tastes[0, has, picks[has, place]] = rng.uniform(0.5, 1.0, len(has))
    # Drift: at the end one taste is gone and another has come, the rest weigh differently.
    tastes[1] = tastes[0] * rng.uniform(0.3, 1.5, tastes[0].shape)
    drifts = np.flatnonzero(rng.random(count) < 0.5)
    tastes[1, drifts, picks[drifts, 0]] = 0.0
    tastes[1, drifts, picks[drifts, 3]] = 1.0
    tastes /= tastes.sum(axis=2, keepdims=True)
    return Users(tastes, rng.integers(0, len(_STYLES), count),
                 rng.integers(0, _BRANDS_PER_DEPARTMENT, (count, len(_DEPARTMENTS))))


def _visits(rng: np.random.Generator, stock: Items, people: Users, mean_length: float) -> InteractionLog:
    """Draws every user's sequence; no user buys a product twice."""
    users, items = len(people.styles), len(stock.types)
    longest = min(int(_LONGEST * mean_length), items // 2)
    lengths = np.minimum(_MIN_LENGTH + rng.geometric(1 / (mean_length - _MIN_LENGTH + 1), users) - 1, longest)
    chosen = visits.choices(rng, stock, people, lengths)
    rows, steps = np.nonzero(chosen >= 0)
    gaps = rng.integers(1, 30 * _DAY, chosen.shape)
    times = _OPENING + rng.integers(0, 300 * _DAY, (users, 1)) + np.cumsum(gaps, axis=1)
    # The log is written as the shop saw it: by time, users mixed.
    order = np.argsort(times[rows, steps], kind='stable')
    rows, steps = rows[order], steps[order]
    digits = len(str(max(users, items)))
    return InteractionLog(rows.astype(np.int32), chosen[rows, steps], times[rows, steps],
                          [f'u{user:0{digits}d}' for user in range(users)],
                          [f'p{item:0{digits}d}' for item in range(items)])


def _product(rng: np.random.Generator, stock: Items, item: int) -> dict[str, Any]:
    department, kind = _TYPES[stock.types[item]]
    style = _STYLES[stock.styles[item]]
    brand = vocabulary.BRANDS[department][stock.brands[item]]
    words = list(rng.permutation(vocabulary.DEPARTMENTS[department][kind]))
    looks = list(rng.permutation(vocabulary.STYLES[style]))
    price = float(np.round(np.exp(rng.normal(2.8, 0.5)) * (2.0 if style == 'luxury' else 1.0), 2))
    return {
        'title': f'{brand} {looks[0]} {kind} with {words[0]}',
        'brand': brand,
        'price': f'{price:.2f}',
        'categories': [department, kind],
        'features': [f'{style} design', f'{looks[1]} finish', f'made for {words[1]}'],
        'description': f'A {style}, {looks[2]} {kind} by {brand} for {words[1]} and {words[2]}, with {words[3]}.',
    }


def _profile(rng: np.random.Generator, people: Users, user: int) -> dict[str, Any]:
    """What is known about a user: drawn from their tastes, never from their purchases."""
    liking = people.tastes[:, user].sum(axis=0)
    liked = [kind for kind in np.argsort(-liking, kind='stable') if liking[kind] > 0]
    department = _TYPES[liked[0]][0]
    brand = vocabulary.BRANDS[department][people.brands[user, _DEPARTMENTS.index(department)]]
    style = _STYLES[people.styles[user]]
    return {
        'age': int(rng.integers(18, 80)),
        'gender': str(rng.choice(vocabulary.GENDERS)),
        'city': str(rng.choice(vocabulary.CITIES)),
        'occupation': str(rng.choice(vocabulary.OCCUPATIONS[department])),
        'interests': f'likes {", ".join(_TYPES[kind][1] for kind in liked)}; prefers {style} things '
                     f'({", ".join(vocabulary.STYLES[style])}) and the brand {brand}',
    }

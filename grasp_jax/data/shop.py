"""A synthetic shop whose users' tastes and products' texts are known, with a dial for hallucination.

Every user has one to three product types that they like, and drifts from some of them to others while they shop. Some
types follow others (a pump, then a light). Within a type people choose by popularity, by their brand and by their
style; all three show in the texts but popularity, whose tail is long. So a model of ids learns the popular products,
and the texts are what tells the rare ones apart.
"""

import dataclasses
from typing import Any

import numpy as np

from grasp_jax.data import shop_words
from grasp_jax.data.log import InteractionLog
from grasp_jax.errors import UserError

_DEPARTMENTS = tuple(shop_words.DEPARTMENTS)
_TYPES = tuple((department, kind) for department in _DEPARTMENTS for kind in shop_words.DEPARTMENTS[department])
_STYLES = tuple(shop_words.STYLES)
_PER_DEPARTMENT = len(_TYPES) // len(_DEPARTMENTS)
_BRANDS_PER_DEPARTMENT = 4

_MIN_LENGTH, _MAX_LENGTH, _STOP = 5, 40, 0.2  # lengths are 5 + geometric: 9 on average
_FOLLOW, _NOISE = 0.35, 0.1  # chance that a step follows the last type, or no taste at all
_STYLE_PULL, _BRAND_PULL = 2.0, 1.0  # log-odds that a matching style or brand adds
_POPULARITY_PULL = 1.8
_DAY = 86400
_OPENING = 1_500_000_000  # Unix seconds
_BLOCK = 2048  # users whose choices are drawn together


@dataclasses.dataclass(frozen=True)
class Shop:
    """The shop and what is true about it.

    Attributes:
      log: every purchase.
      item_attributes: title, brand, price, categories, features and description, in the order of `log.item_ids`.
      user_attributes: age, gender, city, occupation and interests (a text), in the order of `log.user_ids`.
      item_types: int [m], product type of each item.
      item_styles: int [m].
      tastes: float [2, n, types], each user's liking of the types at first and at last; rows sum to 1.
      styles: int [n], the style that each user likes.
      hallucinated: bool [n], whose profile was written about somebody else.
    """

    log: InteractionLog
    item_attributes: list[dict[str, Any]]
    user_attributes: list[dict[str, Any]]
    item_types: np.ndarray
    item_styles: np.ndarray
    tastes: np.ndarray
    styles: np.ndarray
    hallucinated: np.ndarray


@dataclasses.dataclass(frozen=True)
class _Items:
    types: np.ndarray
    brands: np.ndarray  # index within the department
    styles: np.ndarray
    popularity: np.ndarray  # log weight
    follow: np.ndarray  # [types], the type that comes after each


@dataclasses.dataclass(frozen=True)
class _Users:
    tastes: np.ndarray
    styles: np.ndarray
    brands: np.ndarray  # [n, departments]


def make(customers: int = 1500, products: int = 400, hallucination: float = 0.0, seed: int = 0) -> Shop:
    """Makes a shop; the same arguments make the same shop.

    Purchases do not depend on `hallucination`, and whoever is hallucinated at one share is so at every larger one.

    Args:
      customers: number of users n.
      products: number of items m.
      hallucination: share of users whose profile is another user's, in [0, 1].
      seed: of everything that is drawn.

    Raises:
      UserError: an argument is out of range.
    """
    if customers < 2 or products < 2 * _MIN_LENGTH:
        raise UserError(f'config.data.shop has {customers} customers and {products} products; it needs at least 2 and '
                        f'{2 * _MIN_LENGTH}')
    if not 0 <= hallucination <= 1:
        raise UserError(f'config.data.shop.hallucination is {hallucination}; give a share from 0 to 1')
    if seed < 0:
        raise UserError(f'config.data.shop.seed is {seed}; give 0 or more')
    stock_rng, user_rng, visit_rng, text_rng, profile_rng = (
        np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(5))
    stock, people = _stock(stock_rng, products), _people(user_rng, customers)
    log = _visits(visit_rng, stock, people)
    profiles = [_profile(text_rng, people, user) for user in range(customers)]
    order, distance = profile_rng.permutation(customers), profile_rng.integers(1, customers, customers)
    hallucinated = np.zeros(customers, bool)
    hallucinated[order[:round(hallucination * customers)]] = True
    about = np.where(hallucinated, (np.arange(customers) + distance) % customers, np.arange(customers))
    return Shop(log, [_product(text_rng, stock, item) for item in range(products)],
                [dict(profiles[user]) for user in about], stock.types, stock.styles, people.tastes, people.styles,
                hallucinated)


def _stock(rng: np.random.Generator, count: int) -> _Items:
    types = rng.permutation(np.arange(count) % len(_TYPES))
    rank = rng.permutation(count)
    department = np.arange(len(_TYPES)) // _PER_DEPARTMENT
    follow = department * _PER_DEPARTMENT + (np.arange(len(_TYPES)) + 1) % _PER_DEPARTMENT
    return _Items(types, rng.integers(0, _BRANDS_PER_DEPARTMENT, count), rng.integers(0, len(_STYLES), count),
                  -np.log(rank + 3.0), follow)


def _people(rng: np.random.Generator, count: int) -> _Users:
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
    return _Users(tastes, rng.integers(0, len(_STYLES), count),
                  rng.integers(0, _BRANDS_PER_DEPARTMENT, (count, len(_DEPARTMENTS))))


def _visits(rng: np.random.Generator, stock: _Items, people: _Users) -> InteractionLog:
    """Draws every user's sequence; no user buys a product twice."""
    users, items = len(people.styles), len(stock.types)
    lengths = np.minimum(_MIN_LENGTH + rng.geometric(_STOP, users) - 1, min(_MAX_LENGTH, items // 2))
    chosen = np.full((users, int(lengths.max())), -1, np.int32)
    for start in range(0, users, _BLOCK):
        block = np.arange(start, min(start + _BLOCK, users))
        chosen[block] = _choices(rng, stock, people, block, lengths, chosen.shape[1])
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


def _choices(rng: np.random.Generator, stock: _Items, people: _Users, block: np.ndarray, lengths: np.ndarray,
             steps: int) -> np.ndarray:
    """int32 [block, steps]: the items that a block of users chooses, -1 after each user's length."""
    department = stock.types // _PER_DEPARTMENT
    liking = (_POPULARITY_PULL * stock.popularity + _STYLE_PULL * (people.styles[block, None] == stock.styles)
              + _BRAND_PULL * (people.brands[block][:, department] == stock.brands))
    in_type = np.zeros((len(_TYPES), len(stock.types)), bool)
    in_type[stock.types, np.arange(len(stock.types))] = True
    chosen = np.full((len(block), steps), -1, np.int32)
    kind = np.zeros(len(block), np.int64)
    for step in range(steps):
        active = np.flatnonzero(lengths[block] > step)
        share = step / np.maximum(lengths[block[active]] - 1, 1)
        first, last = people.tastes[:, block[active]]
        taste = first + share[:, None] * (last - first)
        taste_kind = (np.cumsum(taste, axis=1) > rng.random((len(active), 1))).argmax(axis=1)
        follows = (rng.random(len(active)) < _FOLLOW) & (step > 0)
        kind[active] = np.where(follows, stock.follow[kind[active]], taste_kind)
        scores = np.where(in_type[kind[active]], liking[active], liking[active] - 20.0)
        noise = rng.random(len(active)) < _NOISE
        scores[noise] = stock.popularity
        scores += rng.gumbel(size=scores.shape)
        if step:
            np.put_along_axis(scores, chosen[active, :step], -np.inf, axis=1)
        chosen[active, step] = scores.argmax(axis=1)
        kind[active] = stock.types[chosen[active, step]]
    return chosen


def _product(rng: np.random.Generator, stock: _Items, item: int) -> dict[str, Any]:
    department, kind = _TYPES[stock.types[item]]
    style = _STYLES[stock.styles[item]]
    brand = shop_words.BRANDS[department][stock.brands[item]]
    words = list(rng.permutation(shop_words.DEPARTMENTS[department][kind]))
    looks = list(rng.permutation(shop_words.STYLES[style]))
    price = float(np.round(np.exp(rng.normal(2.8, 0.5)) * (2.0 if style == 'luxury' else 1.0), 2))
    return {
        'title': f'{brand} {looks[0]} {kind} with {words[0]}',
        'brand': brand,
        'price': f'{price:.2f}',
        'categories': [department, kind],
        'features': [f'{style} design', f'{looks[1]} finish', f'made for {words[1]}'],
        'description': f'A {style}, {looks[2]} {kind} by {brand} for {words[1]} and {words[2]}, with {words[3]}.',
    }


def _profile(rng: np.random.Generator, people: _Users, user: int) -> dict[str, Any]:
    """What is known about a user: drawn from their tastes, never from their purchases."""
    liking = people.tastes[:, user].sum(axis=0)
    liked = [kind for kind in np.argsort(-liking, kind='stable') if liking[kind] > 0]
    department = _TYPES[liked[0]][0]
    brand = shop_words.BRANDS[department][people.brands[user, _DEPARTMENTS.index(department)]]
    style = _STYLES[people.styles[user]]
    return {
        'age': int(rng.integers(18, 80)),
        'gender': str(rng.choice(shop_words.GENDERS)),
        'city': str(rng.choice(shop_words.CITIES)),
        'occupation': str(rng.choice(shop_words.OCCUPATIONS[department])),
        'interests': f'likes {", ".join(_TYPES[kind][1] for kind in liked)}; prefers {style} things '
                     f'({", ".join(shop_words.STYLES[style])}) and the brand {brand}',
    }

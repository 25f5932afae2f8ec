"""What the synthetic shop's users choose, step by step: a product type by taste or by what they bought last, then a
product of that type by popularity, style and brand; now and then any product."""

import dataclasses

import numpy as np

_FOLLOW, _NOISE = 0.35, 0.1  # chance that a step follows the last type, or no taste at all
_STYLE_PULL, _BRAND_PULL = 2.0, 1.0  # log-odds that a matching style or brand adds
_POPULARITY_PULL = 1.8  # within a type
_TRIES, _TRIES_PER_PRODUCT = 20, 1e-3  # draws before a user gets the plain form, which costs more with more products
ANY = -1  # instead of a type: any product, by popularity
_NONE = -1  # instead of a product: there is none of that type


@dataclasses.dataclass(frozen=True)
class Items:
    """The products.

    Attributes:
      types, brands, styles: int [m]; brands are numbered within a department.
      popularity: float [m], log weight.
      department: int [types], of each type.
      follow: int [types], the type that comes after each.
    """

    types: np.ndarray
    brands: np.ndarray
    styles: np.ndarray
    popularity: np.ndarray
    department: np.ndarray
    follow: np.ndarray


@dataclasses.dataclass(frozen=True)
class Users:
    """The customers.

    Attributes:
      tastes: float [2, n, types], at first and at last; rows sum to 1.
      styles: int [n].
      brands: int [n, departments].
    """

    tastes: np.ndarray
    styles: np.ndarray
    brands: np.ndarray


def choices(rng: np.random.Generator, stock: Items, people: Users, lengths: np.ndarray) -> np.ndarray:
    """int32 [n, longest]: the products that each user chooses, -1 after the user's length; none twice.

    Args:
      rng: is drawn from.
      stock, people: products and customers.
      lengths: int [n].
    """
    cells = _Cells(stock)
    chosen = np.full((len(lengths), int(lengths.max())), -1, np.int32)
    kind = np.zeros(len(lengths), np.int64)
    for step in range(chosen.shape[1]):
        active = np.flatnonzero(lengths > step)
        share = step / np.maximum(lengths[active] - 1, 1)
        first, last = people.tastes[:, active]
        taste = first + share[:, None] * (last - first)
        taste_kind = (np.cumsum(taste, axis=1) > rng.random((len(active), 1))).argmax(axis=1)
        follows = (rng.random(len(active)) < _FOLLOW) & (step > 0)
        wanted = np.where(follows, stock.follow[kind[active]], taste_kind)
        wanted[rng.random(len(active)) < _NOISE] = ANY
        chosen[active, step] = _without_repeats(rng, cells, stock, people, active, wanted, chosen[active, :step])
        kind[active] = stock.types[chosen[active, step]]
    return chosen


def _without_repeats(rng: np.random.Generator, cells: '_Cells', stock: Items, people: Users, users: np.ndarray,
                     kinds: np.ndarray, bought: np.ndarray) -> np.ndarray:
    """int [u]: a product of the wanted type for each user that is not among those bought [u, steps]: redrawn until so,
    which is a draw among the others."""
    found = np.full(len(users), _NONE)
    left = np.arange(len(users))
    for _ in range(max(_TRIES, int(_TRIES_PER_PRODUCT * len(stock.types)))):
        found[left] = cells.draw(rng, people, users[left], kinds[left])
        left = left[(bought[left] == found[left, None]).any(axis=1) | (found[left] == _NONE)]
        if not len(left):
            break
    for row in left:
        found[row] = choose_plain(rng, stock, people, users[row], kinds[row], bought[row])
    return found


def choose_plain(rng: np.random.Generator, stock: Items, people: Users, user: int, kind: int,
                 bought: np.ndarray) -> int:
    """The same draw with every product's score written out; where a type is sold out, one of another type."""
    if kind == ANY:
        scores = stock.popularity.copy()
    else:
        department = stock.department[stock.types]
        scores = (_POPULARITY_PULL * stock.popularity + _STYLE_PULL * (people.styles[user] == stock.styles)
                  + _BRAND_PULL * (people.brands[user, department] == stock.brands) - 20.0 * (stock.types != kind))
    scores += rng.gumbel(size=scores.shape)
    scores[bought] = -np.inf
    return int(scores.argmax())


class _Cells:
    """Products sorted by type, style and brand: a user likes all products of such a cell alike but for popularity, so
    a draw picks a cell and then a product in it, and takes no longer with a million products than with a hundred."""

    def __init__(self, stock: Items):
        self._styles, self._brands = int(stock.styles.max()) + 1, int(stock.brands.max()) + 1
        self._stock = stock
        cell = (stock.types * self._styles + stock.styles) * self._brands + stock.brands
        self._order = np.argsort(cell, kind='stable')
        self._mass = np.concatenate([[0.0], np.cumsum(np.exp(_POPULARITY_PULL * stock.popularity[self._order]))])
        count = len(stock.department) * self._styles * self._brands
        self._starts = np.searchsorted(cell[self._order], np.arange(count + 1))
        self._all = np.cumsum(np.exp(stock.popularity))

    def draw(self, rng: np.random.Generator, people: Users, users: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """int [u], a product for each user, of the type that it wants or any; -1 where that type has none."""
        point, place = rng.random((2, len(users)))
        anything = np.minimum(np.searchsorted(self._all, place * self._all[-1], 'right'), len(self._all) - 1)
        return np.where(kinds == ANY, anything, self._of_type(people, users, np.maximum(kinds, 0), point, place))

    def _of_type(self, people: Users, users: np.ndarray, kinds: np.ndarray, point: np.ndarray,
                 place: np.ndarray) -> np.ndarray:
        per_type = self._styles * self._brands
        cells = kinds[:, None] * per_type + np.arange(per_type)
        style, brand = np.divmod(np.arange(per_type), self._brands)
        liked = people.brands[users, self._stock.department[kinds]]
        pull = (_STYLE_PULL * (people.styles[users, None] == style) + _BRAND_PULL * (liked[:, None] == brand))
        low, high = self._starts[cells], self._starts[cells + 1]
        weight = np.cumsum(np.exp(pull) * (self._mass[high] - self._mass[low]), axis=1)
        row = np.arange(len(users))
        cell = (weight > point[:, None] * weight[:, -1:]).argmax(axis=1)
        low, high = low[row, cell], high[row, cell]
        mass = self._mass[low] + place * (self._mass[high] - self._mass[low])
        found = np.clip(np.searchsorted(self._mass, mass, 'right') - 1, low, high - 1)
        return np.where(weight[:, -1] > 0, self._order[found], _NONE)

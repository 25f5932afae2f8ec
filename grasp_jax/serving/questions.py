"""What people ask for, in ids, to what the engine is asked, in numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.engine import Request
from grasp_jax.serving.names import Names

_NOTHING = np.zeros(0, np.int32)


class Questions:
    """Reads questions, and answers those of somebody new.

    Attributes:
      filter_viewed: whether lists leave out what is in a history where nothing is said: as the run was ranked.
    """

    def __init__(self, known: Assets, names: Names):
        """Takes opened assets and their names."""
        self._assets, self._names = known, names
        self.filter_viewed = not known.config.evaluate.repeats
        counts = np.bincount(known.interactions.items, minlength=known.spec.num_items + 1)
        self._popular = (1 + np.argsort(-counts[1:], kind='stable')).astype(np.int32)
        self._counts = counts.astype(np.float32)

    def one(self, user: Any = None, history: Sequence[Any] | None = None, filter_viewed: bool | None = None,
            items_to_recommend: Sequence[Any] | None = None, items_to_exclude: Sequence[Any] | None = None) -> Request:
        """One list, asked for as in `Recommender.recommend`; an empty history is of somebody new.

        Raises:
          UserError: as there.
        """
        if (user is None) == (history is None):
            raise UserError('give a user or a history, one of the two')
        asked, _ = self.people(None if user is None else [user], None if history is None else [history],
                               lambda place: 'history')
        return self.request(*asked[0], filter_viewed, *self.limits(items_to_recommend, items_to_exclude))

    def request(self, user: int, history: np.ndarray, filter_viewed: bool | None = None,
                allowed: np.ndarray | None = None, gone: np.ndarray = _NOTHING) -> Request:
        """What the engine is asked for one person.

        Args:
          user: row of the users' tables.
          history: int32, item ids, oldest first.
          filter_viewed: whether they are left out; None: as the attribute says.
          allowed, gone: ids that may be recommended, None for all, and ids that may not.
        """
        hide = self.filter_viewed if filter_viewed is None else filter_viewed
        left_out = {*(history.tolist() if hide else ()), *gone.tolist()}  # quicker than numpy's sort for so few
        return Request(history, np.array(sorted(left_out), np.int32), user, allowed)

    def people(self, users: Sequence[Any] | None, histories: Sequence[Sequence[Any]] | None,
               called: Any = 'histories[{}]'.format) -> tuple[list[tuple[int, np.ndarray]], list[Any]]:
        """A row of the users' tables and a history int32 [l] for each list, and whose it is.

        Args:
          users, histories: as in `Recommender.recommend`.
          called: what errors call the history at a place.

        Raises:
          UserError: as in `Recommender.recommend`.
        """
        if (users is None) == (histories is None):
            raise UserError('give users or histories, one of the two')
        if users is not None:
            require_some(users, 'users')
            rows, names = self._names.rows(users)
            return [(row, np.asarray(self._assets.interactions.full_sequence(row), np.int32)) for row in rows], names
        assert histories is not None
        require_some(histories, 'histories')
        spec = self._assets.spec
        if spec.ranks_with_user_vectors:
            raise UserError(f'the gates of this model read a text of the user (user_context={spec.user_context}), '
                            'which a history has not; name a user, or train with model.user_context=prefix')
        found = [(0, self._names.numbers(history, called(place))) for place, history in enumerate(histories)]
        return found, list(range(len(histories)))

    def limits(self, only: Sequence[Any] | None, without: Sequence[Any] | None) -> tuple[np.ndarray | None, np.ndarray]:
        """Numbers of the items that may be recommended, None for all, and of those that may not."""
        gone = _NOTHING if without is None else np.unique(self._names.numbers(without, 'items_to_exclude'))
        if only is None:
            return None, gone
        require_some(only, 'items_to_recommend')
        return np.unique(self._names.numbers(only, 'items_to_recommend')), gone

    def popular(self, asked: Request, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Numbers int32 [k] of the items that most people chose, fewer where there are no more, and how many did."""
        ids = self._popular if asked.allowed is None else self._popular[np.isin(self._popular, asked.allowed)]
        if len(asked.left_out):
            ids = ids[~np.isin(ids, asked.left_out)]
        return ids[:k], self._counts[ids[:k]]


def require_k(k: int) -> None:
    """Refuses what is no number of items.

    Raises:
      UserError: k is no whole number from 1 on.
    """
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise UserError(f'k={k!r}: is no number of items; give a whole number from 1 on')


def require_some(values: Any, name: str) -> None:
    """Refuses what is no list, or an empty one.

    Raises:
      UserError: says so.
    """
    if isinstance(values, str) or not hasattr(values, '__len__'):
        raise UserError(f'{name}: give a list')
    if not len(values):
        raise UserError(f'{name}: is empty; name at least one')

"""Head and tail: users by the length of their training history, items by their training interactions. Beside them
users whose test item is new to training, and users whose test item they had before."""

import numpy as np
from ml_collections import ConfigDict

from grasp_jax.data import interactions as data
from grasp_jax.data.facts import repeated

GROUPS = ('tail_user', 'head_user', 'tail_item', 'head_item', 'new_target', 'repeat')


def group_masks(
    interactions: data.Interactions, users: np.ndarray, targets: np.ndarray, config: ConfigDict,
) -> dict[str, np.ndarray]:
    """Which evaluated users belong to which group.

    A user is head or tail by its own training length, and belongs to an item group by its target. Each user is
    in exactly one user group and exactly one item group. `new_target`: no user has the target in training. `repeat`:
    the target is in the user's input.

    Args:
      interactions: all sequences.
      users: int [v], evaluated users.
      targets: int [v], their held-out items.
      config: the full config; `evaluate.head_user` and `evaluate.head_item` are the smallest counts of the head, 0 for
        the top 20% of all users or items, and all that tie with the last of them.

    Returns:
      bool [v] for each of `GROUPS`.
    """
    head_user = _head_users(interactions, config)[users]
    head_item = _head_items(interactions, config)[targets]
    return {'tail_user': ~head_user, 'head_user': head_user, 'tail_item': ~head_item, 'head_item': head_item,
            'new_target': interactions.train_item_counts()[targets] == 0,
            'repeat': repeated(interactions, users, targets)}


def described(config: ConfigDict) -> str:
    """What the groups are, in one sentence."""
    users, items = (f'from {least} training interactions on' if least else
                    'the top 20%, and all that tie with the last of them'
                    for least in (config.evaluate.head_user, config.evaluate.head_item))
    return f'head users: {users}; head items, by the test item: {items}; the others are tail'


def thresholds(interactions: data.Interactions, config: ConfigDict) -> dict[str, int | None]:
    """The smallest count of training interactions with which a user or item is head; None where nothing is head."""
    return {
        'head_user': config.evaluate.head_user or _smallest(
            interactions.input_lengths('train'), _head_users(interactions, config)),
        'head_item': config.evaluate.head_item or _smallest(
            interactions.train_item_counts(), _head_items(interactions, config)),
    }


def _head_users(interactions: data.Interactions, config: ConfigDict) -> np.ndarray:
    return data.head_mask(interactions.input_lengths('train'), config.evaluate.head_user)


def _head_items(interactions: data.Interactions, config: ConfigDict) -> np.ndarray:
    """bool [m + 1]; padding is taken out before the top 20% are counted, for it is no item."""
    head = data.head_mask(interactions.train_item_counts()[1:], config.evaluate.head_item)
    return np.concatenate([[False], head])


def _smallest(counts: np.ndarray, head: np.ndarray) -> int | None:
    return int(counts[head].min()) if head.any() else None

"""What the gates see of the user.

`text`: the vector of the user's whole training history. It contains the target of every training position, so a gate
that can open learns to read the target from it. `prefix`: at each position only the items seen so far. `both`: their
sum, in training without the text for half of the users, so that the gate cannot rely on it.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from grasp_jax.models.equations import Pair


class Context(NamedTuple):
    """What is known of users when items are looked at. Which fields are there says how gates are found:

    - none: there are no gates, items look alike to every user;
    - `user`: the gates compare the user's vectors with the item's;
    - `user` and `log_normaliser`: so does the softmax gate, over items that come in several calls;
    - `gate_scores`: what the gates compare was worked out before.

    Attributes:
      user: vectors of the user at each position, [..., D].
      gate_scores: arguments of the gates, [..., 3], for each item that is looked at.
      log_normaliser: what the softmax gate divides by, as a logarithm, [B, 3].
    """

    user: Pair | None = None
    gate_scores: jax.Array | None = None
    log_normaliser: jax.Array | None = None

    def for_candidates(self) -> 'Context':
        """The same for every candidate of a position: `user` gets an axis for them, [..., 1, D]; `gate_scores` have
        one already."""
        if self.user is None:
            return self
        return self._replace(user=Pair(*(field[..., None, :] for field in self.user)))


NO_GATES = Context()


def text_context(users: Pair, segment: jax.Array) -> Pair:
    """Spreads per-user vectors over the positions of packed rows.

    Args:
      users: [B, D], the vectors of the batch's users.
      segment: int32 [R, W], 1 + index in the batch of the user that owns a position, 0 for padding.

    Returns:
      [R, W, D].
    """
    owner = jnp.maximum(segment - 1, 0)
    return Pair(*(vectors[owner] for vectors in users))


def prefix_context(items: Pair, seen: jax.Array) -> Pair:
    """Mean of the item vectors seen so far, at each position.

    Args:
      items: [R, W, D], vectors of the items in the rows.
      seen: bool [R, W, W]; seen[r, t, s] says that position t has seen the item at s (same user, s <= t, not masked).

    Returns:
      [R, W, D]; zero where nothing was seen yet.
    """
    weight = seen / jnp.maximum(jnp.sum(seen, -1, keepdims=True), 1)
    return Pair(*(jnp.einsum('rts,rsd->rtd', weight, vectors) for vectors in items))

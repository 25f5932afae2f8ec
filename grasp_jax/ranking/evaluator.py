"""Ranks of the held-out items under both protocols, from one forward pass per user.

`sampled`: the target among itself and the stored negatives. `full`: the target among all items, less those of the
user's input history (the target itself always stays: a user may buy an item again). `full_unmasked`, of the test alone:
the target among all items. With `evaluate.repeats` `full` is that already, and there is no other.

A user without any other candidate under a protocol has no rank there: NaN, which every mean leaves out.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from grasp_jax.batching import batches
from grasp_jax.data.interactions import Interactions, Split, evenly_spread
from grasp_jax.distributed.sharding import replicate, split_users
from grasp_jax.models.attention import LEVELS
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.user_context import NO_GATES, Context
from grasp_jax.ranking import alone
from grasp_jax.ranking.all_items import Beside, rank_in_shares
from grasp_jax.ranking.forward import (
    GateScores,
    gate_scores,
    item_features,
    known_states,
    of_items,
    user_states,
    users_at_once,
)
from grasp_jax.ranking.metrics import Ranks
from grasp_jax.ranking.ties import rank_of_first


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _rank_batch(model: Recommender, mesh: Mesh, num_rows: int, beside: Beside, params: Any, data: DeviceData,
                features: Any, placement: batches.RowPlacement, targets: jax.Array, negatives: jax.Array,
                history: jax.Array | None, scores: GateScores | None = None) -> tuple[jax.Array, ...]:
    def look_up(known: Any, ids: jax.Array) -> Any:
        return of_items(known[1], ids)

    spec, context, given = model.spec, NO_GATES, (model, mesh, num_rows, params, data, placement)
    # The gates of a full ranking need the users' context, and features may lie on other devices than the rows.
    if spec.table_mesh is not None or (spec.items_depend_on_user and (scores is None or history is not None)):
        states, context = user_states(*given)
    else:
        states = known_states(*given, features, Context(gate_scores=scores.rows) if scores else NO_GATES)
    opening = Context(gate_scores=scores.candidates) if scores else context
    sampled = rank_candidates(model, mesh, look_up, (params, features), states, opening, targets, negatives)
    if history is None:
        return replicate((sampled, jnp.zeros((0,)), jnp.zeros((0,))), mesh)
    targets = jnp.maximum(targets, 1)
    full, best = rank_in_shares(model, mesh, beside, params, features, states, context, targets, history)
    return replicate((sampled, full, best), mesh)


def rank_candidates(model: Recommender, mesh: Mesh, look_up: Callable[[Any, jax.Array], Any], known: tuple[Any, Any],
                    states: jax.Array, context: Context, targets: jax.Array, negatives: jax.Array) -> jax.Array:
    """Ranks [B] of targets [B] among their negatives [B, N], a few users at a time.

    `look_up` gives the features of ids from `known`, the parameters and what else it reads; `context` is what
    `Recommender.score` takes.

    On a CPU the E-wide rows of a few users' candidates fit the cache: three times faster than all at once, measured
    on 256 users x 101 candidates x 384. Elsewhere all users go together.
    """
    def share(known: tuple[Any, Any], users: tuple[jax.Array, Any, jax.Array]) -> jax.Array:
        def score(user: tuple[jax.Array, Any, jax.Array]) -> Any:
            state, opening, ids = user
            return model.apply({'params': known[0]}, state, opening, look_up(known, ids), ids > 0,
                               method=Recommender.score)

        candidates = users[2]
        scores: Any = jax.lax.map(score, users, batch_size=users_at_once(mesh, len(candidates)))
        return rank_of_first(scores, candidates > 0)

    candidates = jnp.concatenate([targets[:, None], negatives], 1)
    # Each device its own users: a loop over all of them would not be split.
    ranks: jax.Array = split_users(share, mesh)(known, (states, context, candidates))
    return ranks


# Bytes of gate scores that are kept from epoch to epoch at most.
_MOST_SCORES = 2 ** 28


class Batch(NamedTuple):
    """B users to rank.

    Attributes:
      placement: fields int32 [B].
      targets: int32 [B], 0 where there is no user.
      negatives: int32 [B, N].
    """

    placement: batches.RowPlacement
    targets: np.ndarray
    negatives: np.ndarray

    @property
    def candidates(self) -> np.ndarray:
        """int32 [B, 1 + N], the target first."""
        return np.concatenate([self.targets[:, None], self.negatives], 1)


class Evaluator:
    """Ranks the held-out items of one split for any parameters of one model.

    Attributes:
      users: int32 [v], evaluated users; all results are in this order.
      targets: int32 [v].
      alone: by protocol bool [v], whose target has nothing to be ranked against.
    """

    def __init__(self, model: Recommender, mesh: Mesh, data: DeviceData, interactions: Interactions, split: Split,
                 negatives: np.ndarray, users_per_batch: int, count: int = 0, repeats: bool = False):
        """Plans the batches.

        Args:
          model: what to evaluate.
          mesh: devices.
          data: items and tables on the devices.
          interactions: all sequences.
          split: 'valid' or 'test'.
          negatives: int32 [v, N], the stored draw of this split.
          users_per_batch: B; rounded up so that every device gets as many.
          count: how many of the evaluated users, evenly spread; 0: all.
          repeats: whether items of the input are candidates of full ranking.
        """
        self.model, self.mesh, self.data = model, mesh, data
        users_per_batch = -(-users_per_batch // mesh.shape['data']) * mesh.shape['data']
        all_users = interactions.evaluated_users(split)
        chosen = evenly_spread(len(all_users), count)
        self.users = all_users[chosen].astype(np.int32)
        self.targets = interactions.targets(split)[chosen]
        lengths = interactions.input_lengths(split)
        starts = interactions.indptr[:-1]
        sequences = batches.Sequences(self.users, starts[self.users], lengths[self.users], model.spec.row_width,
                                      mask_slots=1)  # the mask; causal models get equally long inputs
        # Sorted by length and dealt out like cards: all batches get long and short sequences alike.
        ranked = np.argsort(lengths[self.users], kind='stable')
        piles = -(-len(ranked) // users_per_batch)
        self._order = np.concatenate([ranked[pile::piles] for pile in range(piles)])
        self._plan = batches.ordered_plan(sequences, self._order, users_per_batch,
                                          row_multiple=mesh.size)
        self._negatives, self._size = negatives if len(chosen) == len(all_users) else negatives[chosen], users_per_batch
        self._interactions, self._lengths = interactions, lengths[self.users]
        pairs = self.num_batches * self.num_rows * model.spec.row_width + len(self.users) * (1 + negatives.shape[1])
        size = pairs * LEVELS * np.dtype(np.float32).itemsize
        self._keeps_scores = split == 'valid' and model.spec.gate_scores_are_constant and size <= _MOST_SCORES
        self._scores: dict[int, GateScores] = {}
        self._unmasked, self._repeats = split == 'test' and not repeats, repeats
        self.alone = {'sampled': (self._negatives == 0).all(1),
                      'full': alone.under_full(interactions, self.users, self.targets, split, repeats)}

    def __call__(self, params: Any, full: bool) -> Ranks:
        """Ranks under the sampled protocol, and under the full one where asked for."""
        return self.ranks_and_lists(params, full, 0)[0]

    def ranks_and_lists(self, params: Any, full: bool, depth: int) -> tuple[Ranks, np.ndarray]:
        """Ranks, and from the same pass the best items int32 [v, depth] of each user, as `rank_in_shares` gives them;
        lists need a full ranking.

        Validation comes back at every epoch. Where the gates look at frozen vectors alone, their arguments are kept
        from the first time on, and no E-wide row of an input or a candidate is read again: 1.2 instead of 3.7 s for
        SASRec + GRASP on one core, measured on Amazon Beauty.
        """
        features = item_features(self.model, self.mesh, params, self.data)
        results = []
        for step in range(self.num_batches):
            results.append(self.rank_batch(params, features, step, full, depth))
        sampled, everything, best = zip(*results, strict=True)
        return self.collect(sampled, everything, full), self.lists(best, depth)

    def rank_batch(self, params: Any, features: Any, step: int, full: bool, depth: int = 0) -> tuple[jax.Array, ...]:
        """Sampled ranks [B], full ranks [B, 1 or 2] and lists [B, depth] of one batch, with the `item_features` of
        these parameters."""
        batch = self.batch(step)
        return _rank_batch(self.model, self.mesh, self.num_rows, self.beside(depth), params, self.data, features,
                           batch.placement, batch.targets, batch.negatives, self.left_out(step) if full else None,
                           self._gate_scores(params, step, batch) if self._keeps_scores else None)

    def beside(self, depth: int) -> Beside:
        """What a full ranking of this split gives beside ranks."""
        return Beside(self._unmasked, depth)

    def _gate_scores(self, params: Any, step: int, batch: Batch) -> GateScores:
        if step not in self._scores:
            self._scores[step] = gate_scores(self.model, self.mesh, self.num_rows, params, self.data, batch.placement,
                                             batch.candidates)
        return self._scores[step]

    @property
    def num_batches(self) -> int:
        """Batches of a pass."""
        return len(self._plan)

    @property
    def num_rows(self) -> int:
        """R, packed rows of a batch."""
        return self._plan.num_rows

    def batch(self, step: int) -> Batch:
        """One batch's users, filled up with users that are computed and thrown away."""
        chosen = self._chosen(step)
        placement = jax.tree.map(lambda field: field[step], self._plan.placement)
        fields = self.targets[chosen], self._negatives[chosen]
        return Batch(placement, *(_filled(field, self._size) for field in fields))

    def left_out(self, step: int) -> np.ndarray:
        """int32 [B, longest input of all], items that are no candidates of a batch's users in a full ranking, filled up
        with 0: those of the input, which is large, or with repeats none."""
        if self._repeats:
            return np.zeros((self._size, 1), np.int32)
        chosen = self._chosen(step)
        width, own = int(self._lengths.max(initial=0)), self._lengths[chosen]
        inside = np.arange(width)[None] < own[:, None]
        found = np.zeros(inside.shape, np.int32)
        starts = self._interactions.indptr[self.users[chosen]]
        found[inside] = self._interactions.items[(starts[:, None] + np.arange(width)[None])[inside]]
        return _filled(found, self._size)

    def data_of(self, batch: Batch) -> DeviceData:
        """Items, and the vectors of at least this batch's users, inputs and candidates, on the devices."""
        del batch  # all are there
        return self.data

    def collect(self, sampled: Sequence[Any], everything: Sequence[Any], full: bool) -> Ranks:
        """Ranks of all users from those of each batch, [B] and [B, 1 or 2]."""
        found = self.in_order(everything).T.copy() if full else [np.empty(0, np.float32)]
        return alone.marked(Ranks(self.users, self.targets, self.in_order(sampled), *found), **self.alone)

    def lists(self, best: Sequence[Any], depth: int) -> np.ndarray:
        """int32 [v, depth], the lists of all users from those of each batch."""
        return self.in_order(best) if depth else np.zeros((len(self.users), 0), np.int32)

    def in_order(self, values: Sequence[Any]) -> np.ndarray:
        """[v, ...] in the order of `users`, from the values [B, ...] of each batch."""
        first = np.asarray(values[0])
        found = np.empty((len(self.users), *first.shape[1:]), first.dtype)
        for step, part in enumerate(values):
            chosen = self._chosen(step)
            found[chosen] = np.asarray(part)[:len(chosen)]
        return found

    def _chosen(self, step: int) -> np.ndarray:
        return self._order[step * self._size:(step + 1) * self._size]


def _filled(rows: np.ndarray, size: int) -> np.ndarray:
    """Fills a last batch up with zero rows, which are computed and thrown away."""
    return np.concatenate([rows, np.zeros((size - len(rows), *rows.shape[1:]), rows.dtype)])

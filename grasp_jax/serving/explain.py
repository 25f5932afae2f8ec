"""Why an item stands where it does: the gates, what of the history is nearest, its neighbours."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.evaluation.gates import LEVELS
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.user_context import Context
from grasp_jax.retrieval.exact import unit
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.engine import Engine, Request

_SHOWN = 5
_TOGETHER = 64  # rows that are read together


@dataclasses.dataclass(frozen=True)
class Near:
    """An item that is near, by the cosine of the vectors that the model reads."""

    item_id: str
    title: str
    similarity: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """What there is to say of one item for one person.

    Attributes:
      item_id, title: the item.
      score: o . i of Eq. 6.
      rank: among all items that lists are made of where nothing is said, ties counting half.
      gates: opening of each gate of Eq. 4, 0 to 1; None where the model has none.
      nearest_in_history: items of the history, nearest first.
      neighbours: the items whose mean the model reads beside the item's own vector, nearest first.
    """

    item_id: str
    title: str
    score: float
    rank: float
    gates: dict[str, float] | None
    nearest_in_history: list[Near]
    neighbours: list[Near]


def explain(engine: Engine, assets: Assets, request: Request, item: int,
            describe: Callable[[int], tuple[str, str]]) -> Explanation:
    """Looks at one pair.

    Args:
      engine, assets: of the model.
      request: the person.
      item: number of the item.
      describe: id and title of an item number.
    """
    open_request = request._replace(left_out=request.left_out[request.left_out != item])
    scores = engine.scores([open_request])[0]
    own = scores[item - 1]
    others = np.delete(scores, item - 1)
    others = others[np.isfinite(others)]
    rank = 1 + float((others > own).sum()) + float((others == own).sum()) / 2
    gates = None
    if assets.spec.items_depend_on_user:
        states, context = engine.states([open_request])
        found = _gates(engine.catalogue.model, engine.catalogue.arrays, jax.tree.map(lambda field: field[:1], context),
                       jnp.asarray([item], jnp.int32))
        gates = dict(zip(LEVELS, map(float, np.asarray(found)), strict=True))
    seen = np.unique(request.history[request.history != item])
    near = _nearest(engine, assets, item, seen, describe)
    return Explanation(*describe(item), float(own), rank, gates, near,
                       _nearest(engine, assets, item, engine.catalogue.neighbours(item), describe))


def _nearest(engine: Engine, assets: Assets, item: int, others: np.ndarray,
             describe: Callable[[int], tuple[str, str]]) -> list[Near]:
    others = others[others > 0]
    if not len(others):
        return []
    ids = np.concatenate([[item], others])
    if assets.vectors is None:
        vectors = _rows(engine.catalogue.arrays.items, ids - 1)
    else:
        vectors = engine.catalogue.vectors(ids)[0]
    directions = unit(vectors)
    cosines = directions[1:] @ directions[0]
    order = np.argsort(-cosines, kind='stable')[:_SHOWN]
    return [Near(*describe(int(others[place])), float(cosines[place])) for place in order]


def _rows(table: jax.Array, places: np.ndarray) -> np.ndarray:
    """Some rows of a table on the device, by a program of one size."""
    found = []
    for start in range(0, len(places), _TOGETHER):
        some = places[start:start + _TOGETHER]
        padded = np.zeros(_TOGETHER, np.int32)
        padded[:len(some)] = some
        found.append(np.asarray(_pick(table, padded))[:len(some)])
    return np.concatenate(found)


@jax.jit
def _pick(table: jax.Array, places: jax.Array) -> jax.Array:
    return table[places]


@functools.partial(jax.jit, static_argnums=(0,))
def _gates(model: Recommender, arrays: Any, context: Context, item: jax.Array) -> jax.Array:
    def call(model: Recommender) -> jax.Array:
        found = model.gated_encoder.gates(model.gate_scores(arrays.tables, context, item[:, None]), None)
        return jnp.asarray(found[0, 0])

    found: Any = model.apply({'params': arrays.params}, method=call)
    return jnp.asarray(found)

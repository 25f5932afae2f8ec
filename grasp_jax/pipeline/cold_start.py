"""What a model makes of items and users that were no part of its training (`evaluate.cold_items`, `cold_users`).

The model is trained without them, as if they did not exist. Cold items then come in by their texts alone, by the same
way as new items of a served model; a cold user is a history in a request. Every target is ranked among all items but
those of the history, or with `evaluate.repeats` among all items. Beside the model stand a content baseline, the cosine
with the mean of the history's vectors, and chance.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from grasp_jax.common import archives
from grasp_jax.common.errors import UserError
from grasp_jax.data import cold_start
from grasp_jax.evaluation import baselines
from grasp_jax.ranking.metrics import COLD_RANKS_FILE, summarise
from grasp_jax.serving import assets, new_items
from grasp_jax.serving.engine import Engine, Request
from grasp_jax.vectors.encoders import encoder_of

Tree = dict[str, Any]


def evaluate(workdir: pathlib.Path, seed: int, ks: Sequence[int]) -> Tree:
    """Ranks what was set aside, once for each seed.

    Args:
      workdir: of a finished run.
      seed: one of its seeds.
      ks: cut-offs.

    Returns:
      `items` and `users`, each None where none were set aside, with `cases`, `without_candidates` (more cases, which
      have nothing to be ranked against and count nowhere), the number of `candidates`, and metrics (full ranking) of
      the `model`, of `content` (None where there are no vectors) and of `chance`. Of items the model is None where the
      method knows items by id alone.

    Raises:
      UserError: the folder is damaged.
    """
    folder = workdir / f'seed{seed}'
    if not (folder / COLD_RANKS_FILE).exists():
        known = assets.open_folder(workdir, seed)
        found = _ranks(known)
        archives.write(folder / COLD_RANKS_FILE, found)
    ranks = archives.read(folder / COLD_RANKS_FILE)
    return {who: _summary(who, ranks, ks) for who in ('items', 'users')}


def _ranks(known: assets.Assets) -> dict[str, np.ndarray]:
    """Ranks of the model and of the content baseline, and the candidates that each target was among."""
    cold, attributes = cold_start.load(known.stages / 'prepare')
    engine = Engine(known)
    found: dict[str, np.ndarray] = {}
    if len(cold.indptr) > 1:
        sequences = np.split(cold.items, cold.indptr[1:-1])
        histories, targets = [own[:-1] for own in sequences], np.array([own[-1] for own in sequences], np.int32)
        found |= _of('users', known, engine, histories, targets)
        found['users_ids'] = np.array(cold.user_ids, str)
    if len(cold.users):
        histories = [np.asarray(known.interactions.full_sequence(int(user)), np.int32) for user in cold.users]
        targets = (known.spec.num_items + 1 + cold.targets).astype(np.int32)
        if known.vectors is None:
            gone = np.array([len(_left_out(known, history)) for history in histories])
            return found | {'items_candidates': known.spec.num_items + len(cold.item_ids) - gone}
        rows = list(zip(cold.item_ids, attributes, strict=True))
        vectors = encoder_of(known.config).vectors_by_id(cold.item_ids)
        engine.catalogue.add(new_items.extension(known, rows, vectors, strict=False))
        found |= _of('items', known, engine, histories, targets)
    return found


def _of(who: str, known: assets.Assets, engine: Engine, histories: list[np.ndarray],
        targets: np.ndarray) -> dict[str, np.ndarray]:
    requests = [Request(history, _left_out(known, history)) for history in histories]
    if known.spec.ranks_with_user_vectors:
        raise UserError(f'evaluate.cold_{who}: they are asked for by histories, and the gates of this model read '
                        'texts of users; use model.user_context=prefix')
    others = [engine.catalogue.count - len(np.setdiff1d(request.left_out, [target]))
              for request, target in zip(requests, targets, strict=True)]
    found = {f'{who}_candidates': np.array(others), f'{who}_model': engine.ranks(requests, targets)}
    if known.vectors is not None:
        vectors = engine.catalogue.vectors(np.arange(1, engine.catalogue.count + 1))[0]
        found[f'{who}_content'] = content_ranks(vectors, histories, targets, known.config.evaluate.repeats)
    return found


def _left_out(known: assets.Assets, history: np.ndarray) -> np.ndarray:
    """int32, the items that the run does not rank after a history."""
    return np.unique(history[:0] if known.config.evaluate.repeats else history).astype(np.int32)


def content_ranks(vectors: np.ndarray, histories: Sequence[np.ndarray], targets: np.ndarray,
                  repeats: bool = False) -> np.ndarray:
    """Ranks by the cosine with the mean of a history's vectors, ties counting half.

    Args:
      vectors: float32 [m, E], of items 1..m.
      histories: v arrays of item ids.
      targets: int [v], item ids.
      repeats: whether items of the history are ranked too.

    Returns:
      float32 [v], rank among all items but those of the history; the target always stays. NaN where it is alone.
    """
    no_negatives = np.zeros((len(targets), 0), np.int32)
    sample = baselines.Sample(np.arange(len(targets)), targets, no_negatives, histories)
    return baselines.by_content(sample, vectors, repeats).full


def _summary(who: str, ranks: dict[str, np.ndarray], ks: Sequence[int]) -> Tree | None:
    if f'{who}_candidates' not in ranks:
        return None
    there = ranks[f'{who}_candidates'] > 1
    candidates = ranks[f'{who}_candidates'][there]
    if not len(candidates):
        return None
    return {'cases': len(candidates), 'without_candidates': int((~there).sum()),
            'candidates': int(np.median(candidates)),
            **{name: summarise(ranks[f'{who}_{name}'][there], ks) if f'{who}_{name}' in ranks else None
               for name in ('model', 'content')},
            'chance': _chance(candidates, ks)}


def _chance(candidates: np.ndarray, ks: Sequence[int]) -> dict[str, float]:
    """What a random order reaches."""
    found = {}
    for k in ks:
        gains = 1 / np.log2(np.arange(1, k + 1) + 1)
        found[f'NDCG@{k}'] = float(np.mean([gains[:count].sum() / count for count in candidates]))
        found[f'HR@{k}'] = float(np.mean(np.minimum(k / candidates, 1)))
    return found

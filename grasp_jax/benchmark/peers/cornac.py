"""Cornac: SASRec, BERT4Rec and GRU4Rec, as many epochs as it is told, the best of every fifth by validation.

An example is a prefix with one target here too. Its softmax is over drawn items: it has none over all of them.
"""

import importlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from grasp_jax.benchmark.peers import job as jobs

LIBRARIES = ('cornac', 'torch', 'numpy')  # whose versions are written down

_EVERY = 5  # epochs between two validations
_MODULES = {'sasrec': 'sasrec.recom_sasrec', 'bert4rec': 'transformer_rec.recom_transformer_rec',
            'gru4rec': 'gru4rec.recom_gru4rec'}


def program(job: jobs.Job, split: jobs.Split, watch: jobs.Stopwatch) -> Any:
    """Trains; returns what makes the lists."""
    from cornac.data import SequentialDataset
    from cornac.models import BERT4Rec, GRU4Rec, SASRec

    module: Any = importlib.import_module(f'cornac.models.{_MODULES[job.backbone]}')
    score = module.val_score

    def validate(*given: Any, **named: Any) -> Any:
        watch.end()  # what comes now is validation
        return score(*given, **named)

    module.trange, module.val_score = lambda *_, **__: _Epochs(job.epochs, watch), validate

    def sessions(held_out: int) -> list[tuple[str, str, str, int]]:
        return [(str(user), str(user), str(item), int(place))
                for user, item, place in zip(*split.rows(held_out), strict=True)]

    known = SequentialDataset.from_usit(sessions(2), seed=42)
    valid = SequentialDataset.build(sessions(1), fmt='USIT', global_uid_map=known.uid_map,
                                    global_sid_map=known.sid_map, global_iid_map=known.iid_map, seed=42,
                                    exclude_unknowns=True)
    kind = {'sasrec': SASRec, 'bert4rec': BERT4Rec, 'gru4rec': GRU4Rec}[job.backbone]
    model = kind(n_epochs=job.epochs, seed=42, model_selection='best', val_eval_every=min(_EVERY, job.epochs),
                 val_k=jobs.K, val_metric='ndcg', **_settings(job, split) if job.same else {})
    model.fit(known, valid)
    ids = np.array([int(item) for item in known.iid_map])  # by its number of an item, the item's id here

    def lists() -> np.ndarray:
        made = np.zeros((split.num_users, jobs.K), np.int32)
        for user in range(split.num_users):
            history = [known.iid_map[str(item)] for item in split.history(user) if str(item) in known.iid_map]
            scores = np.full((1, split.num_items), -np.inf)
            scores[0, ids - 1] = np.asarray(model.score(known.uid_map[str(user)], history))[:len(ids)]
            made[user] = jobs.unseen(scores, split, np.array([user]))[0]
        return made

    return lists


def _settings(job: jobs.Job, split: jobs.Split) -> dict[str, Any]:
    if job.backbone == 'gru4rec':  # its batch is of users side by side
        return {'learning_rate': jobs.RATE, 'batch_size': jobs.USERS, 'layers': [jobs.WIDTH],
                'dropout_p_hidden': jobs.DROPOUT, 'loss': 'cross-entropy'}
    return {'learning_rate': jobs.RATE, 'batch_size': split.targets_a_batch(), 'embedding_dim': jobs.WIDTH,
            'max_len': jobs.LENGTH, 'num_blocks': jobs.BLOCKS, 'num_heads': jobs.HEADS, 'dropout': jobs.DROPOUT,
            'loss': 'softmax'}


class _Epochs:
    """Stands where its progress bar does, and times."""

    def __init__(self, epochs: int, watch: jobs.Stopwatch):
        self._epochs, self._watch = epochs, watch

    def __iter__(self) -> Iterator[int]:
        for epoch in range(1, self._epochs + 1):
            before = len(self._watch.seconds)
            self._watch.begin()
            yield epoch
            if len(self._watch.seconds) == before:  # no validation stopped the watch
                self._watch.end()

    def set_postfix(self, **_: Any) -> None:
        """Takes the loss that the bar would show."""

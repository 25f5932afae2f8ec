"""A small model of every kind, its tables and a packed batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches
from grasp_jax.config import default
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec

USERS, ITEMS, WIDTH, LONGEST = 6, 30, 12, 8


class Small:
    """A model with random parameters over random tables, and the calls that tests need."""

    def __init__(self, **settings):
        config = default()
        config.model.update({'hidden_size': 8, 'max_length': LONGEST, 'num_heads': 2, 'dropout': 0.2, **settings})
        self.spec = model_spec(config, ITEMS, 0 if config.model.method == 'none' else WIDTH)
        self.model = Recommender(self.spec)
        rng = np.random.default_rng(0)
        self.tables = None
        if config.model.method != 'none':
            users, items = rng.normal(size=(2, USERS, WIDTH)), rng.normal(size=(2, ITEMS + 1, WIDTH))
            items[:, 0] = 0
            users, items = jnp.asarray(users, jnp.float32), jnp.asarray(items, jnp.float32)
            self.tables = FrozenVectors(users[0], users[1], items[0], items[1])
        packed = self.pack([[1, 2, 3]])
        self.params = self.model.init(jax.random.key(0), self.tables, jnp.zeros(1, jnp.int32), packed,
                                      packed.items > 99, method=Recommender.init_all)['params']
        # Larger than at the start, so that everything matters: gates, biases, positions.
        self.params = jax.tree.map(
            lambda leaf: leaf + 0.5 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), self.params)

    def pack(self, sequences, mask_slots=0, rows=None, width=None):
        """Packs sequences as users 0, 1, ... into rows."""
        lengths = np.array([len(s) for s in sequences])
        starts = np.cumsum(lengths) - lengths
        known = batches.Sequences(np.arange(len(sequences)), starts, lengths, width or self.spec.row_width, mask_slots)
        plan = batches.ordered_plan(known, np.arange(len(sequences)), len(sequences), rows or 1)
        self.placement = jax.tree.map(lambda field: jnp.asarray(field[0]), plan.placement)
        flat = jnp.asarray(np.concatenate(sequences), jnp.int32)
        return batches.pack_rows(flat, self.placement, plan.num_rows, self.spec.row_width, mask_slots)

    def encode(self, packed, masked=None, params=None, users=None, tables=None):
        """The forward pass without dropout."""
        masked = jnp.zeros(packed.items.shape, bool) if masked is None else masked
        users = jnp.arange(int(packed.segment.max())) if users is None else users
        return self.model.apply({'params': params or self.params}, tables or self.tables, users, packed, masked,
                                train=False)

    def scores(self, sequences, candidates, **how):
        """Scores of candidates [N] at every position of every sequence: a list of [length, N]."""
        packed = self.pack(sequences, **how)
        encoded = self.encode(packed)
        ids = jnp.broadcast_to(jnp.asarray(candidates), (*packed.items.shape, len(candidates)))
        features = self.call(Recommender.catalogue, self.tables, ids)
        scores = self.call(Recommender.score, encoded.states, encoded.context, features)
        place = self.placement
        return [np.asarray(scores[r, c:c + len(s)]) for s, r, c in zip(sequences, place.row, place.column, strict=True)]

    def call(self, method, *arguments, **named):
        """Any other method of the recommender."""
        return self.model.apply({'params': self.params}, *arguments, method=method, **named)


@pytest.fixture
def small():
    """Makes (and keeps) a small model by its settings."""
    return functools.cache(lambda **settings: Small(**settings))

"""The model computes the equations as printed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.models import equations
from grasp_jax.models.equations import MLP, Pair
from grasp_jax.models.losses import binary_cross_entropy
from grasp_jax.models.user_context import Context


@pytest.mark.slow
def test_grasp_as_printed_is_eq_3_to_5(small):
    """Every user with every item."""
    model = small(gate='paper', user_context='text')
    weights, tables = model.params['encoder'], model.tables
    mlp = MLP(*(weights[name] for name in ('fusion_kernel', 'fusion_bias', 'output_kernel', 'output_bias')))
    users, items = jnp.arange(len(tables.users)), jnp.arange(len(tables.items))

    def both(users, items):
        return (Pair(tables.users[users], tables.users_similar[users]),
                Pair(tables.items[items], tables.items_similar[items]))

    grid = jnp.meshgrid(users, items, indexing='ij')
    printed = equations.item_representation(*both(*grid), mlp)

    def represent(model):
        looked_up = model.encoder.look_up(tables, grid[1])
        segment = jnp.broadcast_to(users[:, None] + 1, grid[0].shape)
        seen = jnp.ones((*grid[0].shape, len(items)), bool)
        context = model.encoder.context(tables, users, looked_up, segment, seen)
        return model.encoder.represent(model.encoder.pair_features(context, model.encoder.encode_items(looked_up)))

    np.testing.assert_allclose(model.call(represent), printed, rtol=1e-4, atol=1e-5)
    states = jax.random.normal(jax.random.key(0), (len(users), model.spec.hidden_size))
    scored = model.call(lambda model: model.score_all(states, Context(both(users, users)[0]),
                                                      model.catalogue(tables, items)))
    np.testing.assert_allclose(scored, equations.score(jnp.broadcast_to(states[:, None], printed.shape), printed),
                               rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_loss_is_eq_6():
    positive, negative = (jax.random.normal(jax.random.key(len(shape)), shape) for shape in ((2, 3), (2, 3, 4)))
    scores = jnp.concatenate([positive.ravel(), negative.ravel()])
    labels = jnp.concatenate([jnp.ones(positive.size), jnp.zeros(negative.size)])
    np.testing.assert_allclose(binary_cross_entropy(positive, negative, jnp.ones((2, 3))),
                               equations.loss(scores, labels), rtol=1e-5)

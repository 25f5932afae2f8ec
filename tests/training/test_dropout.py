"""Where dropout acts, and how strong it is."""

import collections

import jax
import numpy as np
import pytest
from flax import linen as nn

from grasp_jax.models.dropout import Dropout
from grasp_jax.models.equations import Pair
from grasp_jax.training.batch import draw_samples
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.state import key_of_step
from grasp_jax.training.train_spec import train_spec
from tests.training.test_methods import first_batch

pytestmark = pytest.mark.slow

PLACES = {'sasrec': {'': 1, 'SelfAttention': 2, 'FeedForward': 4},
          'bert4rec': {'': 3, 'SelfAttention': 2, 'FeedForward': 4}, 'gru4rec': {'': 1}}  # of two layers


@pytest.mark.parametrize('rate', (0.0, 0.4))
@pytest.mark.parametrize('backbone', PLACES)
def test_every_place_drops_the_share_that_the_config_says(small_run, backbone, rate):
    run = small_run(method='none', backbone=backbone, dropout=rate, hidden_size=32, num_layers=2)
    batch, drawn, key, state = first_batch(run)
    paths = []

    @jax.jit
    def inputs_and_outputs(params):
        seen = []

        def watch(call, args, options, context):
            found = call(*args, **options)
            if isinstance(context.module, Dropout):
                paths.append(context.module.path)
                seen.append((args[0], found))
            return found

        with nn.intercept_methods(watch):
            run.model.apply({'params': params}, None, batch.users, batch.packed, drawn.masked, train=True,
                            rngs={'dropout': key})
        return seen

    for before, after in jax.device_get(inputs_and_outputs(state.params)):
        there = before != 0
        assert abs(np.mean(after[there] == 0) - rate) < 0.05
        kept = after != 0
        np.testing.assert_allclose(after[kept], before[kept] / (1 - rate), rtol=1e-4)
    parents = [path[1:-1] for path in paths]  # inside the backbone
    assert collections.Counter(parent[0].split('_')[0] if parent else '' for parent in parents) == PLACES[backbone]


def test_half_of_the_users_texts_are_left_out_in_training(small_run):
    """Where gates see both the text and the prefix, here an empty one."""
    run = small_run(method='grasp', user_context='both')
    people = np.arange(90)
    nothing = Pair(*(np.zeros((1, 90, 16), np.float32),) * 2)

    def context(train):
        found = run.model.apply({'params': run.fresh_state(0).params}, rngs={'dropout': jax.random.key(1)},
                                method=lambda model: model.encoder.context(
                                    run.data.tables, people, nothing, people[None] + 1, np.zeros((1, 90, 90), bool),
                                    train=train))
        return np.abs(np.concatenate(jax.tree.leaves(found), -1)[0]).max(-1) > 0

    assert context(False).all() and 0.3 < context(True).mean() < 0.7


def test_a_tenth_of_the_items_is_hidden_for_rlmrecs_generative_form(small_run):
    run = small_run(method='rlmrec', alignment='generative')
    epochs, shares = Epochs(run, 0), []
    chunk = next(epochs.chunks(0))
    batch, _, _, state = first_batch(run)
    there = np.asarray(batch.packed.items) > 0
    for step in range(20):
        key = key_of_step(state.key, step)
        drawn, _ = draw_samples(run.model, train_spec(run.config), chunk.shape, batch.packed, key)
        assert not np.asarray(drawn.masked)[~there].any()
        shares.append(np.asarray(drawn.masked)[there].mean())
    assert abs(np.mean(shares) - 0.1) < 0.02

"""What the settings of a step do: temperature, correction for the draw, weights of losses, decay; and at which
states a method's own loss looks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.models import losses
from grasp_jax.models.recommender import Inputs
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.objective import batch_loss, ranking_loss
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import PretrainedInputs
from tests.training.test_methods import STRONG, first_batch, own_loss

pytestmark = pytest.mark.slow

BACKBONES = ('sasrec', 'gru4rec', 'bert4rec')


def spread(params):
    """Parameters that are large enough for scores to differ."""
    return jax.tree.map(lambda leaf: leaf + 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape), params)


def found_and_scores(run):
    """The ranking loss, and from what it was made: scores [G, T, 1 + N], ids of the true items and of the negatives."""
    batch, drawn, _, state = first_batch(run)
    params = spread(state.params)

    def call(model):
        encoded = model(run.data.tables, batch.users, batch.packed, drawn.masked, train=False)
        return (ranking_loss(model, train_spec(run.config), run.data, batch, drawn, encoded),
                model.score_targets(run.data.tables, encoded, drawn))

    loss, scores = run.model.apply({'params': params}, method=call)
    exist = np.asarray(drawn.targets.exist)
    true = np.asarray(drawn.targets.pick(jnp.roll(batch.packed.items, -1, 1)))[exist]
    return float(loss), np.asarray(scores)[exist], true, np.asarray(drawn.negatives)


def test_scores_are_divided_by_the_temperature(small_run):
    loss, scores, _, _ = found_and_scores(small_run(method='none', train={'temperature': 0.25}))
    signs = np.array([-1, 1])
    np.testing.assert_allclose(loss, np.log1p(np.exp(signs * scores / 0.25)).mean(), rtol=1e-5)


def test_both_the_true_item_and_negatives_are_corrected_for_how_often_they_are_drawn(small_run):
    run = small_run(method='none', train={**STRONG, 'temperature': 0.5})
    loss, scores, true, negatives = found_and_scores(run)
    counts = np.maximum(run.interactions.train_item_counts()[1:], 1) ** 0.5
    often = np.log(counts / counts.mean())
    scores = scores / 0.5 - np.concatenate([often[true - 1, None], np.broadcast_to(often[negatives - 1],
                                                                                   (len(true), 8))], 1)
    scores[:, 1:][true[:, None] == negatives] = -np.inf
    expected = np.log(np.exp(scores).sum(1)) - scores[:, 0]
    np.testing.assert_allclose(loss, expected.mean(), rtol=1e-4)


def test_gbce_knows_which_share_of_the_catalogue_is_drawn(small_run):
    run = small_run(method='none', train={'loss': 'gbce', 'negatives': 4, 'gbce_t': 0.5})
    loss, scores, true, negatives = found_and_scores(run)
    share = 4 / (run.model.spec.num_items - 1)
    expected = losses.generalised_bce(scores[None, :, 0], scores[None, :, 1:], np.ones((1, len(true))), share, 0.5)
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_a_methods_own_loss_counts_by_its_weight(small_run):
    found, loss = [], jax.jit(batch_loss, static_argnums=(1, 2))
    for weight in (0.5, 1.0, 2.0):
        run = small_run(method='rlmrec', aux_loss_weight=weight)
        batch, drawn, key, state = first_batch(run)
        found.append(float(loss(state.params, run.model, train_spec(run.config), run.data, batch, drawn, key)))
    assert found[1] - found[0] > 0.01
    np.testing.assert_allclose(found[2] - found[1], 2 * (found[1] - found[0]), rtol=1e-3)


def test_the_usual_weights_of_a_methods_own_loss_are_those_of_its_paper(small_run):
    found = {method: small_run(method=method).model.spec.aux_loss_weight for method in ('rlmrec', 'llm_esr', 'grasp')}
    assert found == {'rlmrec': 0.01, 'llm_esr': 0.1, 'grasp': 0.0}


def test_weight_decay_shrinks_parameters_beside_the_step(small_run):
    before, after = [], []
    for decay in (0.0, 0.1):
        run = small_run(method='none', train={'weight_decay': decay, 'scan_steps': 1})
        epochs, state = Epochs(run, 0), run.fresh_state(0)
        before.append(jax.tree.map(np.asarray, state.params))
        after.append(epochs.dispatch(state, next(epochs.chunks(0)))[0].params)
    rate = run.config.train.learning_rate
    for start, plain, shrunk in zip(*map(jax.tree.leaves, (before[0], after[0], after[1])), strict=True):
        np.testing.assert_allclose(plain - shrunk, rate * 0.1 * start, atol=1e-6)


@pytest.mark.parametrize('backbone', BACKBONES)
def test_who_is_similar_to_nobody_but_oneself_has_nothing_to_learn(small_run, backbone):
    """Student and teacher are read at the same place."""
    run = small_run(method='llm_esr', backbone=backbone, dropout=0.0)
    everybody = np.arange(run.interactions.num_users)[:, None]
    for similar, low, high in ((everybody, 0.0, 1e-8), (everybody[::-1], 1e-3, np.inf))[:1 + (backbone == 'sasrec')]:
        alone = small_run(method='llm_esr', backbone=backbone, dropout=0.0,
                          pretrained=PretrainedInputs(run.pretrained.start, similar.copy()))
        batch, drawn, key, state = first_batch(alone)
        loss = jax.jit(functools.partial(own_loss, alone, batch, drawn, key))
        assert low <= loss(spread(state.params)) <= high


@pytest.mark.parametrize('method', ('rlmrec', 'llm_esr'))
@pytest.mark.parametrize('backbone', BACKBONES)
def test_own_losses_look_where_users_are_ranked(small_run, backbone, method):
    """At a place that ranking reads too, also where sequences are longer than the model can see."""
    run = small_run(method=method, backbone=backbone, max_length=6)
    batch, _, _, _ = first_batch(run)
    rows = [batch.last, *batch.similar] if run.model.spec.mask_slots else list(batch.similar)
    assert all(isinstance(each, Inputs) for each in rows) and isinstance(batch.last, Inputs) == (
        backbone == 'bert4rec')
    where = [(each.packed, each.ends) for each in rows] or [(batch.packed, batch.last)]
    longest = 0
    for packed, ends in where:
        there = np.asarray(ends.exist) > 0
        position, items = (np.asarray(ends.pick(field))[there] for field in (packed.position, packed.items))
        longest = max([longest, *position])
        assert (items > 0).all() if run.model.spec.causal else (items == 0).all()
    assert longest == (5 if run.model.spec.causal else 6)

"""Methods and losses: what auxiliary losses teach, host = device, 1 device = 8, losses that fall."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import sampling
from grasp_jax.common.errors import UserError
from grasp_jax.training.batch import draw_samples, make_batch
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.objective import ranking_loss
from grasp_jax.training.state import key_of_step, ranked_params
from grasp_jax.training.train_spec import train_spec

pytestmark = pytest.mark.slow

STRONG = {'loss': 'sampled_softmax', 'negatives': 8, 'shared_negatives': True, 'negative_popularity': 0.5}


def first_batch(run):
    """The first batch of training, what is drawn for it, and the state before it."""
    epochs, state = Epochs(run, 0), run.fresh_state(0)
    chunk = next(epochs.chunks(0))

    @jax.jit  # else each of its operations is compiled by itself
    def make(step):
        batch = make_batch(run.model, run.mesh, chunk.shape, run.data.items, step)
        key = key_of_step(state.key, state.step)
        return batch, *draw_samples(run.model, train_spec(run.config), chunk.shape, batch.packed, key)

    return *make(jax.tree.map(lambda field: jnp.asarray(field[0]), chunk.steps)), state


def reached(run):
    """Gradient of the auxiliary loss alone, its batch and what was drawn."""
    batch, drawn, key, state = first_batch(run)

    return jax.jit(jax.grad(functools.partial(own_loss, run, batch, drawn, key)))(state.params), batch, drawn


def own_loss(run, batch, drawn, key, params):
    """The method's own loss, with dropout."""
    def call(model):
        encoded = model(run.data.tables, batch.users, batch.packed, drawn.masked, train=True)
        return model.auxiliary(run.data.tables, batch.users, batch.packed, drawn, encoded, batch.last, batch.similar)

    return run.model.apply({'params': params}, rngs={'dropout': key}, method=call)


def moved(gradients, *path):
    return max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(functools.reduce(dict.get, path, gradients)))


@pytest.mark.parametrize('alignment', ('contrastive', 'generative'))
def test_alignment_reaches_what_it_should_and_no_others(small_run, alignment):
    run = small_run(method='rlmrec', alignment=alignment)
    gradients, batch, drawn = reached(run)
    assert moved(gradients, 'alignment') > 0 and moved(gradients, 'backbone') > 0
    rows = np.flatnonzero(np.abs(gradients['encoder']['embedding']).max(1))
    shown = np.asarray(batch.packed.items)
    if alignment == 'generative':
        shown = shown[~np.asarray(drawn.masked)]
        assert moved(gradients, 'mask_vector') > 0 and np.asarray(drawn.masked).any()
    assert set(rows) <= set(shown.ravel()) - {0} and len(rows) > 5


def test_distillation_reaches_the_users_own_items_and_not_those_of_the_teachers(small_run):
    run = small_run(method='llm_esr')
    gradients, batch, _ = reached(run)
    for part in ('backbone', 'cross_views'):
        assert moved(gradients, part) > 0
    assert moved(gradients, 'encoder', 'adapter_first') > 0
    rows = set(np.flatnonzero(np.abs(gradients['encoder']['embedding']).max(1)))
    own = set(np.asarray(batch.packed.items).ravel())
    theirs = {item for each in batch.similar for item in np.asarray(each.packed.items).ravel()}
    assert rows and rows <= own
    assert theirs - own, 'the teachers have items of their own'


@pytest.mark.parametrize('settings', [{'method': 'none'}, {'method': 'grasp'}], ids=str)
def test_methods_without_an_auxiliary_loss_have_none(small_run, settings):
    gradients, _, _ = reached(small_run(**settings))
    assert moved(gradients) == 0


def test_id_embeddings_start_from_the_reduced_vectors(small_run):
    for settings in ({'method': 'llm_init'}, {'method': 'grasp_id', 'id_init': 'text'}):
        run = small_run(**settings)
        found = np.asarray(run.fresh_state(0).params['encoder']['embedding'])
        np.testing.assert_array_equal(found[:41], run.pretrained.start)
    for settings in ({'method': 'rlmrec', 'id_init': 'text'}, {'method': 'grasp_id'}):
        other = small_run(**settings).fresh_state(0).params['encoder']['embedding']
        assert np.abs(found[:41] - other[:41]).max() > 0.01


def losses_of(run, epochs=1):
    steps, state, found = Epochs(run, 0), run.fresh_state(0), []
    for epoch in range(epochs):
        state, loss = steps.run(epoch, state, lambda share: None)
        found.append(loss.mean())
    return found


def test_host_tables_change_nothing(small_run):
    found = [losses_of(small_run(method='llm_esr', backbone='bert4rec', train={**STRONG, 'vector_placement': tables}))
             for tables in ('device', 'host')]
    assert found[0] == found[1]


@pytest.mark.parametrize('train', [STRONG, {'loss': 'softmax'}], ids=str)
def test_a_mesh_changes_nothing(small_run, train):
    """RLMRec compares all items of a batch with each other, and a softmax all of the catalogue, wherever they live."""
    found = [losses_of(small_run(method='rlmrec', train=train, mesh=mesh)) for mesh in ((1, 1), (2, 4))]
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)


@pytest.mark.parametrize(('settings', 'train'), [
    ({'method': 'none'}, {'loss': 'softmax'}), ({'method': 'grasp_id', 'gate': 'none'}, {'loss': 'softmax'}),
    ({'method': 'none'}, {'loss': 'softmax', 'softmax_dtype': 'bfloat16'}),
    ({'method': 'grasp_id', 'gate': 'none'}, {'loss': 'softmax', 'softmax_dtype': 'bfloat16'}),
    ({'method': 'grasp'}, STRONG), ({'method': 'llm_init', 'backbone': 'gru4rec'}, {'loss': 'gbce', 'negatives': 4})],
    ids=str)
def test_every_loss_falls(small_run, settings, train):
    found = losses_of(small_run(train=train, hidden_size=16, **settings), epochs=8)
    assert found[-1] < 0.9 * found[0]


def loss_of(run, params, batch, drawn):
    """The ranking loss of what was drawn, without dropout."""
    def call(model):
        encoded = model(run.data.tables, batch.users, batch.packed, drawn.masked, train=False)
        return ranking_loss(model, train_spec(run.config), run.data, batch, drawn, encoded)

    return run.model.apply({'params': params}, method=call)


def test_a_softmax_at_the_targets_alone_is_that_over_all_positions(small_run, monkeypatch):
    monkeypatch.setattr(sampling, '_PLACE_MULTIPLE', 8)
    run = small_run(method='none', train={'loss': 'softmax'})
    batch, drawn, _, state = first_batch(run)
    counts = np.asarray(batch.packed.segment > 0) & ~np.asarray(sampling.is_last(batch.packed))
    assert drawn.targets.position is not None and drawn.targets.exist.size < counts.size
    assert drawn.targets.exist.sum() == counts.sum()
    everywhere = drawn._replace(targets=sampling.targets_everywhere(jnp.asarray(counts), 1))
    form = jax.jit(jax.value_and_grad(lambda params, drawn: loss_of(run, params, batch, drawn)))
    found = [form(state.params, each) for each in (drawn, everywhere)]
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-6), *found)


def test_a_true_item_among_the_shared_negatives_does_not_count(small_run):
    """With one item in the catalogue to draw, targets of that item have no negative, and their loss is zero."""
    run = small_run(method='none', train={**STRONG, 'negative_popularity': 0.0, 'negatives': 400})
    batch, drawn, key, state = first_batch(run)
    true = np.asarray(drawn.targets.pick(jnp.roll(batch.packed.items, -1, 1)))
    exist = np.asarray(drawn.targets.exist)
    one = drawn._replace(negatives=jnp.full(400, true[exist][0]),
                         targets=drawn.targets._replace(exist=jnp.asarray(exist & (true == true[exist][0]))))
    assert loss_of(run, state.params, batch, one) == 0


@pytest.mark.parametrize('backbone', ('sasrec', 'bert4rec'))
def test_a_true_item_among_a_positions_own_negatives_does_not_count(small_run, backbone):
    """As where a user knows nearly the whole catalogue, so that every draw meets the user's items."""
    run = small_run(method='none', backbone=backbone)
    batch, drawn, key, state = first_batch(run)
    items = batch.packed.items
    true = drawn.targets.pick(jnp.roll(items, -1, 1) if run.model.spec.causal else items)
    hit = drawn._replace(negatives=jnp.broadcast_to(true[..., None], drawn.negatives.shape))
    # Scores are near zero at first: log 2 for each of the two candidates, of which the true one alone is left.
    assert 0.25 < loss_of(run, state.params, batch, hit) < 0.45 < 0.55 < loss_of(run, state.params, batch, drawn) < 0.85


@pytest.mark.parametrize('backbone', ('sasrec', 'bert4rec'))
def test_only_the_newest_items_are_targets_where_that_is_asked_for(small_run, backbone):
    run = small_run(method='none', backbone=backbone, train={'supervise_last': 2, 'mask_prob': 0.9})
    batch, drawn, _, _ = first_batch(run)
    items, segment = np.asarray(batch.packed.items), np.asarray(batch.packed.segment)
    causal = backbone != 'bert4rec'
    counts = np.asarray(drawn.targets.exist if causal else drawn.masked).reshape(items.shape)
    shift = int(causal)
    for user in range(1, segment.max() + 1):
        rows, columns = np.nonzero(segment == user)
        hit = counts[rows, columns]
        assert not hit[:max(len(hit) - 2 - shift, 0)].any() and (shift == 0 or hit[-3:-1].all())
    assert counts.any()


@pytest.mark.parametrize(('train', 'settings', 'message'), [
    ({'loss': 'hinge'}, {}, 'choose one of bce'), ({'negatives': 0}, {}, 'must be at least 1'),
    ({'temperature': 0.0}, {}, 'must be above 0'), ({'ema_decay': 1.0}, {}, 'below 1'),
    ({'negative_popularity': 0.5}, {}, 'unless train.shared_negatives'),
    ({'loss': 'softmax'}, {}, 'look alike to every user'),
    (STRONG, {'gate': 'softmax'}, 'depends on what is scored together')], ids=str)
def test_settings_that_do_not_go_together_are_refused(small_run, train, settings, message):
    with pytest.raises(UserError, match=message):
        small_run(train=train, **settings)


def test_a_mean_of_the_parameters_is_kept_beside_them_and_ranked_with(small_run):
    plain, averaged = (small_run(method='none', train={'ema_decay': decay, 'scan_steps': 1}) for decay in (0.0, 0.8))
    seen = {}
    for run in (plain, averaged):
        epochs, state = Epochs(run, 0), run.fresh_state(0)
        for chunk in itertools.islice(epochs.chunks(0), 3):
            state, _ = epochs.dispatch(state, chunk)
            seen.setdefault(run.config.train.ema_decay, []).append(jax.tree.map(np.asarray, state.params))
        last = ranked_params(train_spec(run.config), state)
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5), seen[0.0], seen[0.8])
    weights = 0.8 ** np.array([2, 1, 0])
    mean = jax.tree.map(lambda *steps: np.tensordot(weights / weights.sum(), np.stack(steps), 1), *seen[0.8])
    jax.tree.map(lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-7), last, mean)
    assert moved(jax.tree.map(np.subtract, mean, seen[0.8][-1])) > 1e-4

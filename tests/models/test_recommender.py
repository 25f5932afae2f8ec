"""What must hold for every backbone and method: what sees what, packing, folding, scale at the start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches, sampling
from grasp_jax.config import default
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec

CAUSAL = ('sasrec', 'gru4rec')
ALL = (*CAUSAL, 'bert4rec')
KINDS = [{'method': 'none'}, {'gate': 'paper', 'user_context': 'text'},
         {'gate': 'calibrated', 'user_context': 'prefix'},
         {'gate': 'softmax', 'user_context': 'text'}, {'gate': 'softmax', 'user_context': 'prefix'}, {'gate': 'none'},
         {'gate': 'paper', 'gate_space': 'hidden', 'user_context': 'prefix'},
         {'gate': 'paper', 'gate_space': 'hidden', 'user_context': 'text'},
         {'method': 'llm_esr'}, {'method': 'grasp_id', 'user_context': 'both', 'gate_space': 'hidden'},
         {'method': 'grasp_mixture'}]
CANDIDATES = [4, 9, 17, 30]


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS, ids=str)
@pytest.mark.parametrize('backbone', CAUSAL)
def test_later_items_change_nothing_at_earlier_positions(small, backbone, kind):
    model = small(backbone=backbone, **kind)
    before = model.scores([[3, 1, 4, 1, 5, 9]], CANDIDATES)[0]
    after = model.scores([[3, 1, 4, 20, 21, 22]], CANDIDATES)[0]
    np.testing.assert_array_equal(before[:3], after[:3])
    assert np.abs(before[3:] - after[3:]).min(0).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ALL)
def test_prefix_context_of_the_gates_knows_nothing_of_later_items(small, backbone):
    model = small(backbone=backbone, user_context='prefix')
    before, after = (model.encode(model.pack([items])).context.user for items in ([3, 1, 4, 1, 5], [3, 1, 4, 20, 21]))
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old[0, :3], new[0, :3])
        assert np.abs(old[0, 3:5] - new[0, 3:5]).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize('method', ('none', 'grasp'))
def test_bert4rec_sees_both_sides_but_not_what_is_masked(small, method):
    model = small(backbone='bert4rec', method=method, user_context='prefix')
    masked = jnp.zeros((1, model.spec.row_width), bool).at[0, 2].set(True)

    def state(items):
        return model.encode(model.pack([items]), masked).states[0, 2]

    base = state([3, 1, 4, 1, 5])
    assert np.abs(base - state([3, 1, 4, 1, 22])).max() > 1e-3
    np.testing.assert_array_equal(base, state([3, 1, 25, 1, 5]))


@pytest.mark.slow
@pytest.mark.parametrize('backbone', CAUSAL)
def test_gradients_prove_causality(small, backbone):
    """The state at a position has zero gradient with respect to every later input."""
    model = small(backbone=backbone, method='none')
    packed = model.pack([[1, 2, 3, 4, 5]])

    def state_at_two(embedding):
        params = {**model.params, 'encoder': {'embedding': embedding}}
        return model.encode(packed, params=params).states[0, 2].sum()

    gradient = np.abs(jax.grad(state_at_two)(model.params['encoder']['embedding'])).sum(1)
    assert (gradient[1:4] > 0).all() and (gradient[4:6] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS, ids=str)
@pytest.mark.parametrize('backbone', ALL)
def test_packing_and_padding_change_nothing(small, backbone, kind):
    model = small(backbone=backbone, **kind)
    sequences = [[3, 1, 4], [1, 5, 9, 2, 6], [5, 3]]
    together = model.scores(sequences, CANDIDATES)
    spread = model.scores(sequences, CANDIDATES, rows=5)
    for first, second in zip(together, spread, strict=True):
        np.testing.assert_allclose(first, second, rtol=2e-5, atol=2e-5)
    alone = model.scores(sequences[:1], CANDIDATES)[0]
    np.testing.assert_allclose(together[0], alone, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize('method', ('none', 'llm_esr'))
@pytest.mark.parametrize('backbone', ALL)
def test_last_states_alone_equal_those_among_all_in_rows_of_any_width(small, backbone, method):
    model = small(backbone=backbone, method=method)
    sequences, masked = [[3, 1, 4], [1, 5, 9, 2], [5, 3]], jnp.zeros((3, model.spec.row_width), bool)
    everywhere = model.encode(model.pack(sequences, rows=3)).states
    expected = batches.ends(model.placement).pick(everywhere)

    def last(self, packed):
        width = packed.items.shape[1]
        inputs, _, _ = self.represent_rows(model.tables, jnp.arange(3), packed, masked[:, :width])
        return self.run_backbone(inputs, packed, train=False, ends=batches.ends(model.placement))

    for width in (4, 9):
        packed = batches.PackedRows(*(field[:, :width] for field in model.pack(sequences, rows=3, width=width)))
        np.testing.assert_allclose(model.call(last, packed), expected, rtol=2e-5, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_scoring_all_items_equals_scoring_each_candidate(small, kind):
    model = small(**kind)
    packed = model.pack([[3, 1, 4], [1, 5]])
    encoded, last = model.encode(packed), batches.ends(model.placement)
    states, context = last.pick(encoded.states), jax.tree.map(last.pick, encoded.context)
    ids = jnp.arange(1, model.spec.num_items + 1)
    features = model.call(Recommender.catalogue, model.tables, ids)
    everything = model.call(Recommender.score_all, states, context, features)
    each = jax.tree.map(lambda field: jnp.broadcast_to(field, (2, *field.shape)), features)
    np.testing.assert_allclose(everything, model.call(Recommender.score, states, context, each), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_folding_the_last_layer_into_the_query_changes_nothing(small, kind):
    model = small(**kind)
    narrow = model.spec.all_views * model.spec.hidden_size
    wide = {'grasp': model.spec.fusion_size, 'grasp_id': model.spec.fusion_size + narrow}.get(
        model.spec.method, narrow)
    features = jax.random.normal(jax.random.key(1), (5, wide))
    query = jax.random.normal(jax.random.key(2), (5, narrow))

    def both(self):
        folded, offset = self.encoder.fold(query)
        return jnp.sum(self.encoder.represent(features) * query, -1), jnp.sum(features * folded, -1) + offset

    np.testing.assert_allclose(*model.call(both), rtol=1e-4, atol=1e-4)


def training_scores(model, tables, users, packed, drawn):
    return model.score_targets(tables, model(tables, users, packed, drawn.masked, train=False), drawn)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ('sasrec', 'bert4rec'))
@pytest.mark.parametrize('kind', KINDS, ids=str)
def test_training_scores_put_the_true_item_first(small, kind, backbone):
    model = small(backbone=backbone, **kind)
    packed = model.pack([[3, 1, 4, 7], [1, 5, 9]])
    drawn = jax.random.randint(jax.random.key(0), (*packed.items.shape, 2), 1, 31)
    if backbone == 'sasrec':
        masked = jnp.zeros(packed.items.shape, bool)
        true = jnp.roll(packed.items, -1, 1)
        counts = (packed.segment > 0) & (true > 0)
        targets = sampling.targets_everywhere(counts, 1)
    else:
        masked = counts = (packed.segment > 0) & (packed.position % 2 == 1)
        true = packed.items
        targets = sampling.find_targets(counts, 1, 5)
    encoded = model.encode(packed, masked)
    features = model.call(Recommender.catalogue, model.tables, jnp.concatenate([true[..., None], drawn], -1))
    expected = model.call(Recommender.score, encoded.states, encoded.context, features)
    found = model.call(training_scores, model.tables, jnp.arange(2), packed,
                       sampling.StepSamples(masked, targets, targets.pick(drawn)))
    np.testing.assert_allclose(found[targets.exist], expected[counts], rtol=1e-4, atol=1e-4)


SHARED = [{'method': 'none'}, {'gate': 'none'}, {'method': 'grasp_id', 'gate': 'calibrated'}, {'method': 'llm_esr'}]


@pytest.mark.slow
@pytest.mark.parametrize('kind', SHARED, ids=str)
def test_negatives_that_all_positions_share_get_the_scores_of_each(small, kind):
    model = small(**kind)
    packed = model.pack([[3, 1, 4, 7], [1, 5, 9]])
    masked = jnp.zeros(packed.items.shape, bool)
    targets = sampling.targets_everywhere((packed.segment > 0) & (jnp.roll(packed.items, -1, 1) > 0), 1)
    shared = jnp.array([4, 9, 17, 30])
    each = jnp.broadcast_to(shared, (*packed.items.shape, 4))
    found, expected = (model.call(training_scores, model.tables, jnp.arange(2), packed,
                                  sampling.StepSamples(masked, targets, negatives))
                       for negatives in (shared, targets.pick(each)))
    np.testing.assert_allclose(found[targets.exist], expected[targets.exist], rtol=1e-4, atol=1e-4)
    if not model.spec.items_depend_on_user:
        def terms(self):
            encoded = self(model.tables, jnp.arange(2), packed, masked, train=False)
            return self.softmax_terms(model.tables, encoded, sampling.StepSamples(masked, targets, shared))

        query, items = model.call(terms)
        true = targets.pick(jnp.roll(packed.items, -1, 1))
        positive = jnp.sum(query * items[true - 1], -1)
        scores = jnp.einsum('gtf,nf->gtn', query, items[shared - 1]) - positive[..., None]
        np.testing.assert_allclose(scores[targets.exist], (expected[..., 1:] - expected[..., :1])[targets.exist],
                                   rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_level_switches_cut_their_level_off(small):
    """Without the similar and the global level the neighbours' vectors have no say."""
    model = small(use_similar=False, use_global=False)
    packed = model.pack([[3, 1, 4]])
    base = model.encode(packed).states
    moved = model.tables._replace(items_similar=model.tables.items_similar + 1.0)
    np.testing.assert_allclose(base, model.encode(packed, tables=moved).states, rtol=1e-5, atol=1e-5)
    whole = small()
    assert np.abs(whole.encode(packed).states - whole.encode(packed, tables=moved).states).max() > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize('space', ('llm', 'hidden'))
def test_grasp_starts_about_as_small_as_an_id_embedding(space):
    config = default()
    config.model.gate_space = space
    vectors = np.random.default_rng(0).normal(size=(2, 300, 384)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    vectors[:, 0] = 0
    model = Recommender(model_spec(config, 299, 384))
    tables = FrozenVectors(*map(jnp.asarray, (vectors[0], vectors[1], vectors[0], vectors[1])))

    def representations(self):
        ids = jnp.arange(1, 300)[None]
        looked_up = self.encoder.look_up(tables, ids)
        features = self.encoder.encode_items(looked_up)
        context = self.encoder.context(tables, ids[0], looked_up, ids, jnp.eye(299, dtype=bool)[None])
        return self.encoder.represent(self.encoder.pair_features(context, features))

    spread = float(jnp.std(model.init_with_output(jax.random.key(0), method=representations)[0]))
    assert 0.005 < spread < 0.04

"""The reference and grasp_jax are the same function: logits, loss, gradients and 20 steps of Adam."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches
from grasp_jax.config import default
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models.equations import Pair
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.models.user_context import Context
from grasp_jax.training.batch import Batch, draw_samples, target_count
from grasp_jax.training.objective import batch_loss
from grasp_jax.training.state import init_state
from grasp_jax.training.step import train_step
from grasp_jax.training.train_spec import train_spec

torch = pytest.importorskip('torch', reason='needs the [reference] extra')

from third_party.pytorch_reference import convert, train  # noqa: E402
from third_party.pytorch_reference.model import Recommender as Reference  # noqa: E402

pytestmark = pytest.mark.slow

USERS, ITEMS, WIDTH = 24, 240, 20
STEPS = 20
KINDS = [(backbone, method) for backbone in ('sasrec', 'bert4rec', 'gru4rec') for method in ('none', 'grasp')]


class Both:
    """The same model on either side, with the same weights and the same batches."""

    def __init__(self, backbone, method):
        config = default()
        config.model.update({'backbone': backbone, 'method': method, 'hidden_size': 16, 'num_heads': 2, 'dropout': 0.0,
                             'max_length': 12, 'gate': 'paper', 'user_context': 'text', 'num_layers': 2})
        config.train.mask_prob = 0.4
        self.train_spec = train_spec(config)
        self.spec = model_spec(config, ITEMS, WIDTH)
        self.model = Recommender(self.spec)
        rng = np.random.default_rng(0)
        users, items = rng.normal(size=(2, USERS, WIDTH)), rng.normal(size=(2, ITEMS + 1, WIDTH))
        items[:, 0] = 0
        self.tables = FrozenVectors(*(table.astype(np.float32) for table in (*users, *items)))
        # From 2 items to more than the longest row, which both sides have to cut.
        lengths = rng.integers(2, 18, USERS)
        flat = rng.integers(1, ITEMS + 1, lengths.sum()).astype(np.int32)
        known = batches.Sequences(np.arange(USERS), np.cumsum(lengths) - lengths, lengths, self.spec.row_width)
        plan = batches.ordered_plan(known, np.arange(USERS), USERS)
        targets = target_count(self.model, self.train_spec)
        self.shape = batches.BatchSizes(plan.num_rows, 1, targets(plan, 1) if targets else 0)
        self.placement = jax.tree.map(lambda field: jnp.asarray(field[0]), plan.placement)
        tables = jax.tree.map(jnp.asarray, self.tables) if method == 'grasp' else None
        self.data = DeviceData(jnp.asarray(flat), tables)
        self.packed = batches.pack_rows(self.data.items, self.placement, plan.num_rows, self.spec.row_width)
        self.state = jax.jit(init_state, static_argnums=(0, 1))(self.model, self.train_spec, tables, 0)
        self._draw = jax.jit(draw_samples, static_argnums=(0, 1, 2))

    def key(self, step):
        return jax.random.fold_in(jax.random.wrap_key_data(self.state.key), step)

    def reference(self):
        """A fresh reference with the weights of the start."""
        reference = Reference(self.spec, self.tables if self.spec.method == 'grasp' else None)
        reference.load_state_dict(convert.weights_to_torch(self.state.params, self.spec))
        return reference

    def drawn(self, step):
        """What `train_step` draws in this step."""
        return self._draw(self.model, self.train_spec, self.shape, self.packed, self.key(step))[0]

    def batch(self, step):
        """The batch of this step for the reference, which counts a negative also where it is the target."""
        batch = convert.batch_to_torch(self.packed, self.placement.user, self.drawn(step))
        assert not (batch.positives == batch.negatives)[batch.counted].any(), 'the catalogue is too small for this test'
        return batch


@pytest.fixture(scope='module', params=KINDS, ids='+'.join)
def both(request):
    return Both(*request.param)


def same(ours, theirs, tolerance):
    """Every array within `tolerance` of the largest number in it."""
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    for (path, first), second in zip(jax.tree_util.tree_leaves_with_path(ours), jax.tree.leaves(theirs), strict=True):
        scale = np.abs(np.asarray(first)).max()
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance * scale,
                                   err_msg=jax.tree_util.keystr(path))


def test_weights_there_and_back(both):
    back = convert.weights_to_flax(both.reference().state_dict(), both.spec)
    jax.tree.map(np.testing.assert_array_equal, dict(both.state.params), back)


def test_logits(both):
    drawn = both.drawn(0)

    def forward(model, tables, users, packed, drawn):
        return model.score_targets(tables, model(tables, users, packed, drawn.masked, train=False), drawn)

    score = jax.jit(functools.partial(both.model.apply, method=forward))
    scores = score({'params': both.state.params}, both.data.tables, both.placement.user, both.packed, drawn)
    # Users one after the other, each in the order of time: the order of the padded batch.
    place = np.nonzero(drawn.targets.exist)
    order = np.lexsort([drawn.targets.pick(field)[place] for field in (both.packed.position, both.packed.segment)])
    ours = np.asarray(scores[place])[order]
    batch = both.batch(0)
    with torch.no_grad():
        theirs = both.reference()(batch)
    if both.spec.causal:
        theirs = [score[batch.counted] for score in theirs]
    for candidate, score in enumerate(theirs):
        same(ours[:, candidate], score.numpy().reshape(-1), 1e-5)


def test_loss_and_gradients(both):
    differentiate = jax.jit(jax.value_and_grad(batch_loss), static_argnums=(1, 2))
    batch = Batch(both.placement.user, both.packed, batches.ends(both.placement))
    loss, gradients = differentiate(both.state.params, both.model, both.train_spec, both.data, batch, both.drawn(0),
                                    both.key(0))
    reference = both.reference()
    theirs = reference.loss(both.batch(0))
    theirs.backward()
    np.testing.assert_allclose(loss, theirs.item(), rtol=1e-5)
    found = {name: parameter.grad for name, parameter in reference.named_parameters()}
    same(dict(gradients), convert.weights_to_flax(found, both.spec), 1e-4)


def test_twenty_steps_of_adam(both):
    mesh = make_mesh((1, 1), jax.devices()[:1])
    step = jax.jit(functools.partial(train_step, both.model, both.train_spec, mesh, both.shape, both.data))
    reference = both.reference().train()
    optimizer = train.make_optimizer(reference, both.train_spec.learning_rate)
    state = both.state
    for number in range(STEPS):
        state, loss = step(state, batches.StepPlan(both.placement))
        theirs = train.train_step(reference, optimizer, both.batch(number))
        np.testing.assert_allclose(loss, theirs.item(), rtol=1e-3)
    moved = jax.tree.map(lambda new, old: float(np.abs(new - old).max()), state.params, both.state.params)
    assert min(jax.tree.leaves(moved)) > 1e-3
    after = convert.weights_to_flax(reference.state_dict(), both.spec)
    jax.tree.map(lambda ours, other: np.testing.assert_allclose(ours, other, atol=1e-3), dict(state.params), after)


def test_scores_of_the_whole_catalogue(both):
    rng = np.random.default_rng(1)
    users = np.array([3, 5, 8])
    states = rng.normal(size=(3, both.spec.hidden_size)).astype(np.float32)
    variables = {'params': both.state.params}
    features = both.model.apply(variables, both.data.tables, jnp.arange(1, ITEMS + 1), method=Recommender.catalogue)
    user = None if both.data.tables is None else Pair(both.tables.users[users], both.tables.users_similar[users])
    ours = both.model.apply(variables, jnp.asarray(states), Context(user), features, method=Recommender.score_all)
    theirs = both.reference().score_all(torch.from_numpy(users), torch.from_numpy(states), ITEMS, chunk=50)
    same(np.asarray(ours), theirs.numpy(), 1e-5)


def test_the_reference_refuses_what_it_does_not_have():
    config = default()
    config.model.update({'gate': 'calibrated'})
    with pytest.raises(ValueError, match='as printed only'):
        Reference(model_spec(config, ITEMS, WIDTH))

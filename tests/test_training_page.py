"""The page on a training step shows the arrays, the shapes and the names that the code has."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.batching import batches, sampling
from grasp_jax.config import default
from grasp_jax.config.settings import changed
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.training.batch import draw_samples, make_batch
from grasp_jax.training.state import init_state, key_of_step
from grasp_jax.training.train_spec import train_spec
from tests.conftest import ROOT

PAGE = (ROOT / 'docs' / 'concepts' / 'training_step.md').read_text(encoding='utf-8')
ITEMS = np.array([11, 12, 13, 14, 21, 22, 23, 31, 32], np.int32)


def numbers(name):
    return re.findall(r'\d+|-', re.search(rf'^{name} +(.*)$', PAGE, re.MULTILINE)[1])


def shape_of(words):
    row = next(line for line in PAGE.splitlines() if line.startswith(f'| {words}'))
    return tuple(int(size) for size in re.findall(r'\d+', row.split('`[')[1].split(']`')[0]))


@pytest.fixture(scope='module')
def plan():
    sequences = batches.Sequences(np.arange(3), np.array([0, 4, 7]), np.array([4, 3, 2]), 6)
    return batches.ordered_plan(sequences, np.arange(3), 3)


@pytest.mark.slow
def test_the_batch_of_three_users_is_packed_as_shown(plan):
    placement = batches.RowPlacement(*(jnp.asarray(field[0]) for field in plan.placement))
    packed = batches.pack_rows(jnp.asarray(ITEMS), placement, plan.num_rows, plan.width)
    for name, field in packed._asdict().items():
        assert numbers(name) == [str(value) for value in np.ravel(field)]
    counts = np.ravel((packed.segment > 0) & ~sampling.is_last(packed))
    following = np.ravel(jnp.roll(packed.items, -1, 1))
    assert numbers('target') == [str(item) if there else '-' for item, there in zip(following, counts, strict=True)]


def test_shapes_are_those_of_the_page(plan):
    config = changed(default('paper'), {'model.max_length': 5, 'train.batch_size': 3})
    spec = train_spec(config)
    model = Recommender(model_spec(config, num_items=40, llm_width=384))
    users, items = jnp.zeros((3, 384)), jnp.zeros((model.spec.vocabulary, 384))
    data = DeviceData(jnp.asarray(ITEMS), FrozenVectors(users, users, items, items))
    mesh, shape = make_mesh((1, 1), jax.devices()[:1]), batches.BatchSizes(plan.num_rows)
    step = batches.StepPlan(batches.RowPlacement(*(jnp.asarray(field[0]) for field in plan.placement)))

    def forward():
        state = init_state(model, spec, data.tables, 0)
        batch = make_batch(model, mesh, shape, data.items, step)
        drawn, key = draw_samples(model, spec, shape, batch.packed, key_of_step(state.key, state.step))

        def call(model):
            encoded = model(data.tables, batch.users, batch.packed, drawn.masked, train=True)
            vectors = model.encoder.look_up(data.tables, batch.packed.items)
            scores = model.score_targets(data.tables, encoded, drawn)
            return vectors, encoded, scores, model.encoder.level_scores(encoded.context, encoded.item_features)

        return batch, drawn, *model.apply({'params': state.params}, rngs={'dropout': key}, method=call)

    batch, drawn, vectors, encoded, scores, levels = jax.eval_shape(forward)
    found = {'`batch.packed.items`': batch.packed.items, '`drawn.targets.exist`': drawn.targets.exist,
             '`drawn.negatives`': drawn.negatives, "an item's vector": vectors.own,
             'what each position has seen': encoded.context.user.own,
             'first layer of the MLP': encoded.item_features.projected.own,
             'gates': levels, '`encoded.states`': encoded.states, 'scores': scores}
    assert {words: shape_of(words) for words in found} == {words: field.shape for words, field in found.items()}


def test_functions_are_where_the_page_says():
    text, found = PAGE.split('## The six files')[0], 0
    for name, path in re.findall(r'\| `([\w.]+)` in `([\w/.]+)` \|', text):
        assert f'def {name.split(".")[-1]}(' in (ROOT / path).read_text(encoding='utf-8'), name
        found += 1
    table = PAGE.split('## The six files')[1].split('`grasp_jax/models/spec.py`')[0]
    files = re.findall(r'^\| `([\w/.]+)` \| (.*) \|$', table, re.MULTILINE)
    assert found >= 5 and len(files) <= 6
    for path, words in files:
        for name in re.findall(r'`(\w+)`', words):
            source = (ROOT / path).read_text(encoding='utf-8')
            assert f'def {name}(' in source or f'class {name}(' in source, (path, name)

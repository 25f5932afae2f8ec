"""Methods know themselves: nobody else asks for a name, and one more method is one more file."""

import ast
import json
import pathlib

import jax.numpy as jnp
import pytest
from flax import linen as nn

import grasp_jax
from grasp_jax.config import changed, default
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.evaluation.plots import PALETTE
from grasp_jax.models import methods
from grasp_jax.models.item_encoders import KERNEL_INIT, GatedItemEncoder, UserIndependentEncoder, text_rows
from grasp_jax.models.methods.base import Method
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline.stages import run_pipeline
from tests.tiny_runs import tiny_config, write_table

PACKAGE = pathlib.Path(grasp_jax.__file__).parent
NAMES = ('grasp', 'grasp_id', 'grasp_mixture', 'llm_esr', 'llm_init', 'none', 'rlmrec')
# The rows of reproduced tables are methods by name; one command of the benchmark is called as a method is.
MAY_NAME_METHODS = ('models/methods/', 'reproduce/grid.py', 'benchmark/__main__.py')


class ToyEncoder(UserIndependentEncoder):
    """The item's LLM vector times a matrix."""

    def setup(self):
        self.kernel = self.param('kernel', KERNEL_INIT, (self.spec.llm_width, self.spec.hidden_size))

    def look_up(self, tables: FrozenVectors, ids, mesh=None):
        return text_rows(tables.items, tables.item_slots, ids, mesh)

    def encode_items(self, looked_up, dtype='float32'):
        return looked_up @ self.kernel


class Toy(Method):
    """Vectors through a matrix, and a loss of its own with a module of its own."""

    name, label = 'toy', 'Toy'
    uses_vectors = uses_vectors_in_forward = True
    ranks_with = ('items',)
    default_auxiliary_weight = 0.1

    def item_encoder(self, spec):
        return ToyEncoder(spec)

    def modules(self, spec):
        return {'judge': nn.Dense(1)}

    def trains_with_last_states(self, spec):
        return True

    def auxiliary_loss(self, model, inputs):
        states, there = model.users_last_states(inputs)
        return jnp.sum((model.judge(states)[:, 0] - 1.0) ** 2 * there) / jnp.maximum(jnp.sum(there), 1)


@pytest.fixture
def toy():
    methods.register(Toy())
    yield
    methods.unregister('toy')


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ('sasrec', 'bert4rec'))
def test_a_method_of_one_class_runs_from_a_config_to_a_report(toy, tmp_path, backbone):
    write_table(tmp_path / 'data')
    config = tiny_config(tmp_path / 'data', model__method='toy', model__backbone=backbone, train__max_epochs=5)
    report = run_pipeline(config, tmp_path / 'run')
    assert report['method'] == 'toy' and report['gate'] is None and report['encoder'] == 'lsa'
    assert '+ Toy' in (tmp_path / 'run' / 'report.md').read_text()
    lines = [json.loads(line) for line in (tmp_path / 'run' / 'seed42' / 'metrics.jsonl').read_text().splitlines()]
    assert lines[-1]['loss'] < lines[0]['loss']
    lists = grasp_jax.Recommender.load(tmp_path / 'run').recommend(histories=[['i001', 'i002']], k=3)
    assert len(lists) == 3


def test_a_method_that_is_not_registered_is_no_choice():
    with pytest.raises(grasp_jax.UserError, match="method='toy': choose one of grasp, grasp_id, grasp_mixture"):
        model_spec(changed(default(), {'model.method': 'toy'}), 9)
    with pytest.raises(ValueError, match='a method grasp already'):
        methods.register(type('Other', (Toy,), {'name': 'grasp'})())


def test_every_file_is_a_method_that_says_what_it_needs():
    assert set(NAMES) <= set(methods.names())
    assert [name for name in NAMES if methods.is_plain(name)] == ['none']
    assert len({methods.label(name) for name in NAMES}) == len(NAMES)
    for name in NAMES:
        facts, config = methods.named(name), changed(default(), {'model.method': name})
        assert facts.name == name and facts.colour in PALETTE
        assert set(facts.settings) <= set(config.model.keys())
        spec = model_spec(config, 9, 12)
        assert isinstance(facts.item_encoder(spec), GatedItemEncoder) == facts.gated
        assert set(facts.training_modules) <= set(facts.modules(spec))
        assert facts.uses_vectors >= facts.uses_vectors_in_forward >= bool(facts.ranks_with)


def asked_by_name(path):
    """Lines of a file that compare something with a method's name, or look it up by one."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            constants = {leaf.value for side in sides for leaf in ast.walk(side) if isinstance(leaf, ast.Constant)}
            clear = constants & (set(NAMES) - {'none'})
            if clear or ('none' in constants and any('method' in ast.unparse(side) for side in sides)):
                yield f'{path.relative_to(PACKAGE)}:{node.lineno}'
        elif isinstance(node, ast.Dict):
            keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
            if len(keys & set(NAMES)) > 1:
                yield f'{path.relative_to(PACKAGE)}:{node.lineno}'


@pytest.mark.slow
def test_nobody_else_asks_for_the_name_of_a_method():
    found = [line for path in sorted(PACKAGE.rglob('*.py')) for line in asked_by_name(path)]
    assert [line for line in found if not line.startswith(MAY_NAME_METHODS)] == []


@pytest.mark.parametrize(('code', 'asked'), [
    ("spec.method == 'rlmrec'", True), ("x in ('grasp', 'grasp_id')", True), ("config.model.method != 'none'", True),
    ("gate == 'none'", False), ("{'none': 1, 'grasp': 2}", True), ("{'gate': 'none'}", False)])
def test_such_questions_are_found(tmp_path, monkeypatch, code, asked):
    monkeypatch.setitem(globals(), 'PACKAGE', tmp_path)
    (tmp_path / 'some.py').write_text(code)
    assert bool(list(asked_by_name(tmp_path / 'some.py'))) == asked

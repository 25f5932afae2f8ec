"""Every shipped config, with every backbone and method, makes a model; nothing is computed."""

import importlib.util
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models import methods
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline.checks import check_config
from grasp_jax.training.state import init_state
from grasp_jax.training.train_spec import train_spec

CONFIGS = pathlib.Path(__file__).resolve().parents[2] / 'configs'
SHIPPED = ['demo', 'own_data', 'beauty', 'beauty:minilm', 'beauty:paper', 'fashion', 'fashion:raw', 'industry_100k',
           'goodreads', 'goodreads:title', 'office', 'office:title', 'movielens', 'movielens:title']


def load(name):
    stem, _, variant = name.partition(':')
    spec = importlib.util.spec_from_file_location(stem, CONFIGS / f'{stem}.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*[variant] if variant else [])


def test_no_config_is_forgotten():
    assert {name.partition(':')[0] for name in SHIPPED} == {path.stem for path in CONFIGS.glob('*.py')}


@pytest.mark.parametrize('method', ('none', 'grasp'))
@pytest.mark.parametrize('backbone', ('sasrec', 'gru4rec', 'bert4rec'))
@pytest.mark.parametrize('name', SHIPPED)
def test_a_shipped_config_initialises(name, backbone, method):
    config = load(name)
    config.model.update({'backbone': backbone, 'method': method})
    check_config(config)
    users, items, width = 52_204, 57_289, 1536
    table = lambda rows: jax.ShapeDtypeStruct((rows, width), jnp.float16)  # noqa: E731
    tables = None if method == 'none' else FrozenVectors(table(users), table(users), table(items + 1), table(items + 1))
    model = Recommender(model_spec(config, items, width))
    state = jax.eval_shape(lambda tables: init_state(model, train_spec(config), tables, 0), tables)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.params))
    # Id embeddings grow with the catalogue, GRASP's parameters with the width of the vectors.
    table_size = model.spec.vocabulary * config.model.hidden_size
    fusion = 4 * width * model.spec.fusion_size
    assert (table_size if method == 'none' else fusion) < size < 1.5 * (table_size if method == 'none' else fusion)


@pytest.mark.parametrize('name', ['demo:strong', 'own_data:strong', 'beauty:minilm,strong', 'industry_100k:strong',
                                  'goodreads:both,strong', 'office:title,strong', 'movielens:both,strong'])
def test_the_strong_recipe_passes_the_door(name):
    check_config(load(name))


@pytest.mark.parametrize('settings', [{'model.gate': 'none', 'train.loss': 'softmax'}, {'model.gate': 'softmax'}])
def test_what_tables_on_the_host_cannot_do_is_refused_at_the_door(settings):
    with pytest.raises(UserError, match="train.vector_placement='host'"):
        check_config(changed(default(), {'train.vector_placement': 'host', **settings}))


@pytest.mark.parametrize(('section', 'key', 'value', 'word'), [
    ('model', 'gate', 'open', 'calibrated'), ('model', 'method', 'magic', 'grasp'),
    ('model', 'dropout', 1.0, 'below 1'), ('encode', 'kind', 'precomputed', 'item_vectors=FILE'),
    ('model', 'num_heads', 3, 'divide'), ('train', 'patience', 0, 'above 0'),
    ('evaluate', 'selection_protocol', 'luck', 'full'),
    ('model', 'max_length', 0, 'at least 1'), ('train', 'seeds', (), r'as \(42'),
    ('train', 'seeds', (-1,), 'from 0 on'), ('train', 'seeds', (1, 1), 'different'),
    ('evaluate', 'ks', (), r'as \(1, 5'), ('evaluate', 'ks', ('10',), 'from 1 on'),
    ('evaluate', 'ks', (0,), 'from 1 on'), ('evaluate', 'head_item', -1, '0 or more'),
    ('train', 'weight_decay', float('nan'), 'finite'), ('train', 'learning_rate', float('inf'), 'finite'),
    ('train', 'temperature', float('inf'), 'finite'), ('model', 'aux_loss_weight', float('nan'), 'finite'),
    ('train', 'seeds', (5, 5 + 2 ** 32), 'below 4294967296'), ('train', 'mesh', (True, 1), 'along data'),
    ('train', 'negative_popularity', 50.0, 'from 0 to 1'), ('train', 'mask_prob', 1.5, 'from 0 to 1'),
    ('text', 'source', 'poet', 'template or model'), ('encode', 'kind', 'lsaa', 'choose one of hashed'),
    ('encode', 'dtype', 'int8', 'float16'), ('retrieve', 'method', 'magic', 'scann'),
    ('encode', 'batch_size', 0, 'above 0'), ('train', 'mesh', (1,), 'along data and along model'),
    ('train', 'mesh', (0, 1), 'along data'), ('model', 'dropout', 0.9999999, 'clearly below 1'),
    ('model', 'aux_loss_weight', 0.1, 'method grasp has no auxiliary loss'),
    ('evaluate', 'seed', -1, '0 or more'), ('evaluate', 'max_users', -1, '0 or more'),
    ('train', 'steps_per_epoch', -1, '0 or more'), ('train', 'min_steps_per_epoch', -1, '0 or more'),
    ('data', 'scale', 0.5, 'synthetic shop')])
def test_settings_that_cannot_work_are_refused(section, key, value, word):
    config = default()
    config[section].update({key: value})
    if key == 'negative_popularity':
        config.train.update({'shared_negatives': True, 'loss': 'sampled_softmax'})
    with pytest.raises(UserError, match=word) as caught:
        check_config(config)
    assert f'{section}.{key}' in str(caught.value) and '\n' not in str(caught.value)


def test_settings_that_do_not_go_together_are_refused():
    config = default()
    config.train.update({'shared_negatives': True, 'negative_popularity': 0.5})
    for loss in ('bce', 'gbce'):
        config.train.loss = loss
        with pytest.raises(UserError, match='train.negative_popularity=0.5: is corrected for in'):
            check_config(config)
    config = default()
    config.model.backbone = 'bert4rec'
    config.train.update({'mask_prob': 0.0, 'mask_last_prob': 0.0})
    with pytest.raises(UserError, match='nothing is hidden'):
        check_config(config)


def test_a_gate_under_strong_needs_a_method_that_has_gates():
    for method in methods.names():
        config = changed(default('strong'), {'model.method': method, 'model.gate': 'calibrated',
                                             'train.loss': 'sampled_softmax'})
        if methods.named(method).gated:
            check_config(config)
        else:
            with pytest.raises(UserError, match=f'model.gate=calibrated: method {method} has no gates, grasp and gr'):
                check_config(config)
        check_config(changed(default('paper'), {'model.method': method}))  # whose gate is a default


@pytest.mark.parametrize('settings', [{'source': 'model'}, {'held_out': 1}, {'history': 'all'}])
def test_settings_of_texts_that_nobody_encodes_are_refused(settings):
    config = default()
    config.encode.update({'kind': 'precomputed', 'item_vectors': 'items.npy', 'item_ids': 'items.txt'})
    config.text.update(settings)
    with pytest.raises(UserError, match='precomputed vectors were made from others'):
        check_config(config)


@pytest.mark.parametrize(('key', 'value', 'word'), [
    ('prices', ('mine', 0.15, 0.60), 'in one pair of brackets'),
    ('prices', (('mine', 0.1),), 'no model with its price'),
    ('prices', (('mine', float('nan'), 0.1),), 'no model'), ('max_usd', float('nan'), 'a finite number'),
    ('api_key_env', 'sk-secret', 'never the key itself'), ('base_url', 'http://me:secret@host/v1', 'without name'),
    ('extra', '{"n": 2}', "'n' is set by the program"), ('model', '', 'is missing')])
def test_settings_of_the_language_model_are_looked_at_before_anything_is_asked(key, value, word):
    config = default()
    config.text.source = 'model'
    config.llm.update({'model': 'mine', key: value})
    with pytest.raises(UserError, match=word) as caught:
        check_config(config)
    assert f'llm.{key}' in str(caught.value) and 'secret' not in str(caught.value)
    config.model.method = 'none'
    check_config(config)  # it reads no texts


def test_small_data_get_as_many_steps_as_big_ones_where_somebodys_own_or_few():
    assert [name for name in SHIPPED if load(name).train.min_steps_per_epoch] == [
        'own_data', 'movielens', 'movielens:title']
    assert load('own_data:paper').train.min_steps_per_epoch == load('own_data').train.min_steps_per_epoch


def test_defaults_are_plain_values():
    """They go into fingerprints and manifests as JSON."""
    for section in default().to_dict().values():
        for value in section.values():
            assert isinstance(value, (str, int, float, bool, tuple, dict)), value
    assert np.isclose(default().train.learning_rate, 1e-3)

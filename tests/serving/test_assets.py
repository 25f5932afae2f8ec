"""What is served is what was trained, and what is damaged or of another run is refused at the door."""

import dataclasses
import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config.saved_config import load as load_config
from grasp_jax.pipeline.stages import run_pipeline
from grasp_jax.serving import assets
from grasp_jax.training.state import init_state, ranked_params
from grasp_jax.training.train_spec import train_spec
from tests.models.conftest import Small
from tests.tiny_runs import tiny_config

pytestmark = pytest.mark.slow


def test_the_mean_of_the_parameters_is_the_same_without_a_compiled_program():
    config = load_spec(ema_decay=0.9)
    small = Small(method='none')
    state = init_state(small.model, config, None, 0)
    mean = state.optimizer[-1]._replace(count=jnp.asarray(7), ema=jax.tree.map(lambda leaf: leaf + 0.3, state.params))
    state = state._replace(optimizer=(*state.optimizer[:-1], mean))
    jax.tree.map(lambda mine, theirs: np.testing.assert_allclose(mine, theirs, rtol=1e-6),
                 assets.ranked_on_host(config, state), ranked_params(config, state))


def load_spec(**settings):
    from grasp_jax.config import default
    config = default()
    config.train.update(settings)
    return train_spec(config)


@pytest.fixture
def copied(gated, tmp_path):
    """A copy of a run to spoil."""
    return pathlib.Path(shutil.copytree(gated, tmp_path / 'copy'))


def test_a_copy_is_as_good(copied, gated):
    mine, theirs = assets.open_folder(copied), assets.open_folder(gated)
    assert assets.version(mine) == assets.version(theirs) and mine.epoch == theirs.epoch


@pytest.mark.parametrize(('spoil', 'words'), [
    (lambda path: (path / 'config.json').unlink(), 'config.json: is not there'),
    (lambda path: (path / 'seed42' / 'test_ranks.npz').unlink(), 'no seed is finished'),
    (lambda path: shutil.rmtree(path / 'seed42' / 'checkpoints'), 'there is no checkpoint'),
    (lambda path: shutil.rmtree(path / 'encode'), 'encode: is not there'),
    (lambda path: (path / 'encode' / 'items.npy').write_bytes(b'damaged'), 'is not as it was written'),
    (lambda path: (path / 'prepare' / 'items.jsonl').write_text('{}'), 'is not as it was written'),
    (lambda path: retrained(path), 'was trained on other data or vectors')])
def test_what_is_damaged_or_of_another_run_is_refused(copied, spoil, words):
    spoil(copied)
    with pytest.raises(UserError, match=words):
        assets.open_folder(copied)


def retrained(path):
    """As if the neighbours had been made anew from something else."""
    manifest = path / 'retrieve' / 'manifest.json'
    found = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**found, 'fingerprint': 'another'}))


def test_a_command_that_is_refused_leaves_the_config_of_the_run(copied, tiny_table):
    before = (copied / 'config.json').read_text()
    with pytest.raises(UserError, match='was made with another config'):
        run_pipeline(tiny_config(tiny_table, model__gate='paper'), copied)
    assert (copied / 'config.json').read_text() == before and assets.open_folder(copied).spec.gate == 'calibrated'


def test_a_version_changes_with_the_parameters(gated):
    known = assets.open_folder(gated)
    other = jax.tree.map(lambda leaf: leaf + 1, known.params)
    assert assets.version(known) != assets.version(dataclasses.replace(known, params=other))
    assert load_config(gated)[0].model.method == known.spec.method

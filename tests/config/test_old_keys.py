"""Settings that had another name: kept runs are claimed, files of before are read, flags of before say the new name."""

import json

import pytest

from grasp_jax.commands import config_flag
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default, old_keys, saved_config


def keys_of(section, prefix=''):
    for key, value in section.items():
        yield f'{prefix}{key}'
        if hasattr(value, 'items'):
            yield from keys_of(value, f'{prefix}{key}.')


def test_new_names_are_settings_and_old_ones_are_not():
    settings = set(keys_of(default().to_dict()))
    assert set(old_keys.RENAMED.values()) <= settings and not set(old_keys.RENAMED) & settings
    assert len(set(old_keys.RENAMED.values())) == len(old_keys.RENAMED)


def test_there_and_back():
    config = default('strong').to_dict()
    first = old_keys.first_named('', config)
    assert old_keys.named_now('', first) == config
    assert first['train']['average'] == 0.998 and first['encode']['corrupt']['who'] == 'users'
    assert old_keys.first_named('retrieve', {'reduce_to': 1, 'pca_dim': 2}) == {'reduce_to': 2}


def test_a_config_file_of_before_is_read(tmp_path):
    config = changed(default(), {'train.ema_decay': 0.5, 'encode.corrupt.target': 'items', 'evaluate.max_users': 7})
    saved_config.save(config, tmp_path, tmp_path)
    path = tmp_path / saved_config.FILE
    found = json.loads(path.read_text())
    path.write_text(json.dumps({**found, 'config': old_keys.first_named('', found['config'])}))
    assert saved_config.load(tmp_path)[0].to_dict() == config.to_dict()


def test_an_old_name_says_the_new_one():
    with pytest.raises(UserError, match=r"no setting 'train.average' \(it is called train.ema_decay now\)"):
        changed(default(), {'train.average': 0.5})
    with pytest.raises(UserError, match='--config.train.average: is called --config.train.ema_decay now'):
        config_flag.parse(['main', '--config=configs/demo.py', '--config.train.average=0.5'])


def test_fingerprints_are_those_of_the_first_names():
    settings = {'k': 10, 'reduce_to': 0}
    now = old_keys.named_now('retrieve', settings)
    assert now == {'k': 10, 'pca_dim': 0}
    assert artefacts.fingerprint('retrieve', old_keys.first_named('retrieve', now), []) == artefacts.fingerprint(
        'retrieve', settings, [])

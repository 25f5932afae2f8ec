"""A work folder's config comes back as it was."""

import json

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default, saved_config


def test_it_comes_back_as_it_was(tmp_path):
    config = default('strong')
    config.train.seeds = (1, 2)
    config.data.shop.customers = 7
    saved_config.save(config, tmp_path, tmp_path / 'stages')
    found, stages = saved_config.load(tmp_path)
    assert found.to_dict() == config.to_dict() and found.is_locked
    assert stages == tmp_path / 'stages'


def test_a_folder_may_be_moved_with_its_stages(tmp_path):
    work = tmp_path / 'runs' / 'one'
    work.mkdir(parents=True)
    saved_config.save(default(), work, tmp_path / 'runs' / 'stages')
    (tmp_path / 'runs').rename(tmp_path / 'moved')
    stages = saved_config.load(tmp_path / 'moved' / 'one')[1]
    assert stages.resolve() == (tmp_path / 'moved' / 'stages').resolve()


def test_settings_of_later_versions_keep_their_defaults(tmp_path):
    saved_config.save(default(), tmp_path, tmp_path)
    path = tmp_path / saved_config.FILE
    found = json.loads(path.read_text())
    del found['config']['evaluate']['cold_items']
    path.write_text(json.dumps(found))
    assert saved_config.load(tmp_path)[0].evaluate.cold_items == 0.0


@pytest.mark.parametrize(('text', 'words'), [
    ('{', 'cannot be read'), ('{}', 'is no config'), ('{"config": {"what": 1}, "stages": "."}', 'no setting what'),
    ('{"config": {"train": {"batch_size": "many"}}, "stages": "."}', 'is no config')])
def test_what_is_damaged_is_refused(tmp_path, text, words):
    (tmp_path / saved_config.FILE).write_text(text)
    with pytest.raises(UserError, match=words):
        saved_config.load(tmp_path)


def test_other_folders_are_refused(tmp_path):
    with pytest.raises(UserError, match='there is no such folder'):
        saved_config.load(tmp_path / 'nowhere')
    with pytest.raises(UserError, match='config.json: is not there'):
        saved_config.load(tmp_path)

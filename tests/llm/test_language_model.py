"""Which language model is asked, and what shapes its answers."""

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.llm import language_model
from grasp_jax.pipeline.checks import check_config
from tests.llm.ask_many import config_for


def test_the_key_goes_to_the_server_that_is_named_alone(monkeypatch):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-very-secret')
    monkeypatch.setenv('OPENAI_BASE_URL', 'http://elsewhere/v1')
    assert language_model.from_config(config_for('')).client_options()['base_url'] == language_model.OPENAI
    assert language_model.from_config(config_for('http://x/v1')).client_options()['base_url'] == 'http://x/v1'


def test_an_answer_is_kept_under_all_that_it_depends_on():
    config = config_for('http://localhost:1/v1')
    messages = [{'role': 'user', 'content': 'a'}]

    def key(version=1, **settings):
        changed = config.copy_and_resolve_references()
        changed.llm.update(settings)
        return language_model.from_config(changed).key(messages, version)

    assert key(base_url='') == key(), 'where the server stands does not matter'
    different = [key(), key(version=2), key(model='b'), key(revision='2'), key(temperature=0.3), key(seed=1),
                 key(max_tokens=7), key(extra='{"top_p": 0.5}')]
    assert len(set(different)) == len(different)
    left_out = config.copy_and_resolve_references()
    left_out.llm.update({'temperature': -1.0, 'seed': -1})
    assert not language_model.from_config(left_out).sampling().keys() & {'temperature', 'seed'}


@pytest.mark.parametrize('settings', [
    {'temperature': float('inf')}, {'extra': '{"top_p": NaN}'}, {'prices': ((),)}, {'revision': 'a\ud83d'},
    {'base_url': f'http://{"a" * 70}.com/v1'}, {'base_url': 'http://a/v1\n'}, {'base_url': 'http://a/v1?key=sk-1'}])
def test_settings_that_no_server_takes_are_refused_at_the_door(settings):
    config = config_for('http://localhost:1/v1')
    config.data.update({'name': 'shop', 'kind': 'shop'})
    check_config(config)
    config.llm.update(settings)
    with pytest.raises(UserError, match=rf'llm\..*{next(iter(settings))}'):
        check_config(config)

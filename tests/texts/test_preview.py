"""Estimates before anything is asked."""

import dataclasses

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.llm import estimate, language_model
from grasp_jax.llm.answer_store import AnswerStore, Usage
from grasp_jax.texts import domains, llm_texts, preview
from tests.llm.ask_many import config_for, questions


@pytest.mark.slow
def test_estimates_learn_from_the_servers_counts(scripted, tmp_path):
    with scripted() as (url, _):
        config = config_for(url, {'prices': (('scripted', 1.0, 2.0),), 'max_requests': 40})
        fresh = preview.estimate(questions(config, 300), config, tmp_path)
        assert (fresh.prompts, fresh.answered, fresh.measured, fresh.hours, fresh.spent) == (300, 0, False, None, 0)
        assert fresh.tokens.completion == 300 * config.llm.max_tokens
        with pytest.raises(UserError, match='max_requests'):
            llm_texts.write(questions(config, 300), config, tmp_path / llm_texts.STORE, tmp_path)
        known = preview.estimate(questions(config, 300), config, tmp_path)
        config.llm.max_requests = 0
        facts = llm_texts.write(questions(config, 300), config, tmp_path / llm_texts.STORE, tmp_path)[2]
    with AnswerStore(tmp_path / llm_texts.STORE) as store:
        spent = store.totals('scripted').usage
    assert (known.answered, known.measured) == (40, True) and known.hours > 0
    asked_then = Usage(spent.prompt * 260 // 300, spent.completion * 260 // 300)
    assert known.tokens.prompt == pytest.approx(asked_then.prompt, rel=0.1)
    assert known.tokens.completion == pytest.approx(asked_then.completion, rel=0.1)
    assert known.usd + known.spent == pytest.approx(facts['usd'], rel=0.1)
    assert 'rule of thumb' in preview.as_text(fresh, 'x') and 'earlier answers' in preview.as_text(known, 'x')


def test_equal_prompts_are_counted_once(scripted, tmp_path):
    config = config_for('http://localhost:1/v1')
    asked = questions(config, 10)
    asked = dataclasses.replace(asked, items=[*asked.items, ('twin', asked.items[0][1])])
    found = preview.estimate(asked, config, tmp_path)
    assert (found.prompts, found.different, found.answered) == (11, 10, 0)
    assert 'equal to others   1\nsettled already   0 (0.0%)\nleft to ask       10\n' in preview.as_text(found, 'x')
    with scripted() as (url, _), pytest.raises(UserError, match='; 2 of 10 prompts are settled'):
        limited = config_for(url, {'max_requests': 2})
        asked = dataclasses.replace(asked, model=language_model.from_config(limited))
        llm_texts.write(asked, limited, tmp_path / 'store.sqlite', tmp_path)


def test_limits_set_the_pace(tmp_path):
    config = config_for('http://localhost:1/v1', {'requests_per_minute': 10})
    assert preview.estimate(questions(config, 300), config, tmp_path).hours == pytest.approx(0.5)
    config.llm.tokens_per_minute = 1000
    assert preview.estimate(questions(config, 300), config, tmp_path).hours > 1


def test_rough_counts_are_near_those_of_public_tokenizers():
    item = ('The beauty item has the following attributes: name is WAWO 15 Color Professionl Makeup Eyeshadow '
            'Camouflage Facial Concealer Neutral Palette; brand is unknown; price is unknown. The item has the '
            'following features: unknown. The item has the following descriptions: unknown.')
    prose = ('Sequential recommenders know an item by its id alone, so they know next to nothing about the many items '
             'that few people bought. GRASP lets language models help: a text about every user and item becomes a '
             'frozen vector.')
    # As cl100k counts them.
    assert estimate.rough(item) == pytest.approx(56, rel=0.15)
    assert estimate.rough(prose) == pytest.approx(45, rel=0.15)


def test_words_that_no_space_parts_are_counted_by_their_characters():
    chinese, thai = '这款面霜适合干性皮肤，质地轻盈，吸收快。', 'ครีมบำรุงผิวหน้า'
    assert 0.9 * len(chinese) <= estimate.rough(chinese) <= len(chinese)
    assert estimate.rough(thai) == len(thai)
    assert estimate.rough('Crème für die Haut 保湿') == estimate.rough('Crème für die Haut') + 2


def test_prompts_can_be_seen_before_they_are_sent():
    shown = list(preview.examples(questions(config_for('http://localhost:1/v1'), 10), 2))
    assert len(shown) == 4 and shown[0].startswith('--- item i0 ---\n[system] ') and '--- user u1 ---' in shown[3]


def test_a_domain_of_ones_own_is_one_small_file(tmp_path):
    path = tmp_path / 'cars.toml'
    path.write_text('version = 3\nitem = "car"\nfields = [["model", "title"]]\nsentences = []\n[model]\n'
                    'item_request = "Whom does it suit?"\n')
    domain = domains.load(str(path))
    assert (domain.version, domain.item, domain.fields, domain.extra) == (3, 'car', (('model', 'title'),), False)
    for wrong, message in (('version = 3', 'item must be there'), ('item =', 'cannot be read'),
                           ('version = 1\nitem = "a"\nfields = [["b"]]\nsentences = []', 'no pair'),
                           ('version = 1\nitem = "a"\nfields = []\nsentences = []\nitem_system = "b"', 'no entry'),
                           ('version = 1\nitem = "a"\nfields = []\nsentences = []\n[model]\nitem_system = 1', 'text')):
        path.write_text(wrong)
        with pytest.raises(UserError, match=message):
            domains.load(str(path))
    with pytest.raises(UserError, match='not known; choose one of beauty, fashion, industry, shop'):
        domains.load('cars')


@pytest.mark.parametrize('settings, message', [
    ({'model': ''}, 'model is missing'), ({'extra': '[1]'}, 'JSON object'), ({'max_tokens': 0}, 'max_tokens=0'),
    ({'base_url': 'localhost:8000'}, 'give an address'), ({'base_url': 'http://[localhost:8000/v1'}, 'give an address'),
    ({'base_url': 'http://localhost:port/v1'}, 'give an address')])
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(UserError, match=message):
        language_model.from_config(config_for('http://localhost:1/v1', settings))

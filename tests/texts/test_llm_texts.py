"""What becomes of a language model's answers: the texts of items and users, and what is said of them."""

import pytest

from grasp_jax.llm.answer_store import AnswerStore
from tests.llm.ask_many import config_for, questions, write


@pytest.mark.slow
def test_thoughts_and_fences_are_no_part_of_a_text(scripted, tmp_path):
    with scripted() as (url, _):
        clean = write(config_for(url), 30, tmp_path / 'clean')
    with scripted({'content': '<think>Who would want it?\nNobody.</think>\n```text\nTEXT\n```'}) as (url, _):
        found = write(config_for(url), 30, tmp_path / 'wrapped')
    assert found[:2] == clean[:2] and found[2]['fallbacks'] == 0
    with scripted({'content': '<think>Who would want it? TEXT'}) as (url, log):
        items, users, facts = write(config_for(url), 30, tmp_path / 'unfinished')
    assert facts['fallback_reasons'] == {'empty': 30} and len(log()) == 3 * 30
    assert all(text.startswith('The ') for text in items + users)


def test_answers_that_an_older_version_took_are_looked_at_again(scripted, tmp_path, caplog):
    with scripted({'content': '<think>TEXT</think>'}) as (url, _):
        config = config_for(url)
        asked = questions(config, 4)
        with AnswerStore(tmp_path / 'store.sqlite') as store:
            for prompt, text in zip(asked.prompts(), ('<think>Hm.', '<think>Hm.</think>Good.', '```\nFine.\n```',
                                                      "I can't say."), strict=True):
                store.put(prompt.key, 'scripted', {}, text)
        items, users, facts = write(config, 4, tmp_path)
    assert items[1] == 'Good.' and users[0] == 'Fine.' and facts['sent'] == 0
    assert items[0].startswith('The item') and users[1].startswith('The user')
    assert facts['fallback_reasons'] == {'empty': 1, 'refused': 1}
    assert '2 of 4 texts are filled templates, as the model gave no answer that is accepted (empty: 1, refused: 1)' \
        in caplog.text


def test_one_sentence_for_all_is_said(scripted, tmp_path, caplog):
    with scripted({'content': 'A fine thing.'}) as (url, _):
        facts = write(config_for(url), 30, tmp_path)[2]
    assert facts['equal_item_answers'] == facts['equal_user_answers'] == 15
    assert ("the model says the same of different items: 15 of 15 (100%) have the text of another one, 15 of them "
            "'A fine thing.'") in caplog.text
    caplog.clear()
    with scripted() as (url, _):
        facts = write(config_for(url), 30, tmp_path / 'other')[2]
    assert facts['equal_item_answers'] == facts['equal_user_answers'] == 0 and 'the same of' not in caplog.text

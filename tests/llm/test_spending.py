"""What a server's answers cost, also those that never came; and when a server is given up."""

import asyncio
import re

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.llm import language_model, server
from grasp_jax.llm.answer_store import AnswerStore, Usage
from grasp_jax.llm.estimate import ENOUGH, Tokens, rough_of
from grasp_jax.vectors.vector_store import VectorStore
from tests.llm.ask_many import config_for, questions, write
from tests.vectors.test_vector_store import config_of, embed

PRICES = (('scripted', 1000.0, 1000.0), ('vectors', 1000.0, 0.0))


def totals_of(folder):
    with AnswerStore(folder / 'store.sqlite') as store:
        return store.totals('scripted')


def tokens_spent(folder):
    with VectorStore(folder / 'vectors', {'kind': 'openai', 'model': 'vectors', 'revision': '',
                                          'dimensions': 0}) as store:
        return store.spent()


def test_fast_refusals_do_not_end_a_run_whose_answers_are_slow(scripted, tmp_path):
    with scripted({'refused': 0.5, 'delay': 0.15}) as (url, log):
        refused = write(config_for(url), 64, tmp_path / 'out')[2]['fallbacks']
        assert refused == 64 - len(log()) and 20 < refused < 44


def test_tokens_that_the_server_does_not_count_are_estimated(scripted, tmp_path):
    with scripted({'uncounted': True}) as (url, _):
        config = config_for(url, {'prices': PRICES, 'max_usd': 1.0})
        with pytest.raises(UserError, match='max_usd=1.0 leaves no room'):
            write(config, 30, tmp_path / 'out')
        found = totals_of(tmp_path / 'out')
        mean = sum(rough_of(prompt.messages) for prompt in questions(config, 30).prompts()) / 30
        assert found.usage.prompt == pytest.approx(found.answers * mean, rel=0.3) and found.answers > 3
        assert found.usage.completion > 10 * found.answers and found.counted == 0  # nothing to learn from
        config = config_of(url)
        config.llm.update({'prices': PRICES, 'max_usd': 0.3})
        with pytest.raises(UserError, match='max_usd=0.3 leaves no room'):
            embed(config, tmp_path)
        assert 200 < tokens_spent(tmp_path) <= 300


def test_the_cap_of_embeddings_is_one_for_all_runs(scripted, tmp_path):
    with scripted() as (url, log):
        config = config_of(url)
        config.llm.update({'prices': PRICES, 'max_usd': 0.2})
        for _ in range(2):
            with pytest.raises(UserError, match='max_usd=0.2 leaves no room'):
                embed(config, tmp_path)
            spent = sum(len(text.split()) for block in log() for text in block)
            assert 150 < spent == tokens_spent(tmp_path) <= 200
        config.llm.max_usd = 1.0
        found = embed(config, tmp_path)[0].facts
        assert spent + found['tokens'] == tokens_spent(tmp_path) and found['usd'] == found['tokens'] / 1000


@pytest.mark.parametrize(('fault', 'timeout', 'sends', 'said'), [
    ({'delay': 9.0}, 0.05, 3, 'longer than llm.timeout=0.05'), ({'dropped': 1.0}, 9.0, 6, 'keeps failing')],
    ids=('late', 'dropped'))
def test_what_was_sent_and_never_answered_is_charged_and_sent_a_few_times(scripted, tmp_path, monkeypatch, fault,
                                                                          timeout, sends, said):
    monkeypatch.setattr('grasp_jax.llm.server._PAUSES', (0.0,) * 20)
    monkeypatch.setattr('grasp_jax.llm.server._LOST', (0.0,) * 5)
    with scripted(fault) as (url, _):
        config = config_for(url, {'prices': PRICES, 'timeout': timeout, 'concurrency': 1})
        prompt = round(rough_of(next(questions(config, 1).prompts()).messages))
        with pytest.raises(UserError, match=said):
            write(config, 1, tmp_path / 'out')
        assert totals_of(tmp_path / 'out').usage == Usage(sends * prompt, sends * 300)
        config.llm.max_usd = (sends + 1.5) * (prompt + 300) / 1000
        with pytest.raises(UserError, match='leaves no room.*0 of 1 prompts are settled'):
            write(config, 1, tmp_path / 'out')
        assert totals_of(tmp_path / 'out').rejected == sends + 1
        config = config_of(url)
        config.llm.update({'timeout': timeout, 'concurrency': 1})
        with pytest.raises(UserError, match=said):
            embed(config, tmp_path, ['One text.'], [])
        assert tokens_spent(tmp_path) == 3 * sends


@pytest.mark.parametrize(('cause', 'lost'), [('ConnectError', False), ('ConnectTimeout', False), ('PoolTimeout', False),
                                             ('ReadTimeout', True), ('ReadError', True)])
def test_what_was_never_sent_costs_nothing(cause, lost):
    openai = pytest.importorskip('openai', reason='the extra [llm] is not installed')
    one = server.Server(language_model.from_config(config_for('http://localhost:1/v1')),
                        server.limits_from(config_for('http://localhost:1/v1')))
    error = openai.APIConnectionError(request=None)
    error.__cause__ = type(cause, (Exception,), {})()  # the client tells its transport's errors by name alone
    assert one._failure(error).lost == lost


def test_a_request_that_a_signal_breaks_off_is_charged():
    pytest.importorskip('openai', reason='the extra [llm] is not installed')
    config = config_for('http://localhost:1/v1')
    asked, charged = server.Server(language_model.from_config(config), server.limits_from(config)), []

    async def lost():
        charged.append('once')

    async def job(_):
        asking = asyncio.ensure_future(asked.ask(lambda client: asyncio.sleep(9), 1, lost))
        await asyncio.sleep(0.01)
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asked.work(job, iter([0]))
    assert charged == ['once']


def test_a_server_may_ask_to_wait():
    headers = [{'retry-after-ms': '20'}, {'retry-after': '7'}, {'retry-after': '900'},
               {'retry-after': 'Fri, 27 Nov 2026 06:00:00 GMT'}, {'retry-after': '-1'}, {}]
    assert [server._wish(each) for each in headers] == [0.02, 7.0, 60.0, 0.0, 0.0, 0.0]


def test_answers_in_parts_are_joined_and_what_is_no_text_is_broken(scripted, tmp_path, monkeypatch):
    monkeypatch.setattr('grasp_jax.llm.server._PAUSES', ())
    parts = [{'type': 'text', 'text': 'TEXT'}, {'type': 'image', 'url': 'x'}, {'type': 'text', 'text': ' So it is.'}]
    with scripted({'content': parts}) as (url, _):
        (item,), (user,), _ = write(config_for(url), 2, tmp_path / 'parts')
        assert all(re.fullmatch(r'It suits people [^.]*\. So it is\.', text) for text in (item, user))
    with scripted({'content': {'odd': 1}}) as (url, _), pytest.raises(UserError, match='failing .a body that is no'):
        write(config_for(url), 2, tmp_path / 'odd')


def test_answers_that_came_as_files_tell_no_time(tmp_path):
    with AnswerStore(tmp_path / 'store.sqlite') as store:
        for number in range(ENOUGH):
            store.put(f'imported {number}', 'm', {}, 'A text.', Usage(10, 5), 8.0)
        assert Tokens.learned(store.totals('m')) == Tokens(10 / 8, 5.0, None)
        for number in range(2):
            store.put(f'asked {number}', 'm', {}, 'A text.', Usage(10, 5), 8.0, seconds=3.0)
        assert Tokens.learned(store.totals('m')).seconds == 3.0

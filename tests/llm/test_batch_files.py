"""Batch files: what an offline engine gets, and what comes back from it."""

import json

import pytest

from grasp_jax.commands import llm
from grasp_jax.common.errors import UserError
from grasp_jax.llm import batch_files, prompt_runner
from grasp_jax.llm.answer_store import AnswerStore
from grasp_jax.texts import llm_texts
from tests.llm.ask_many import config_for, questions


def engine(path, wrapped=True):
    """Stands in for an engine: answers every line by the script of the server, in another order."""
    from tests.llm.scripted_server import chat
    lines = []
    for line in path.read_text().splitlines():
        request = json.loads(line)
        assert request['method'] == 'POST' and request['url'] == '/v1/chat/completions'
        answer = chat(request['body'], {'empty': 0.1})
        lines.append({'id': 'x', 'custom_id': request['custom_id'], 'error': None,
                      'response': {'status_code': 200, 'body': answer} if wrapped else answer})
    return [json.dumps(line) + '\n' for line in reversed(lines)]


@pytest.mark.slow
@pytest.mark.parametrize('wrapped', [True, False])
def test_files_give_the_table_of_the_direct_path(scripted, tmp_path, wrapped):
    config, count = config_for('http://localhost:1/v1'), 120
    asked = questions(config, count)
    with scripted({'empty': 0.1}) as (url, _):
        direct = llm_texts.write(questions(config_for(url), count), config_for(url), tmp_path / 'a.sqlite', tmp_path)
    with AnswerStore(tmp_path / 'b.sqlite') as store:
        left = list(prompt_runner.pending(asked.prompts(), store, 3))
        files, _ = batch_files.export(left, asked.model, store, tmp_path / 'requests', 50)
        assert [len(path.read_text().splitlines()) for path in files] == [50, 50, 20]
        with pytest.raises(UserError, match='holds requests already'):
            batch_files.export(left, asked.model, store, tmp_path / 'requests', 50)
        results = []
        for path in files:
            results.append(tmp_path / f'answers_{path.name}')
            results[-1].write_text(''.join(engine(path, wrapped)))
        for time in range(3):  # an empty answer is asked for again, until its tries are over
            for path in results:
                path.write_text(path.read_text().replace('"id": "x', f'"id": "x{time}'))
            for _ in range(2):  # the same lines twice are one try
                found = batch_files.load(results, asked.prompts(), asked.model, store, '')
        empty = direct[2]['fallbacks']
        assert empty and found.known == count - empty and found.rejected == {'empty': empty}
        assert list(prompt_runner.pending(asked.prompts(), store, 3)) == []
    again = llm_texts.write(asked, config, tmp_path / 'b.sqlite', tmp_path)  # would fail if it asked anybody
    assert again[:2] == direct[:2] and again[2]['sent'] == 0


def test_answers_that_are_cut_off_alike_are_tries_and_get_more_room(tmp_path):
    """At temperature 0 an engine cuts at the same word each time; every round was paid for."""
    from tests.llm.scripted_server import chat
    asked = questions(config_for('http://localhost:1/v1', {'max_tokens': 2}), 2)
    with AnswerStore(tmp_path / 'store.sqlite') as store:
        rooms = []
        for time in range(3):
            left = list(prompt_runner.pending(asked.prompts(), store, 3))
            (path,), count = batch_files.export(left, asked.model, store, tmp_path / f'requests{time}', 50)
            assert count == 2
            lines = [json.loads(line) for line in path.read_text().splitlines()]
            rooms.append({line['body']['max_tokens'] for line in lines})
            answers = [{'id': f'{time}', 'custom_id': line['custom_id'],
                        'response': chat({**line['body'], 'max_tokens': 2}, {})} for line in lines]
            path.write_text(''.join(json.dumps(answer) + '\n' for answer in answers))
            assert batch_files.load([path, path], asked.prompts(), asked.model, store, '').rejected == {'cut off': 4}
        assert rooms == [{2}, {4}, {8}] and not list(prompt_runner.pending(asked.prompts(), store, 3))
        assert store.totals('scripted').usage.completion == 2 * 3 * 2


def test_lines_of_others_and_failed_requests_are_counted(tmp_path):
    asked = questions(config_for('http://localhost:1/v1'), 2)
    first, second = asked.prompts()
    lines = [{'custom_id': 'somebody', 'response': {'body': {'choices': []}}},
             {'custom_id': first.key, 'error': {'message': 'too long'}, 'response': None},
             {'custom_id': second.key, 'response': {'status_code': 400, 'body': {'error': {'message': 'bad'}}}}]
    path = tmp_path / 'answers.jsonl'
    path.write_text(''.join(json.dumps(line) + '\n' for line in lines[1:]) + '\n')
    with AnswerStore(tmp_path / 'store.sqlite') as store:
        found = batch_files.load([path], asked.prompts(), asked.model, store, '')
        assert found.accepted == found.strangers == 0
        assert found.rejected == {'error: too long': 1, 'error: bad': 1}
        path.write_text('{"custom_id": "stranger", "response": {"choices": [{"message": {"content": "a"}}]}}')
        assert batch_files.load([path], asked.prompts(), asked.model, store, '').strangers == 1


def test_answers_are_taken_in_whatever_stands_around_them(tmp_path):
    asked = questions(config_for('http://localhost:1/v1'), 6)
    keys = [prompt.key for prompt in asked.prompts()]

    def line(key, status, counts=1, **more):
        return json.dumps({'custom_id': key, 'response': {'status_code': status, 'body': {
            'choices': [{'message': {'content': 'It is fine.'}, 'finish_reason': 'stop'}],
            'usage': {'prompt_tokens': counts, 'completion_tokens': counts}, **more}}})

    path = tmp_path / 'answers.jsonl'
    path.write_text('\ufeff' + '\n'.join([line(keys[0], None), line(keys[1], '200'), line(keys[2], 200, float('inf')),
                                          line(keys[3], 200, 2 ** 70), line(keys[4], 429, error={
                                              'message': 'half \ud83d'})]), encoding='utf-8')
    with AnswerStore(tmp_path / 'store.sqlite') as store:
        found = batch_files.load([path], asked.prompts(), asked.model, store, '')
        assert found.accepted == 4 and found.rejected == {'error: half \ufffd': 1}
        store.put(keys[0], 'scripted', {}, 'Another answer.')
        assert store.texts(keys[:1]) == {keys[0]: 'It is fine.'}, 'the first stays'


def test_what_was_exported_is_not_taken_for_answers(tmp_path):
    for name in ('requests_00000.jsonl', 'results.jsonl'):
        (tmp_path / name).touch()
    assert llm._jsonl(tmp_path) == [tmp_path / 'results.jsonl']


@pytest.mark.parametrize('line', ['no json', '[' * 100_000, '[]', '{"custom_id": "a", "response": {"choices": []}}',
                                  '{"custom_id": "a", "response": {"choices": [{"message": {"content": 3}}]}}'])
def test_a_file_that_is_something_else_is_refused(tmp_path, line):
    asked = questions(config_for('http://localhost:1/v1'), 2)
    path = tmp_path / 'answers.jsonl'
    path.write_text(line)
    refused = pytest.raises(UserError, match='answers.jsonl, line 1: is no')
    with AnswerStore(tmp_path / 'store.sqlite') as store, refused:
        batch_files.load([path], asked.prompts(), asked.model, store, '')

"""Answers of a language model: none lost, none paid for twice, none made up."""

import concurrent.futures
import json
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.llm.answer_store import AnswerStore
from tests.llm.ask_many import config_for, write

HERE = pathlib.Path(__file__).parent
DRILL = {'429': 0.05, '500': 0.05, 'dropped': 0.02, 'cut': 0.02, 'empty': 0.01, 'slow': 0.02}


@pytest.mark.slow
def test_answers_are_asked_for_once(scripted, tmp_path):
    with scripted() as (url, log):
        first = write(config_for(url), 30, tmp_path / 'out')
        again = write(config_for(url), 30, tmp_path / 'out')
        assert first[:2] == again[:2] and (first[2]['sent'], again[2]['sent']) == (30, 0)
        assert len(log()) == 30 and len(first[0]) == len(first[1]) == 15
        assert all(text.startswith('It suits people') for text in first[0] + first[1])
        # Another wording, model or setting is another question; another address of the server is not.
        other = config_for(url, {'temperature': 0.5})
        assert write(other, 30, tmp_path / 'out')[2]['sent'] == 30
    with scripted() as (url, log):
        assert write(config_for(url), 30, tmp_path / 'out')[:2] == first[:2] and log() == []


@pytest.mark.slow
def test_faults_change_nothing_but_the_empty_answers(scripted, tmp_path):
    with scripted() as (url, _):
        clean = write(config_for(url), 400, tmp_path / 'clean')
    with scripted({**DRILL, 'empty': 0.05}) as (url, log):
        items, users, facts = write(config_for(url), 400, tmp_path / 'faulty')
        listed = [json.loads(line) for line in (tmp_path / 'faulty' / 'fallbacks.jsonl').read_text().splitlines()]
        asked = log()
        assert facts['fallbacks'] == len(listed) > 0 and facts['fallback_reasons'] == {'empty': len(listed)}
        assert len(asked) == 400 + 2 * len(listed)  # three tries for each of those
        # They are settled: nobody pays for them again.
        assert write(config_for(url), 400, tmp_path / 'faulty')[:2] == (items, users)
        assert len(log()) == len(asked)
    names = {line['about'] for line in listed}
    for kind, texts, truth in (('item', items, clean[0]), ('user', users, clean[1])):
        for number, (text, right) in enumerate(zip(texts, truth, strict=True)):
            fell_back = f'{kind} {kind[0]}{number}' in names
            assert text == right if not fell_back else text.startswith('The ')


@pytest.mark.slow
def test_kills_lose_nothing_that_was_paid_for(scripted, tmp_path):
    count, rng = 800, random.Random(0)
    store = tmp_path / 'out' / 'store.sqlite'
    with scripted(DRILL) as (url, log):
        command = [sys.executable, HERE / 'ask_many.py', url, store, tmp_path / 'out', str(count)]
        kills = 0
        while kills < 5:
            known, before = stored(store), len(log())
            with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as run:
                wanted = rng.randint(20, 120)
                while run.poll() is None and len(log()) < before + wanted:
                    time.sleep(0.03)
                kills += run.poll() is None
                run.send_signal(signal.SIGKILL)
                run.wait()
            assert not known & set(log()[before:]), 'a prompt with a stored answer was sent again'
        known, before = stored(store), len(log())
        assert 0 < len(known) < count
        subprocess.run(command, check=True, capture_output=True)
        assert not known & set(log()[before:])
    with scripted({'empty': DRILL['empty']}) as (url, _):
        whole = [sys.executable, HERE / 'ask_many.py', url, tmp_path / 'whole.sqlite', tmp_path / 'whole', str(count)]
        subprocess.run(whole, check=True, capture_output=True)
    texts = [json.loads((tmp_path / name / 'texts.json').read_text()) for name in ('out', 'whole')]
    assert texts[0] == texts[1] and sum(map(len, texts[0])) == count and all(map(all, texts[0]))
    with AnswerStore(store) as responses:
        assert responses.is_sound()


@pytest.mark.slow
@pytest.mark.parametrize(('number', 'code'), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_waits_for_answers_that_are_paid_for(scripted, tmp_path, number, code):
    store = tmp_path / 'out' / 'store.sqlite'
    with scripted({'delay': 0.2}) as (url, log):
        command = [sys.executable, HERE / 'ask_many.py', url, store, tmp_path / 'out', '1000']
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as run:
            while len(log()) < 100:
                time.sleep(0.01)
                assert run.poll() is None
            run.send_signal(number)
            said = run.communicate()[1]
        assert run.returncode == code and 'stopped by a signal' in said and 'goes on with the rest' in said
        assert stored(store) == set(log()) and 100 <= len(log()) < 1000


@pytest.mark.slow
@pytest.mark.parametrize(('count', 'faults', 'settings'), [
    (10, {'delay': 2.0}, {}),  # the last answers are under way: nothing is left to ask, yet the run ends
    (100, {'delay': 2.0}, {'max_requests': 10}),  # a cap is reached, the answers below it are under way
    (100, {}, {'requests_per_minute': 10}),  # the others wait for their turn, which is minutes away
    (100, {'500': 1.0, 'seed': 1}, {})], ids=('last', 'capped', 'limited', 'failing'))
def test_a_signal_ends_a_run_that_waits(scripted, tmp_path, count, faults, settings):
    with scripted(faults) as (url, log):
        command = [sys.executable, HERE / 'ask_many.py', url, tmp_path / 'store.sqlite', tmp_path / 'out', str(count),
                   json.dumps(settings)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
            while (tmp_path / 'log_0.jsonl.arrived').stat().st_size < 10:
                time.sleep(0.01)
                assert run.poll() is None
            run.send_signal(signal.SIGTERM)
            said = run.communicate(timeout=30)[1]
        assert run.returncode == 75 and 'goes on with the rest' in said, said
        assert stored(tmp_path / 'store.sqlite') == set(log())


def test_a_cap_holds_where_prompts_take_more_than_was_estimated(scripted, tmp_path):
    settings = {'max_usd': 2.0, 'prices': (('scripted', 100.0, 0.0),), 'concurrency': 8}
    with scripted({'delay': 0.05, 'dense': 10}) as (url, log):
        with pytest.raises(UserError, match='max_usd=2.0 leaves no room'):
            write(config_for(url, settings), 200, tmp_path / 'out')
        with AnswerStore(tmp_path / 'out' / 'store.sqlite') as responses:
            assert 1.5 < responses.totals('scripted').usage.prompt / 10_000 <= 2.0
        assert len(log()) > 20


@pytest.mark.slow
def test_two_runs_on_one_store_pay_once_and_share_a_cap(scripted, tmp_path):
    settings = json.dumps({'max_usd': 1.0, 'prices': [['scripted', 1000.0, 0.0]], 'concurrency': 4})
    with scripted({'delay': 0.05}) as (url, log):
        commands = [[sys.executable, HERE / 'ask_many.py', url, tmp_path / 'store.sqlite', tmp_path / out, '100',
                     settings] for out in 'ab']
        runs = [subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) for command in commands]
        assert all(b'max_usd=1.0 leaves no room' in run.communicate(timeout=120)[1] for run in runs)
        asked = log()
        assert len(asked) == len(set(asked)) == len(stored(tmp_path / 'store.sqlite')) > 5
        with AnswerStore(tmp_path / 'store.sqlite') as responses:
            assert responses.totals('scripted').usage.prompt / 1000 <= 1.0


def stored(path):
    """Prompts that have an answer, as the server sees them."""
    if not path.exists():
        return set()
    with sqlite3.connect(path) as database:
        rows = database.execute('select request from answers').fetchall()
    return {json.loads(request)['messages'][-1]['content'] for request, in rows}


@pytest.mark.slow
def test_caps_stop_and_the_next_call_goes_on(scripted, tmp_path):
    prices = (('scripted', 1000.0, 0.0),)
    with scripted({'delay': 0.01}) as (url, log):
        with pytest.raises(UserError, match=r'max_requests=10 is reached; 10 of 100 prompts are settled.*goes on'):
            write(config_for(url, {'max_requests': 10}), 100, tmp_path / 'out')
        assert len(log()) == 10
        with pytest.raises(UserError, match='price of .scripted. is not known'):
            write(config_for(url, {'max_usd': 1.0}), 100, tmp_path / 'out')
        settings = {'max_usd': 2.0, 'prices': prices, 'concurrency': 4}
        with pytest.raises(UserError, match='max_usd=2.0 leaves no room.*goes on'):
            write(config_for(url, settings), 100, tmp_path / 'out')
        with AnswerStore(tmp_path / 'out' / 'store.sqlite') as responses:
            spent = responses.totals('scripted').usage.prompt / 1000
        window = 4 * 0.1  # four requests under way, each of less than 100 tokens
        assert 2.0 - window <= spent <= 2.0
        assert write(config_for(url), 100, tmp_path / 'out')[2]['fallbacks'] == 0
        assert len(log()) == 100


@pytest.mark.slow
def test_no_try_passes_the_cap(scripted, tmp_path):
    """Answers that are cut off cost twice as much the next time, and are looked at one by one."""
    settings = {'max_usd': 0.25, 'prices': (('scripted', 0.0, 1000.0),), 'max_tokens': 4, 'max_attempts': 9,
                'concurrency': 1}
    for faults in ({'long_answers': True}, {'long_answers': True, 'delay': 0.01}):
        folder = tmp_path / f'out{len(faults)}'
        with scripted(faults) as (url, _), pytest.raises(UserError, match='max_usd=0.25 leaves no room'):
            write(config_for(url, {**settings, 'concurrency': 8 * len(faults)}), 200, folder)
        with AnswerStore(folder / 'store.sqlite') as responses:
            assert 0.2 < responses.totals('scripted').usage.completion / 1000 <= 0.25
    with scripted({'long_answers': True}) as (url, log):
        with pytest.raises(UserError, match='max_requests=5 is reached'):
            write(config_for(url, {'max_tokens': 2, 'max_requests': 5, 'max_attempts': 2}), 20, tmp_path / 'few')
        assert len(log()) == 5, 'tries are requests'


@pytest.mark.slow
def test_a_server_that_refuses_everything_ends_the_run_and_settles_nothing(scripted, tmp_path):
    for fault, word in (({'refuses': 400}, 'refuses every prompt .error 400: .*no such thing'),
                        ({'refuses': 402}, 'no such thing; answers are kept')):
        with scripted(fault) as (url, _), pytest.raises(UserError, match=word):
            write(config_for(url), 30, tmp_path / 'out')
        with scripted(fault) as (url, _), pytest.raises(UserError, match=word):
            write(config_for(url), 2, tmp_path / 'out')
    with scripted() as (url, log):
        assert write(config_for(url), 30, tmp_path / 'out')[2]['fallbacks'] == 0 and len(log()) == 30
    # A server that is known to answer may refuse single prompts for good, but not all of them.
    with scripted({'refuses': 400}) as (url, _):
        with pytest.raises(UserError, match='refuses every prompt'):
            write(config_for(url, {'temperature': 0.5}), 30, tmp_path / 'out')
        assert write(config_for(url, {'temperature': 0.5}), 10, tmp_path / 'out')[2]['fallbacks'] == 10
        # Where the settings are those that it has answered with, it is asked again what it answered then.
        for count in (52, 31):
            with pytest.raises(UserError, match='refuses every prompt'):
                write(config_for(url), count, tmp_path / 'out')
    with scripted({'refused_from': 15}) as (url, log):  # what cannot be asked again settles nothing
        with pytest.raises(UserError, match='max_requests=1 is reached; 30 of 31 prompts are settled'):
            write(config_for(url, {'max_requests': 1}), 31, tmp_path / 'out')
    for count in (31, 100):  # one that is refused, and more than twenty
        with scripted({'refused_from': 15}) as (url, log):
            assert write(config_for(url), count, tmp_path / 'out')[2]['fallbacks'] == count - 30
            assert len(log()) == 1
    with scripted() as (url, log):
        assert write(config_for(url, {'temperature': 0.5}), 10, tmp_path / 'out')[2]['sent'] == 0


def test_halves_of_characters_lose_no_answer(scripted, tmp_path):
    with scripted({'half': True}) as (url, log):
        items, _, facts = write(config_for(url), 6, tmp_path / 'out')
        assert facts['fallbacks'] == 0 and len(log()) == 6 and items[0].endswith('\ufffd')


def test_cut_answers_get_more_room(scripted, tmp_path):
    with scripted() as (url, log):
        items, _, facts = write(config_for(url, {'max_tokens': 6}), 2, tmp_path / 'roomy')
        assert facts['fallbacks'] == 0 and len(log()) == 4 and items[0].endswith('.')
    with scripted({'long_answers': True}) as (url, log):
        items, _, facts = write(config_for(url, {'max_tokens': 2, 'max_attempts': 2}), 2, tmp_path / 'tight')
        assert facts['fallback_reasons'] == {'cut off': 2} and items == [
            'The item has the following attributes: name is Thing 0.']
    with scripted({'long_answers': True}) as (url, log):  # after a stop the room goes on from where it was
        with pytest.raises(UserError, match='max_requests=2 is reached'):
            write(config_for(url, {'max_tokens': 7, 'max_requests': 2, 'concurrency': 1}), 2, tmp_path / 'stopped')
        write(config_for(url, {'max_tokens': 7}), 2, tmp_path / 'stopped')
        assert len(log()) == 6
    with sqlite3.connect(tmp_path / 'stopped' / 'store.sqlite') as database:
        tokens = [sorted(number for number, in database.execute(f'select completion_tokens from {table}'))
                  for table in ('rejected', 'answers')]
    assert tokens == [[7, 7, 14, 14], [28, 28]]


def test_the_key_is_stored_nowhere(scripted, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-very-secret')
    with scripted({'429': 0.3}) as (url, _):
        write(config_for(url), 10, tmp_path / 'out')
    printed = capfd.readouterr()
    assert 'very-secret' not in printed.out + printed.err
    assert not any(b'very-secret' in path.read_bytes() for path in (tmp_path / 'out').iterdir())


def test_the_key_is_nowhere_where_the_server_repeats_it(scripted, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv('OPENAI_API_KEY', 'sk-very-secret')
    with scripted({'refused': 0.5, 'echo': True}) as (url, _):
        *_, facts = write(config_for(url), 10, tmp_path / 'out')
    (reason, count), = facts['fallback_reasons'].items()
    assert reason.endswith('no such thing for *** \ufffd') and count == facts['fallbacks'] > 0
    printed = capfd.readouterr()
    assert 'very-secret' not in printed.out + printed.err + str(facts)
    assert not any(b'very-secret' in path.read_bytes() for path in (tmp_path / 'out').iterdir())


@pytest.mark.parametrize('counts', [float('inf'), 2 ** 70, -5, None])
def test_odd_counts_of_tokens_lose_no_answer(scripted, tmp_path, counts):
    with scripted({'counts': counts}) as (url, log):
        *_, facts = write(config_for(url), 10, tmp_path / 'out')
        assert facts['fallbacks'] == 0 and len(log()) == 10
        assert 100 < facts['prompt_tokens'] < 3000 and 50 < facts['completion_tokens'] < 1000


def test_what_was_spent_is_said_by_the_run_that_spent_it(scripted, tmp_path):
    with scripted({'delay': 0.2}) as (url, _):
        config = config_for(url)
        config.llm.prices = (('scripted', 1000.0, 1000.0),)
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [pool.submit(write, config, 20, tmp_path / 'out') for _ in range(2)]
            facts = sorted((each.result()[2] for each in both), key=lambda found: found['sent'])
    assert [found['sent'] for found in facts] == [0, 20]
    assert facts[0]['usd_of_this_run'] == 0 < facts[1]['usd_of_this_run'] == facts[1]['usd']


@pytest.mark.parametrize(('status', 'again'), [(400, False), (408, True), (409, True), (422, False), (429, True),
                                               (500, True), (503, True)])
def test_which_errors_are_asked_about_again(scripted, tmp_path, monkeypatch, status, again):
    monkeypatch.setattr('grasp_jax.llm.server._PAUSES', (0.01,))
    with scripted({'refuses': status}) as (url, _), pytest.raises(
            UserError, match='keeps failing' if again else 'refuses every prompt'):
        write(config_for(url), 2, tmp_path / 'out')


def test_a_server_that_is_not_there_and_a_missing_key_are_one_line(tmp_path, monkeypatch):
    pytest.importorskip('openai', reason='the extra [llm] is not installed')
    monkeypatch.setattr('grasp_jax.llm.server._PAUSES', (0.01,))
    with pytest.raises(UserError, match='keeps failing .APIConnectionError.; what was answered is kept'):
        write(config_for('http://127.0.0.1:9/v1'), 4, tmp_path / 'out')
    with AnswerStore(tmp_path / 'out' / 'store.sqlite') as store:
        assert store.totals('scripted').rejected == 0  # nothing was sent
    monkeypatch.delenv('OPENAI_API_KEY', raising=False)
    with pytest.raises(UserError, match='OPENAI_API_KEY'):
        write(config_for(''), 4, tmp_path / 'out')

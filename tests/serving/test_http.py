"""Over HTTP come the lists, neighbours and explanations of the Python interface."""

import concurrent.futures
import dataclasses
import functools

import numpy as np
import pytest

import grasp_jax
from tests.serving.http_service import FEW, TOKEN, flood, quoted, running
from tests.tiny_runs import ODD

NEW = 'new/"thing" 🙂'


@pytest.fixture(scope='session')
def model(untrained):
    return load(untrained())


@functools.cache
def load(path):
    return grasp_jax.Recommender.load(path)


def check_list(said, frame):
    assert [item['item_id'] for item in said['items']] == list(frame.item_id)
    assert [item['rank'] for item in said['items']] == list(frame['rank'])
    np.testing.assert_allclose([item['score'] for item in said['items']], frame.score, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('settings', [
    {}, {'k': 1}, {'k': 16}, {'filter_viewed': False}, {'exact': True},
    {'items_to_recommend': ['i001', ODD, 'i020'], 'k': 5}, {'items_to_exclude': ['i003', ODD]},
    {'items_to_recommend': ['i001', ODD, 'i020'], 'items_to_exclude': [ODD], 'filter_viewed': False}],
    ids=lambda settings: '_'.join(settings) or 'default')
def test_lists_are_those_of_the_python_interface(service, model, settings):
    for user in model.user_ids[:3]:
        status, said = service.post('/recommend', user=user, **settings)
        assert status == 200 and said['source'] == 'model'
        check_list(said, model.recommend(users=[user], **settings))
        assert said['model'] == {'version': model.version, 'seed': 42}
        assert all(item['title'] == model.titles[item['item_id']] for item in said['items'])
        assert service.post('/recommend', history=model.history(user), **settings) == (status, said)


@pytest.mark.slow
def test_many_at_once_get_each_their_own(service, model):
    histories = [model.history(user)[:1 + place % 12] for place, user in enumerate(model.user_ids)]
    expected = [model.recommend(histories=[history], k=4) for history in histories]
    before, scored = service.metric('grasp_jax_batch_size_count'), service.metric('grasp_jax_batch_size_sum')
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda history: service.post('/recommend', history=history, k=4), histories * 3))
    for (status, said), frame in zip(answers, expected * 3, strict=True):
        assert status == 200
        check_list(said, frame)
    assert service.metric('grasp_jax_batch_size_sum') - scored == len(answers)
    flood(service, [{'history': history} for history in histories])
    requests = len(answers) + len(histories)
    assert service.metric('grasp_jax_batch_size_count') - before < requests, 'some were scored together'


@pytest.mark.slow
def test_somebody_new_gets_what_most_people_chose(service, model):
    status, said = service.post('/recommend', history=[], k=3, items_to_exclude=['i001'])
    assert status == 200 and said['source'] == 'popularity'
    check_list(said, model.recommend(histories=[[]], k=3, items_to_exclude=['i001']))


def test_ids_that_are_numbers_may_be_numbers(service):
    status, said = service.post('/recommend', history=[17])
    assert status == 404 and "item '17' is not known" in said['error']


@pytest.mark.parametrize('item', ['i003', ODD])
def test_similar_items_are_those_of_the_python_interface(service, model, item):
    status, said = service.get(f'/similar/{quoted(item)}', k=5)
    assert status == 200
    check_list(said, model.recommend_to_items([item], k=5))
    assert len(service.get(f'/similar/{quoted(item)}')[1]['items']) == 10


def test_explanations_are_those_of_the_python_interface(service, model):
    history = model.history('u02')
    for item in ('i001', ODD):
        status, said = service.post('/explain', history=history, item=item)
        assert status == 200
        expected = dataclasses.asdict(model.explain(history=history, item=item))
        assert said.pop('model')['version'] == model.version
        for name in ('score', 'rank'):
            assert said.pop(name) == pytest.approx(expected.pop(name), rel=1e-4)
        assert said.pop('gates') == pytest.approx(expected.pop('gates'), rel=1e-4)
        assert [near['item_id'] for near in said['nearest_in_history']] == [
            near['item_id'] for near in expected['nearest_in_history']]
        assert {near['item_id'] for near in said['neighbours']} == {
            near['item_id'] for near in expected['neighbours']}
    assert service.post('/explain', user='u02', item=ODD) == service.post('/explain', history=history, item=ODD)


def test_a_search_finds_titles_with_all_words_in_any_case(service, model):
    words = model.titles[ODD].split()
    status, said = service.get('/search', q=f'{words[-1].upper()}  {words[0]}')
    assert status == 200 and {'item_id': ODD, 'title': model.titles[ODD]} in said['items']
    wanted = [word.lower() for word in (words[-1], words[0])]
    expected = [item for item in model.item_ids if all(word in model.titles[item].lower() for word in wanted)]
    assert [item['item_id'] for item in said['items']] == expected
    assert service.get('/search', q='no such title')[1] == {'items': []}


def test_a_service_says_how_it_is(service, model):
    status, said = service.get('/health')
    assert status == 200 and said == {'ready': True, 'model': {'version': model.version, 'seed': 42},
                                      'items': len(model.item_ids), 'users': len(model.user_ids)}
    before = service.metric('grasp_jax_requests_total{route="/similar",status="404"}')
    service.get('/similar/nothing')
    assert service.metric('grasp_jax_requests_total{route="/similar",status="404"}') == before + 1
    assert service.metric(f'grasp_jax_model_info{{seed="42",version="{model.version}"}}') == 1
    assert service.metric('grasp_jax_request_seconds_count{route="/similar"}') > 0
    assert service.metric('grasp_jax_queue_length') == 0


def test_documents_name_every_route_and_the_page_asks_nobody_else(service):
    paths = service.get('/openapi.json')[1]['paths']
    assert set(paths) == {'/recommend', '/similar/{item}', '/items', '/explain', '/search', '/reload',
                                   '/health', '/metrics'}
    body = paths['/recommend']['post']['requestBody']['content']['application/json']['schema']
    assert {'history', 'user', 'k', 'filter_viewed', 'items_to_recommend', 'items_to_exclude'} <= set(
        body['properties'])
    assert service.get('/docs')[0] == 200
    client = service.client
    client.request('GET', '/')
    page = client.getresponse()
    rules = page.headers['content-security-policy']
    assert "default-src 'none'" in rules and "'unsafe-inline'" not in rules and 'sha256-' in rules
    assert b'://' not in page.read()


@pytest.mark.slow
def test_new_items_are_found_and_recommended_and_nothing_is_compiled_for_a_request(untrained, tmp_path, monkeypatch):
    monkeypatch.setenv('JAX_LOG_COMPILES', '1')
    with running(tmp_path, f'--workdir={untrained()}', *FEW, '--max_new_items=3', token=TOKEN) as served:
        items = len(load(untrained()).item_ids)
        status, said = served.post('/items', items=[{'item_id': NEW, 'title': 'thing03 of shelf0 and row3'}])
        assert status == 200 and said['added'] == [NEW] and said['items'] == items + 1 and said['warnings'] == []
        assert served.post('/items', items=[{'item_id': NEW, 'title': 'thing'}])[0] == 422
        status, said = served.post('/items', items=[{'item_id': f'more{row}', 'title': 'thing03'} for row in range(3)])
        assert status == 409 and 'room for 2 more' in said['error']
        compiled = served.said().count('Compiling')
        assert compiled > 0
        assert served.get('/search', q='thing03')[1]['items'][-1]['item_id'] == NEW
        only = served.post('/recommend', history=['i001'], items_to_recommend=[NEW, 'i005'])[1]
        assert {item['item_id'] for item in only['items']} == {NEW, 'i005'}
        assert served.get(f'/similar/{quoted(NEW)}', k=3)[0] == 200
        assert served.post('/explain', history=[NEW, ODD], item='i001')[0] == 200
        everything = [f'i{number:03d}' for number in range(36) if number != 7]
        for history in (everything[:5], everything * 3, [ODD]):
            for settings in ({}, {'k': 16}, {'exact': True}, {'items_to_exclude': everything[:3]},
                             {'items_to_recommend': everything[:9]}, {'filter_viewed': False}):
                assert served.post('/recommend', history=history, **settings)[0] == 200
        assert all(' 200 ' in head for head, _ in flood(served, [{'history': everything[:4]}] * 40))
        assert served.said().count('Compiling') == compiled

"""Another model takes the place of the one that answers: no request is lost, and what cannot be served is refused."""

import concurrent.futures
import shutil
import threading

import numpy as np
import pytest

import grasp_jax
from tests.serving.http_service import FEW, TOKEN, running

pytestmark = pytest.mark.slow

HISTORY = ['i001', 'i003', 'i004']


@pytest.fixture(scope='module')
def models(untrained, tmp_path_factory):
    """A folder with two models, `gated` and `plain`, beside one that may not be loaded."""
    base = tmp_path_factory.mktemp('reload')
    shutil.copytree(untrained(), base / 'models' / 'gated')
    shutil.copytree(untrained(model__method='grasp_id', model__gate='none'), base / 'models' / 'plain')
    shutil.copytree(untrained(), base / 'elsewhere')
    (base / 'models' / 'link').symlink_to(base / 'elsewhere')
    return base / 'models'


@pytest.fixture(scope='module')
def served(models):
    with running(models.parent, f'--workdir={models / "gated"}', *FEW, token=TOKEN) as found:
        yield found


@pytest.fixture(scope='module')
def expected(models):
    """Ids and scores of the list for HISTORY, by version."""
    found = {}
    for name in ('gated', 'plain'):
        model = grasp_jax.Recommender.load(models / name)
        found[model.version] = model.recommend(histories=[HISTORY], k=5)
    assert len(found) == 2
    return found


def check(said, expected):
    frame = expected[said['model']['version']]
    assert [item['item_id'] for item in said['items']] == list(frame.item_id)
    np.testing.assert_allclose([item['score'] for item in said['items']], frame.score, rtol=1e-4)


def test_nobody_notices_that_the_model_is_swapped(served, expected):
    ended, versions = threading.Event(), []

    def ask():
        client, answers = served.client, []
        while not ended.is_set():
            status, said = served.post('/recommend', client=client, history=HISTORY, k=5)
            assert status == 200
            check(said, expected)
            answers.append(said['model']['version'])
        return answers

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask) for _ in range(4)]
        try:
            for name in ('plain', 'gated', 'plain'):
                status, said = served.post('/reload', path=name)
                assert status == 200
                versions.append(said['model']['version'])
                assert served.get('/health')[1]['model'] == said['model']
        finally:
            ended.set()
        seen = [version for each in asking for version in each.result()]
    assert len(set(versions)) == 2 == len(set(seen)) and len(seen) > 50
    assert served.metric('grasp_jax_reloads_total{outcome="swapped"}') >= 3
    assert served.metric('grasp_jax_model_info') == 1, 'the version before is no longer there'
    status, said = served.ask('POST', '/reload')
    assert status == 200 and said['model']['version'] != versions[-1], 'without a path it is that of --workdir'


def broken(folder, name):
    if name == 'no_config':
        (folder / 'config.json').unlink()
    elif name == 'half_a_file':
        whole = (folder / 'retrieve' / 'items_similar.npy').read_bytes()
        (folder / 'retrieve' / 'items_similar.npy').write_bytes(whole[:len(whole) // 2])
    elif name == 'no_checkpoint':
        shutil.rmtree(folder / 'seed42' / 'checkpoints')
    elif name == 'no_bundle':
        (folder / 'bundle.json').write_text('{"format": 1')
    else:
        shutil.rmtree(folder)


@pytest.mark.parametrize('name', ['no_config', 'half_a_file', 'no_checkpoint', 'no_bundle', 'nothing'])
def test_a_damaged_folder_is_refused_and_the_model_stays(served, models, expected, name):
    folder = models / f'damaged_{name}'
    shutil.copytree(models / 'plain', folder)
    broken(folder, name)
    before, refused = served.get('/health')[1], served.metric('grasp_jax_reloads_total{outcome="refused"}')
    status, said = served.post('/reload', path=folder.name)
    assert status == 409 and 'the model stays as it was' in said['error'] and str(models) not in said['error']
    assert served.get('/health')[1] == before
    check(served.post('/recommend', history=HISTORY, k=5)[1], expected)
    assert served.metric('grasp_jax_reloads_total{outcome="refused"}') == refused + 1
    assert folder.name in served.said() and 'Traceback' not in served.said()


@pytest.mark.parametrize('path', ['../elsewhere', '/', '.', '', 'link', 'gated/../../elsewhere', 'a\0b'])
def test_only_models_of_one_folder_are_loaded(served, path):
    status, said = served.post('/reload', path=path)
    assert status == 403 and 'below the folder of --models' in said['error']


@pytest.mark.parametrize(('body', 'status'), [
    ({'path': 3}, 400), ({'path': 'plain', 'check': 1}, 400), ({'folder': 'plain'}, 400), ({'path': 'x' * 5000}, 400),
    ({'path': 'x' * 4000}, 409)])
def test_what_is_no_path_is_refused(served, body, status):
    assert served.ask('POST', '/reload', body)[0] == status


@pytest.mark.parametrize(('path', 'status'), [
    ('plain', 200), ('not/there/yet', 200), (None, 200), ('../elsewhere', 403), ('.', 403), ('link', 403)])
def test_whether_a_folder_may_be_loaded_is_said_before_it_is_there(served, path, status):
    before, swapped = served.get('/health')[1], served.metric('grasp_jax_reloads_total')
    found, said = served.post('/reload', path=path, check=True)
    assert found == status and (status == 403 or said == {'model': before['model'], 'items': before['items']})
    assert served.get('/health')[1] == before and served.metric('grasp_jax_reloads_total') == swapped
    assert served.ask('POST', '/reload', {'path': path, 'check': True}, {'Authorization': 'Bearer no'})[0] == 401


def test_what_is_not_read_of_an_added_item_is_in_the_answer_and_the_log(served):
    status, said = served.post('/items', items=[{'item_id': 'partly', 'title': 'thing02', 'farbe': 'rot'}])
    assert status == 200 and "no item of the run has 'farbe'" in said['warnings'][0]
    assert served.said().count(said['warnings'][0]) == 1


def test_one_change_at_a_time_and_added_items_stay(served, models, expected):
    assert served.post('/items', items=[{'item_id': 'extra', 'title': 'thing01 of shelf0'}])[0] == 200
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        statuses = sorted(status for status, _ in pool.map(lambda name: served.post('/reload', path=name),
                                                           ['plain', 'gated']))
    assert statuses == [200, 409]
    assert served.get('/similar/extra')[0] == 200, 'the item was added to the new model as well'
    assert served.get('/health')[1]['items'] == 38

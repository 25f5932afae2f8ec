"""Lists are made as the run was ranked: with what a person had where the run was ranked so, unless asked otherwise."""

import subprocess
import sys

import pytest

import grasp_jax
from grasp_jax.serving import lists
from tests.serving.bundled import export
from tests.serving.http_service import FEW, running
from tests.serving.test_bundle import ALONE, SCRIPT
from tests.tiny_runs import item_id

pytestmark = pytest.mark.slow

HISTORY = [item_id(7), item_id(3), item_id(11), item_id(7)]


@pytest.fixture(scope='module')
def workdir(untrained):
    return untrained(evaluate__repeats=True)


@pytest.fixture(scope='module')
def folder(workdir, tmp_path_factory):
    return export(workdir, tmp_path_factory.mktemp('viewed') / 'bundle')


def test_a_run_ranked_with_repeats_lists_them(workdir, folder, untrained):
    usual, model, bundle = map(grasp_jax.Recommender.load, (untrained(), workdir, folder))
    assert usual.filter_viewed and not model.filter_viewed and not bundle.filter_viewed
    for asked in ({'users': model.user_ids[:4]}, {'histories': [HISTORY]}):
        with_all = model.recommend(**asked, k=100)
        assert len(with_all) == len(model.item_ids) * len(next(iter(asked.values())))
        assert with_all.equals(model.recommend(**asked, k=100, filter_viewed=False))
        assert with_all.equals(bundle.recommend(**asked, k=100))
        assert with_all.equals(usual.recommend(**asked, k=100, filter_viewed=False))
        without = model.recommend(**asked, k=100, filter_viewed=True)
        assert without.equals(usual.recommend(**asked, k=100)) and len(without) < len(with_all)
    users = model.user_ids[:4]
    for hide in (None, False, True):
        ids, _ = model.rows(users, 100, hide)
        assert (ids > 0).all() == (not hide)


def test_the_rank_that_is_explained_is_that_of_the_list(workdir, untrained):
    for path in (workdir, untrained()):
        model = grasp_jax.Recommender.load(path)
        rows = model.recommend(histories=[HISTORY], k=100)
        for item, rank in zip(rows.item_id[::9], rows['rank'][::9], strict=True):
            assert model.explain(history=HISTORY, item=item).rank == rank


def test_files_hold_them(workdir, tmp_path, module):
    ended = module('recommend', f'--workdir={workdir}', '--k=100', f'--out={tmp_path / "lists.jsonl"}')
    assert ended.returncode == 0, ended.stderr
    model = grasp_jax.Recommender.load(workdir)
    rows = (tmp_path / 'lists.jsonl').read_text().count('\n')
    assert rows == len(model.item_ids) * len(model.user_ids)
    order = lists.Order(tmp_path / 'less.jsonl', list(model.user_ids), 100, filter_viewed=True)
    assert lists.write(model, order)
    assert (tmp_path / 'less.jsonl').read_text().count('\n') < rows
    shown = module('recommend', f'--workdir={workdir}', '--k=36', f'--history={item_id(3)}')
    assert '    36. ' in shown.stdout, shown.stderr


def test_the_script_of_a_bundle_lists_them(workdir, folder):
    wanted = grasp_jax.Recommender.load(workdir).recommend(histories=[HISTORY], k=10)
    ended = subprocess.run([sys.executable, '-I', '-c', ALONE, SCRIPT, folder, *HISTORY], capture_output=True,
                           text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert [line.split('  ')[2] for line in ended.stdout.splitlines()] == list(wanted.item_id)


def test_the_service_lists_them(folder, tmp_path):
    pytest.importorskip('fastapi', reason='the extra [serve] is not installed')
    model = grasp_jax.Recommender.load(folder)
    with running(tmp_path, f'--workdir={folder}', *FEW) as service:
        for said, hide in (({}, False), ({'filter_viewed': None}, False), ({'filter_viewed': True}, True)):
            status, answer = service.post('/recommend', history=HISTORY, k=16, **said)
            wanted = model.recommend(histories=[HISTORY], k=16, filter_viewed=hide)
            assert status == 200 and [item['item_id'] for item in answer['items']] == list(wanted.item_id)
        first = answer['items'][0]['item_id']
        assert service.post('/explain', history=HISTORY, item=first)[1]['rank'] == model.explain(
            history=HISTORY, item=first).rank

"""Lists are what a full sort of the evaluation's scores gives, in the ids of the person's own files."""

import dataclasses
import functools

import jax
import numpy as np
import pandas as pd
import pytest

import grasp_jax
from grasp_jax.batching import batches
from grasp_jax.common.errors import UserError
from grasp_jax.config.saved_config import load as load_config
from grasp_jax.models.recommender import Recommender as Model
from grasp_jax.ranking.forward import item_features, user_states
from grasp_jax.reproduce.runs import restored
from grasp_jax.serving import engine as engines
from grasp_jax.serving import scoring
from tests.tiny_runs import ODD, USERS

pytestmark = pytest.mark.slow

METHODS = ({}, {'model__gate': 'none'}, {'model__gate_space': 'hidden'},
           {'model__user_context': 'text'}, {'model__method': 'none'}, {'model__method': 'llm_init'},
           {'model__method': 'llm_esr'},
           {'model__method': 'grasp_mixture', 'model__id_init': 'text', 'retrieve__smoothing': 1.0},
           {'model__method': 'grasp_id', 'model__id_init': 'text'},
           {'model__backbone': 'bert4rec'}, {'model__backbone': 'gru4rec'},
           {'model__method': 'rlmrec', 'model__alignment': 'generative'})


@functools.cache
def load(path):
    return grasp_jax.Recommender.load(path)


def scores_of_evaluation(workdir):
    """float32 [n, m]: what `evaluation` ranks the next item of every whole history with, by the plain pass."""
    config, stages = load_config(workdir)
    run, params = restored(config, workdir, stages)
    known = run.interactions
    users = np.arange(known.num_users)
    sequences = batches.Sequences(users, known.indptr[:-1], known.lengths, run.model.spec.row_width, mask_slots=1)
    plan = batches.ordered_plan(sequences, users, len(users), row_multiple=run.mesh.size)
    placement = jax.tree.map(lambda field: field[0], plan.placement)
    states, context = user_states(run.model, run.mesh, plan.num_rows, params, run.data, placement)
    features = item_features(run.model, run.mesh, params, run.data)
    return np.asarray(run.model.apply({'params': params}, states, context, features, method=Model.score_all))[
        :, :known.num_items], known


@pytest.mark.parametrize('settings', METHODS, ids=lambda settings: '_'.join(map(str, settings.values())) or 'gated')
def test_lists_are_those_of_a_full_sort_of_what_evaluation_scores(untrained, settings):
    workdir = untrained(**settings)
    scores, known = scores_of_evaluation(workdir)
    model = load(workdir)
    lists = model.recommend(users=model.user_ids, k=5)
    for user, name in enumerate(model.user_ids):
        mine = scores[user].copy()
        mine[np.unique(known.full_sequence(user)) - 1] = -np.inf
        best = np.argsort(-mine, kind='stable')[:5]
        rows = lists[lists.user_id == name]
        assert list(rows.item_id) == [model.item_ids[place] for place in best]
        np.testing.assert_allclose(rows.score, mine[best], rtol=1e-4, atol=1e-5)
        assert list(rows['rank']) == [1, 2, 3, 4, 5] and set(rows.source) == {'model'}


def test_columns_and_order_are_those_that_people_know(gated):
    model = load(gated)
    lists = model.recommend(users=['u05', 'u01'], k=3)
    assert list(lists.columns) == ['user_id', 'item_id', 'score', 'rank', 'source']
    assert list(lists.user_id) == ['u05'] * 3 + ['u01'] * 3
    assert list(model.recommend_to_items([ODD], k=2).columns) == ['target_item_id', 'item_id', 'score', 'rank']


@pytest.mark.parametrize('name', ['gated', 'plain'])
def test_a_history_in_the_request_is_as_good_as_a_known_user(name, request):
    model = load(request.getfixturevalue(name))
    by_user = model.recommend(users=['u03'], k=7)
    by_history = model.recommend(histories=[model.history('u03')], k=7)
    assert list(by_user.item_id) == list(by_history.item_id)
    np.testing.assert_array_equal(by_user.score, by_history.score)


@pytest.mark.parametrize('name', ['gated', 'plain'])
def test_a_list_does_not_depend_on_who_else_asks(name, request):
    model = load(request.getfixturevalue(name))
    together = model.recommend(users=model.user_ids, k=4)
    for user in model.user_ids[::9]:
        alone = model.recommend(users=[user], k=4)
        theirs = together[together.user_id == user]
        assert list(alone.item_id) == list(theirs.item_id)
        np.testing.assert_allclose(alone.score, theirs.score, rtol=1e-5)


@pytest.mark.slow
def test_what_was_seen_is_left_out_unless_it_is_asked_for(gated):
    model = load(gated)
    seen = model.history('u00')
    lists = model.recommend(users=['u00'], k=100)
    assert not set(lists.item_id) & set(seen)
    assert len(lists) == len(model.item_ids) - len(set(seen))
    assert set(model.recommend(users=['u00'], k=100, filter_viewed=False).item_id) == set(model.item_ids)


def test_only_and_without(gated):
    model = load(gated)
    allowed = [item for item in model.item_ids if item not in model.history('u00')][:6]
    lists = model.recommend(users=['u00'], k=10, items_to_recommend=allowed, items_to_exclude=allowed[:2])
    assert set(lists.item_id) == set(allowed[2:])
    everything = model.recommend(users=['u00'], k=100)
    assert list(lists.item_id) == [item for item in everything.item_id if item in allowed[2:]]


def test_an_empty_history_gets_what_most_people_chose_and_says_so(gated):
    model = load(gated)
    lists = model.recommend(histories=[[], model.history('u00')], k=3)
    popular = lists[lists.user_id == 0]
    assert set(popular.source) == {'popularity'} and set(lists[lists.user_id == 1].source) == {'model'}
    counts = pd.Series([item for user in model.user_ids for item in model.history(user)]).value_counts()
    assert list(popular.score) == sorted(counts, reverse=True)[:3]
    assert all(counts[item] == score for item, score in zip(popular.item_id, popular.score, strict=True))


def test_ids_may_be_given_as_numbers_where_they_are_numbers(gated):
    model = load(gated)
    with pytest.raises(UserError, match="user '3': is not known"):
        model.recommend(users=[3.0])


@pytest.mark.parametrize(('arguments', 'words'), [
    ({'users': ['nobody']}, "user 'nobody': is not known"),
    ({'histories': [['i001', 'nothing']]}, r"histories\[0\]: item 'nothing' is not known \(1 of 2"),
    ({'users': ['u00'], 'k': 0}, 'k=0'), ({'users': ['u00'], 'k': True}, 'k=True'),
    ({'users': ['u00'], 'k': 2.5}, 'k=2.5'), ({'users': []}, 'users: is empty'), ({'histories': []}, 'histories: is'),
    ({}, 'users or histories'), ({'users': ['u00'], 'histories': [[]]}, 'users or histories'),
    ({'users': 'u00'}, 'users: give a list'), ({'histories': ['i001']}, "is the text 'i001'; give a list"),
    ({'users': ['u00'], 'items_to_recommend': []}, 'items_to_recommend: is empty'),
    ({'users': ['u00'], 'items_to_exclude': ['nothing']}, "items_to_exclude: item 'nothing'")])
def test_what_cannot_be_answered_is_one_clear_error(gated, arguments, words):
    with pytest.raises(UserError, match=words):
        load(gated).recommend(**arguments)


def test_gates_that_read_a_text_need_a_user(untrained):
    model = load(untrained(model__user_context='text'))
    with pytest.raises(UserError, match='user_context=text'):
        model.recommend(histories=[['i001']])


def test_as_few_programs_as_buckets(gated):
    model = load(gated)
    jax.clear_caches()
    for size in (1, 2, 5, 8, 3, 1):
        for length in (1, 4, 9, 30):
            model.recommend(histories=[[f'i{place % 7:03d}' for place in range(length)]] * size, k=size)
    assert scoring.states._cache_size() == 2  # batches of 1 and of 8, one length as the model reads 9 items at most
    assert scoring.best._cache_size() == 2


def test_candidates_that_are_scored_exactly_come_out_as_if_all_were(gated, monkeypatch):
    exact = load(gated).recommend(users=[f'u{user:02d}' for user in range(USERS)], k=3)
    monkeypatch.setattr(engines, 'CANDIDATES', 12)
    model = load(gated)
    assert model.approximate and model.measure_recall(3) > 0.8
    found = model.recommend(users=list(model.user_ids), k=3)
    both = exact.merge(found, on=['user_id', 'item_id'], suffixes=('', '_found'))
    np.testing.assert_allclose(both.score, both.score_found, rtol=1e-5)
    assert len(both) > 0.8 * len(exact)
    pd.testing.assert_frame_equal(model.recommend(users=list(model.user_ids), k=3, exact=True), exact)


@pytest.mark.slow
def test_similar_items_are_nearest_by_cosine_and_never_the_item_itself(plain):
    model = load(plain)
    found = model.recommend_to_items(['i003'], k=5)
    vectors = np.asarray(model._engine.catalogue.arrays.items)[:len(model.item_ids)]
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = model.item_ids.index('i003')
    cosines = unit @ unit[row]
    cosines[row] = -np.inf
    assert list(found.item_id) == [model.item_ids[place] for place in np.argsort(-cosines, kind='stable')[:5]]


def test_titles_are_read_by_id(gated):
    model = load(gated)
    assert model.titles[ODD] == 'thing07 of shelf1 and row1' and len(model.titles) == len(model.item_ids)


def test_another_seed_is_another_model(finished):
    workdir = finished(train__seeds=(1, 2))
    first, second = load(workdir), grasp_jax.Recommender.load(workdir, seed=2)
    assert (first.seed, second.seed) == (1, 2)
    assert not np.allclose(first.recommend(users=['u00']).score, second.recommend(users=['u00']).score)
    with pytest.raises(UserError, match='seed 7 is not finished; choose one of 1, 2'):
        grasp_jax.Recommender.load(workdir, seed=7)


def test_explanations_say_what_the_model_did(gated, plain):
    model = load(gated)
    lists = model.recommend(users=['u02'], k=3)
    why = model.explain(user='u02', item=lists.item_id[1])
    assert why.rank == 2 and why.score == pytest.approx(lists.score[1], rel=1e-5)
    assert set(why.gates) == {'self', 'similar', 'global'} and all(0 < gate < 1 for gate in why.gates.values())
    assert {near.item_id for near in why.nearest_in_history} <= set(model.history('u02'))
    near = [each.similarity for each in why.neighbours]
    assert len(near) == 4 and near == sorted(near, reverse=True)
    assert load(plain).explain(history=['i001'], item=ODD).gates is None
    assert dataclasses.asdict(why)['title'] == model.titles[lists.item_id[1]]

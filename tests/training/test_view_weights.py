"""How much views count: tried on validation, kept beside the checkpoint, read by everything that ranks."""

import json

import jax
import numpy as np
import pytest

from grasp_jax.pipeline.stages import run_pipeline
from grasp_jax.ranking.metrics import load_ranks
from grasp_jax.serving import bundle
from grasp_jax.serving.assets import open_folder
from grasp_jax.serving.recommender import Recommender
from grasp_jax.training import view_weights
from grasp_jax.training.metrics_log import read_metrics
from tests.models.conftest import Small
from tests.tiny_runs import tiny_config, write_table

MIXTURE = Small(method='grasp_mixture', gate='none')


def tried_by(value_of):
    calls = []

    def value(weights):
        calls.append(weights)
        return value_of(*weights), value_of(*weights)

    return view_weights.choose(MIXTURE.spec, value), calls


def test_the_best_weights_are_found_one_after_the_other():
    found, calls = tried_by(lambda ids, texts, content: 1 - (ids - 0.6) ** 2 - (content - 1.5) ** 2 / 9)
    assert found['weights'] == (0.6, 1.4, 1.5)
    assert len(calls) == len(set(calls)) == len(found['tried']) == 9
    assert found['tried'][0]['weights'] == (1.0, 1.0, 1.0)


def test_both_protocols_count():
    sampled, full = {0.6: 0.5}, {0.6: 0.03, 1.4: 0.06}  # more of one for much less of the other
    found = view_weights.choose(MIXTURE.spec, lambda some: (sampled.get(some[0], 0.4), full.get(some[0], 0.05)))
    assert found['weights'] == (1.4, 0.6, 1.0)


def test_equal_weights_stay_where_others_are_hardly_better():
    assert tried_by(lambda ids, *_: 0.1 + 0.0001 * (ids == 0.4))[0]['weights'] == (1.0, 1.0, 1.0)
    assert tried_by(lambda ids, *_: 0.1 + 0.0003 * (ids == 0.4))[0]['weights'] == (0.4, 1.6, 1.0)


def test_weights_multiply_the_states_of_their_views_and_training_has_none():
    small, packed = MIXTURE, MIXTURE.pack([[3, 1, 4], [1, 5]])
    plain = np.asarray(small.encode(packed).states)
    equal = small.encode(packed, params=view_weights.weighed(small.spec, small.params)).states
    np.testing.assert_array_equal(equal, plain)
    weighed = small.encode(packed, params=view_weights.weighed(small.spec, small.params, (0.5, 2.0, 3.0))).states
    np.testing.assert_allclose(weighed, plain * np.repeat([0.5, 2.0, 3.0], 8), rtol=1e-6)
    assert 'view_weights' not in small.params


def test_methods_of_one_view_have_none():
    small = Small(method='grasp', gate='none')
    assert view_weights.weighed(small.spec, small.params) is small.params


@pytest.mark.slow
def test_what_ranks_reads_the_weights_of_the_best_epoch(tmp_path, monkeypatch):
    monkeypatch.setattr(view_weights, '_GAIN', 0.0)  # of this small shop any gain counts
    write_table(tmp_path / 'data')
    config = tiny_config(tmp_path / 'data', model__method='grasp_mixture', model__gate='none', train__max_epochs=2,
                         train__loss='softmax', evaluate__selection_protocol='full')
    run_pipeline(config, tmp_path / 'run')
    seed = tmp_path / 'run' / f'seed{config.train.seeds[0]}'
    kept = json.loads((seed / 'view_weights.json').read_text())
    best = max(read_metrics(seed), key=lambda line: line['valid_ndcg10'])
    assert kept['epoch'] == best['epoch']
    assert kept['tried'][0]['full_ndcg10'] == pytest.approx(best['valid_ndcg10'], abs=1e-6), 'what training saw'
    values = {tuple(each['weights']): each['sampled_ndcg10'] * each['full_ndcg10'] for each in kept['tried']}
    assert values[tuple(kept['weights'])] == max(values.values())

    params = open_folder(tmp_path / 'run').params
    np.testing.assert_array_equal(params['view_weights'], np.array(kept['weights'], np.float32))
    lists = Recommender.load(tmp_path / 'run').recommend(['u00', 'u01', 'u02'], k=5)
    bundle.write_bundle(open_folder(tmp_path / 'run'), tmp_path / 'bundle')
    assert Recommender.load(tmp_path / 'bundle').recommend(['u00', 'u01', 'u02'], k=5).equals(lists)

    before = load_ranks(seed)
    (seed / 'test_ranks.npz').unlink()
    (seed / 'view_weights.json').write_text(json.dumps({**kept, 'weights': [0.0, 0.0, 1.0]}))
    run_pipeline(config, tmp_path / 'run')  # of the same epoch: they are not chosen again
    assert (load_ranks(seed).full != before.full).any()
    assert jax.tree.structure(open_folder(tmp_path / 'run').params) == jax.tree.structure(params)

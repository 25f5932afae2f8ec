"""Id embeddings that start from vectors smoothed over what is bought together."""

import numpy as np
import pytest

from grasp_jax.pipeline.stages import prepare_knowledge
from grasp_jax.retrieval.bought_together import smoothed_over
from grasp_jax.vectors.pca import load_reduced, reduce_items
from tests.tiny_runs import tiny_config, write_table


@pytest.mark.slow
def test_the_start_is_reduced_from_smoothed_vectors_and_lies_beside_that_from_texts(tmp_path):
    write_table(tmp_path / 'data')
    config = tiny_config(tmp_path / 'data', model__method='grasp_id', model__gate='none', model__id_init='text')
    by_text = prepare_knowledge(config, tmp_path / 'run')
    config.model.id_init = 'smoothed'
    known = prepare_knowledge(config, tmp_path / 'run')
    width = config.model.hidden_size
    assert {path.name for path in (tmp_path / 'run').glob('reduce*')} == {f'reduce{width}', f'reduce{width}_smoothed'}
    reduce_items(smoothed_over(known.dataset.interactions, np.asarray(known.tables.items)), width, tmp_path)
    np.testing.assert_array_equal(known.pretrained.start, load_reduced(tmp_path))
    assert np.abs(known.pretrained.start - by_text.pretrained.start).max() > 0.01
    assert known.stages['retrieve'] == by_text.stages['retrieve']

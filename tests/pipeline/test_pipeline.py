"""What a run refuses before any stage starts."""

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import default
from grasp_jax.pipeline.stages import run_pipeline


@pytest.mark.parametrize(('train', 'word'), [({'mesh': (64, 1)}, 'train.mesh=(64, 1)'),
                                             ({'micro_batches': -1}, 'train.micro_batches=-1'),
                                             ({'mesh': (-1, 2), 'micro_batches': 8}, 'whole tables')])
def test_a_mesh_that_does_not_fit_the_devices_is_said_before_the_stages(train, word, tmp_path):
    config = default()
    config.train.update(train)
    with pytest.raises(UserError) as caught:
        run_pipeline(config, tmp_path / 'work')
    assert word in str(caught.value) and not (tmp_path / 'work').exists()

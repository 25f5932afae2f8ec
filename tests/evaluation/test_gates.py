"""Gates of groups of pairs."""

import numpy as np
import pytest

from grasp_jax.evaluation import gates


def test_mean_and_deviation_of_a_group_and_of_the_others():
    values = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    exist, group = np.array([[True, True], [True, False]]), np.array([[True, False], [True, True]])
    found = gates.of_groups(values, exist, group)
    assert found['inside'] == {'self': [3, 3], 'similar': [4, 3], 'global': [5, 3]}, 'pairs that count: 0 and 2'
    assert found['outside'] == {'self': [3, 0], 'similar': [4, 0], 'global': [5, 0]}


@pytest.mark.parametrize('side', ['inside', 'outside'])
def test_a_side_without_pairs_is_left_out(side):
    everybody = np.full((2, 1), side == 'inside')
    assert list(gates.of_groups(np.ones((2, 1, 3)), np.ones((2, 1), bool), everybody)) == [side]

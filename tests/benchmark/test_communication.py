"""Bytes that devices send, counted in the text of compiled programs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from grasp_jax.benchmark import communication
from grasp_jax.benchmark.workload import SIZES
from grasp_jax.distributed.sharding import make_mesh


def test_collectives_of_known_programs():
    mesh = make_mesh((2, 4))

    def text(program, spec, result):
        def put(spec):
            return NamedSharding(mesh, spec)

        given = jax.ShapeDtypeStruct((8, 16), jnp.float32, sharding=put(spec))
        return jax.jit(program, out_shardings=put(result)).lower(given).compile().as_text()

    gathered = communication.collectives(text(lambda x: x + 1, PartitionSpec('model'), PartitionSpec()))
    assert gathered == [communication.Collective('all-gather', 8 * 16 * 4, 4)]
    assert gathered[0].sent == 8 * 16 * 4 * 3 / 4
    summed = communication.collectives(text(lambda x: x.sum(0), PartitionSpec(('data', 'model')), PartitionSpec()))
    assert summed == [communication.Collective('all-reduce', 16 * 4, 8)]
    assert summed[0].sent == 2 * 16 * 4 * 7 / 8
    assert communication.collectives(text(lambda x: x + 1, PartitionSpec('data'), PartitionSpec('data'))) == []


@pytest.mark.slow
def test_gradients_and_rows_of_tables_are_all_that_travels():
    size = SIZES['tiny']
    alone, data, both = communication.measure(size, 'sasrec', [(1, 1), (8, 1), (2, 4)], 'float32')
    assert alone['sent_mb_in_all'] == 0
    assert set(data['sent_mb']) == {'all-reduce'}
    # Rows of two tables, own items and negatives: R * W positions, E wide, from 3 other devices of a group.
    rows = -(-size.batch_size * size.mean_length // (size.max_length + 1)) + 1
    expected = 3 * 2 * 2 * rows * (size.max_length + 1) * size.width * 4
    np.testing.assert_allclose(both['sent_mb']['reduce-scatter'] * 1e6, expected, rtol=1e-6)
    np.testing.assert_allclose(both['sent_mb']['all-reduce'], data['sent_mb']['all-reduce'], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ('gru4rec', 'bert4rec'))
def test_every_backbone_is_compiled(backbone):
    alone, data = communication.measure(SIZES['tiny'], backbone, [(1, 1), (2, 1)], 'float32')
    assert alone['sent_mb_in_all'] == 0 and set(data['sent_mb']) == {'all-reduce'}


def test_pairs_that_send_to_each_other_are_counted():
    line = 'x = f32[4]{0} collective-permute(y), source_target_pairs={{0,1},{1,0}}'
    assert communication.collectives(line) == [communication.Collective('collective-permute', 16, 2)]
    assert communication.collectives(line.replace('{0,1},{1,0}', '{0,0},{1,1}')) == []


def test_a_group_that_is_not_understood_is_an_error():
    with pytest.raises(ValueError, match='no groups in'):
        communication.collectives('x = f32[4]{0} all-reduce(y), replica_groups=?')

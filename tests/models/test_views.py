"""Two views of an item, stacked on rows."""

import jax.numpy as jnp
import numpy as np

from grasp_jax.models import views


def test_stacked_views_come_back_and_stay_beside_each_other():
    both = jnp.arange(3 * 4 * 10, dtype=jnp.float32).reshape(3, 4, 10)
    stacked = views.stack_views(both)
    np.testing.assert_array_equal(views.unstack_views(stacked), both)
    np.testing.assert_array_equal(stacked[2], both[1, :, :5])
    np.testing.assert_array_equal(stacked[3], both[1, :, 5:])

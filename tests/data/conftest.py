"""Sequences of 2 to 40 items, which rows of 11 positions have to cut."""

import numpy as np
import pytest

from grasp_jax.data import batches

WIDTH = 11


@pytest.fixture
def sequences():
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(0.2, 200) + 1, 40)
    return batches.Sequences(np.arange(200) + 7, np.cumsum(lengths) - lengths, lengths, WIDTH)

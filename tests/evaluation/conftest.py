"""A small shop, and finished runs on it."""

import numpy as np
import pytest

from grasp_jax.data.interactions import Interactions
from tests.evaluation.finished import run


@pytest.fixture(scope='module')
def shop():
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 20, 120)
    indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Interactions(indptr, rng.zipf(1.5, lengths.sum()).clip(max=150).astype(np.int32), 150)


@pytest.fixture(scope='module')
def workdirs(tmp_path_factory, shop):
    """One workdir with one seed, one with three."""
    base = tmp_path_factory.mktemp('runs')
    run(base / 'plain', shop, method='none', best=0.6)
    run(base / 'grasp', shop, seeds=(42, 43, 44))
    return base / 'plain', base / 'grasp'

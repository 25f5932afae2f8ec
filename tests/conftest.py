"""Simulated devices and float checks, set before JAX is imported by anyone."""

import os
import pathlib

# Tests spend their time in the compiler: without its optimisations it takes two thirds as long.
os.environ['XLA_FLAGS'] = (os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
                           ' --xla_backend_optimization_level=0')
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUMPY_RANK_PROMOTION'] = 'raise'
os.environ.setdefault('MPLBACKEND', 'agg')

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def real_data():
    """Returns the folder of a real data set by name, or skips the test where it is not."""
    def find(name: str) -> pathlib.Path:
        base = pathlib.Path(os.environ.get('GRASP_JAX_DATA', ROOT.parent / 'shared' / 'data'))
        if not (base / name).is_dir():
            pytest.skip(f'{name} is not in {base}; set GRASP_JAX_DATA to run this test on real data')
        return base / name

    return find

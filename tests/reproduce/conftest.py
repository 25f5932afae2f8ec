"""The runs that the documents are about."""

import pathlib

import pytest

from grasp_jax.reproduce import kept


@pytest.fixture(scope='session')
def kept_runs(tmp_path_factory):
    """Their work folders."""
    folder = tmp_path_factory.mktemp('kept')
    kept.unpack(pathlib.Path(__file__).resolve().parents[2] / 'docs' / 'results', folder)
    return folder

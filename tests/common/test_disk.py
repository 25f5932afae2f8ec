"""Room is asked for before anything is written."""

import logging

import pytest

from grasp_jax.common import disk
from grasp_jax.common.errors import UserError


@pytest.fixture(autouse=True)
def ten_gigabytes(monkeypatch):
    monkeypatch.setattr(disk.shutil, 'disk_usage', lambda folder: type('Usage', (), {'free': 10e9}))


def test_what_does_not_fit_is_refused_with_figures_and_a_remedy(tmp_path):
    with pytest.raises(UserError, match=r'10\.0 GB are free, encode needs 10\.5 GB; make room'):
        disk.require(tmp_path, 10e9, 'encode', 'make room')


def test_much_is_said_and_little_is_not(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        disk.require(tmp_path, 9e9, 'encode', '')
        assert 'writes 9.0 GB, 10.0 GB are free' in caplog.text
        caplog.clear()
        disk.require(tmp_path, 9e5, 'encode', '')
        assert not caplog.text

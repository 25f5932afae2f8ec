"""Sequences as of tests/data."""

from tests.data.conftest import sequences  # noqa: F401 (a fixture)

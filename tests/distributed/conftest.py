"""Small runs as of tests/training."""

from tests.training.conftest import final_state, roomy_plans, small_data, small_run  # noqa: F401 (fixtures)

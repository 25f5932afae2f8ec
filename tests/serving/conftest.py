"""A service on a tiny run. The runs are fixtures of `tests.tiny_runs`, which all tests share."""

import pytest

from tests.serving.http_service import FEW, running


@pytest.fixture(scope='session')
def service(untrained, tmp_path_factory):
    """A service that many tests ask and none changes: gates, no token."""
    pytest.importorskip('fastapi', reason='the extra [serve] is not installed')
    with running(tmp_path_factory.mktemp('service'), f'--workdir={untrained()}', *FEW) as found:
        yield found

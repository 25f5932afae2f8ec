"""What a run is made of."""

import jax
import numpy as np

from grasp_jax.training import training_setup


def test_programs_of_earlier_runs_go_where_there_are_many(small_run, monkeypatch):
    """A grid or a search in one process would come to the system's limit of memory maps."""
    def programs():
        return len(jax.devices()[0].client.live_executables())

    kept = jax.jit(lambda x: x + 1)
    kept(np.ones(3))
    begin = programs()
    small_run(method='none')
    assert programs() >= begin > 0, 'a few stay'
    monkeypatch.setattr(training_setup, '_PROGRAMS', begin - 1)
    small_run(method='none')
    assert programs() < begin
    assert kept(np.ones(3))[0] == 2

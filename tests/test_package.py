"""What `import grasp_jax` gives, and what it does not wait for."""

import subprocess
import sys

import pytest

import grasp_jax


def test_importing_the_package_is_light():
    code = "import sys, grasp_jax; assert not {'jax', 'numpy', 'pandas'} & set(sys.modules), sorted(sys.modules)"
    subprocess.run([sys.executable, '-c', code], check=True)


def test_public_names_are_there_and_no_others():
    assert set(grasp_jax.__all__) == {'Recommender', 'UserError'}
    assert all(hasattr(grasp_jax, name) for name in grasp_jax.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        grasp_jax.nothing  # noqa: B018

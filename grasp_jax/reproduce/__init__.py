"""The paper's tables and figures, ours beside theirs: `python -m grasp_jax.reproduce --help`."""

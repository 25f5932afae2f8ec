"""The paper's tables and figures, ours beside the published ones: `python -m grasp_jax.reproduce --help`."""

"""Settings tuned on validation with Optuna: `python -m grasp_jax.tune`."""

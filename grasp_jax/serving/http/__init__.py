"""The service over HTTP: `python -m grasp_jax.serve`. It needs the extra [serve]."""

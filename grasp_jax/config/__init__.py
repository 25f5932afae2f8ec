"""Every setting with its default, the recipes, and the config that a work folder keeps."""

from grasp_jax.config.settings import changed, default, of_variant

__all__ = ['changed', 'default', 'of_variant']

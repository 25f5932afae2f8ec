"""Where vectors come from, in the words that logs, reports and plots use."""

import ml_collections

from grasp_jax.vectors.encoders import encoder_of


def origin(config: ml_collections.ConfigDict) -> str:
    """What made the vectors of a config, in one phrase; empty where the method reads none.

    Args:
      config: the full config; reads `model.method`, `encode`, `text.writer` and `llm.model`.
    """
    return '' if config.model.method == 'none' else encoder_of(config).origin()

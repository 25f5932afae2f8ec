"""Where vectors come from, in the words that logs, reports and plots use."""

import ml_collections

from grasp_jax.vectors.encoders import encoder_of


def origin(config: ml_collections.ConfigDict) -> str:
    """What made the vectors of a config, whose method reads such, in one phrase.

    Args:
      config: the full config; reads `encode`, `text.source` and `llm.model`.
    """
    return encoder_of(config).origin()

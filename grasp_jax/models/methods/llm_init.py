"""LLMInit (Harte et al., Leveraging Large Language Models for Sequential Recommendation, RecSys 2023).

The plain backbone whose id embeddings start from the items' vectors, reduced to H by a principal component analysis
(`training.state.init_state`).
"""

from grasp_jax.models.item_encoders import IdEncoder
from grasp_jax.models.methods.base import Method
from grasp_jax.models.spec import ModelSpec


class LLMInit(Method):
    """Id embeddings that start from texts."""

    name = 'llm_init'
    label = 'LLMInit'
    uses_vectors = True
    colour = 'teal'

    def id_start(self, spec: ModelSpec) -> str:
        """Always from texts."""
        return 'text'

    def item_encoder(self, spec: ModelSpec) -> IdEncoder:
        """Makes the item encoder."""
        return IdEncoder(spec)


METHOD = LLMInit()

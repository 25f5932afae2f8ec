"""The plain backbone: a trained embedding for each item id, no texts."""

from grasp_jax.models.item_encoders import IdEncoder
from grasp_jax.models.methods.base import Method
from grasp_jax.models.spec import ModelSpec


class Plain(Method):
    """The backbone alone."""

    name = 'none'
    label = 'plain'
    plain = True
    colour = 'grey'

    def item_encoder(self, spec: ModelSpec) -> IdEncoder:
        """Makes the item encoder."""
        return IdEncoder(spec)


METHOD = Plain()

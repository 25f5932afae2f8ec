"""Every method by its name: the item encoder that it feeds a backbone with.

Auxiliary losses are in `recommender.Recommender.auxiliary`, and `ModelSpec` says what else a method needs.
"""

from grasp_jax.models.dual_view import DualEncoder
from grasp_jax.models.grasp_encoder import GraspEncoder, GraspIdEncoder
from grasp_jax.models.item_encoders import IdEncoder, ItemEncoder

ITEM_ENCODERS: dict[str, type[ItemEncoder]] = {
    'none': IdEncoder, 'llm_init': IdEncoder, 'rlmrec': IdEncoder, 'llm_esr': DualEncoder, 'grasp': GraspEncoder,
    'grasp_id': GraspIdEncoder}

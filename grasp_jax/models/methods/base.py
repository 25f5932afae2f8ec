"""What a method says of itself: the facts that the rest of the package asks for."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:  # these modules ask for methods themselves
    import jax
    from flax import linen as nn

    from grasp_jax.models.item_encoders import ItemEncoder
    from grasp_jax.models.recommender import AuxiliaryInputs, Recommender
    from grasp_jax.models.spec import ModelSpec


class Method(abc.ABC):
    """How items are represented, and what that needs. Only `name`, `label` and `item_encoder` have to be given.

    A method holds no state. What depends on the config is a function of the `ModelSpec`; ask a spec (`spec.gated`,
    `spec.uses_user_vectors`) rather than a method, as it adds what follows from the rest of the config.

    Attributes:
      name: in `config.model.method`, and of the file.
      label: in tables and plots.
      plain: whether this is the backbone alone, which the others are compared with.
      uses_vectors: whether it needs LLM vectors at all.
      uses_vectors_in_forward: whether the model reads LLM vectors while it runs, and not before it starts alone.
      uses_similar_users: whether its own loss needs the sequences of similar users.
      ranks_with: fields of `FrozenVectors` that its item encoder reads when items are ranked.
      training_modules: which of `modules` are for its own loss alone, and not needed to rank.
      gated: whether an item's representation goes through the gates of Eq. 4; then its encoder is a
        `GatedItemEncoder`.
      num_views: representations of an item that stand side by side, which the backbone encodes one at a time, 1 or 2.
      further_views: such behind them whose states the method makes itself (`further_states`).
      further_weight: of the states of these views in a score; their loss is of states at full weight.
      projects_vectors: whether `encoder.content_kernel` starts from the items' principal components.
      views_learn_apart: whether each view has the recipe's loss for itself; else their scores are added first.
      default_smoothing: of `retrieve.smoothing`, where the config leaves it to the method.
      default_auxiliary_weight: of its own loss, as in its paper; 0: it has none.
      settings: keys of the `model` section, beside those of every method, that its trained parameters depend on.
      colour: in plots where each method has its own, a key of `evaluation.plots.PALETTE`.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    plain: ClassVar[bool] = False
    uses_vectors: ClassVar[bool] = False
    uses_vectors_in_forward: ClassVar[bool] = False
    uses_similar_users: ClassVar[bool] = False
    ranks_with: ClassVar[tuple[str, ...]] = ()
    training_modules: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False
    num_views: ClassVar[int] = 1
    further_views: ClassVar[int] = 0
    further_weight: ClassVar[float] = 1.0
    projects_vectors: ClassVar[bool] = False
    views_learn_apart: ClassVar[bool] = False
    default_smoothing: ClassVar[float] = 0.0
    default_auxiliary_weight: ClassVar[float] = 0.0
    settings: ClassVar[tuple[str, ...]] = ()
    colour: ClassVar[str] = 'plum'

    @abc.abstractmethod
    def item_encoder(self, spec: ModelSpec) -> ItemEncoder:
        """Makes the item encoder."""

    def modules(self, spec: ModelSpec) -> dict[str, nn.Module]:
        """Further modules, by the name of the recommender's attribute that holds each (and of their parameters)."""
        return {}

    def id_start(self, spec: ModelSpec) -> str:
        """What id embeddings start from, as the setting `id_init`: random numbers, or LLM vectors that are reduced to
        the hidden size (text)."""
        return 'random'

    def trains_with_user_vectors(self, spec: ModelSpec) -> bool:
        """Whether its own loss reads the vectors of users."""
        return False

    def trains_with_last_states(self, spec: ModelSpec) -> bool:
        """Whether its own loss reads the states that users are ranked by."""
        return False

    def hidden_share(self, spec: ModelSpec) -> float:
        """Share of the input items that are hidden from a causal model in training, behind a learned mask vector."""
        return 0.0

    def before_backbone(self, model: Recommender, inputs: jax.Array, position: jax.Array, visible: jax.Array, *,
                        train: bool) -> jax.Array:
        """What the backbone reads instead of the item representations.

        Args:
          model: the recommender, with `modules`.
          inputs: [R, W, H], or [R, W, 2H] with two views.
          position: int32 [R, W].
          visible: bool [R, W, W], what a position may see.
          train: whether dropout is on.

        Returns:
          Like `inputs`.
        """
        return inputs

    def further_states(self, model: Recommender, inputs: jax.Array, position: jax.Array,
                       visible: jax.Array) -> jax.Array:
        """States of the views that the backbone does not encode, times `further_weight`; called where there are such.

        Args:
          model, position, visible: as in `before_backbone`.
          inputs: [R, W, V * H], these views of the rows' items, zero where an item is hidden.

        Returns:
          [R, W, V * H].
        """
        raise NotImplementedError

    def auxiliary_loss(self, model: Recommender, inputs: AuxiliaryInputs) -> jax.Array:
        """Its own loss, a scalar that is not weighted; called where `default_auxiliary_weight` is above 0."""
        raise NotImplementedError

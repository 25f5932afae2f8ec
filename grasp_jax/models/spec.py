"""What a model is made of, and the letters that shapes are written in.

Letters used in every shape: B users of a batch, R packed rows, W positions of a row, L longest sequence, N candidates,
m items, n users, E width of the LLM vectors, D width in which gates are computed (E or H), H hidden size,
F width of the hidden layer of GRASP's MLP.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import ml_collections
from jax.sharding import Mesh

from grasp_jax.config.rules import Rule, among, never, number, require
from grasp_jax.distributed.frozen_vectors import padded_rows
from grasp_jax.models import methods
from grasp_jax.models.methods.base import Method

_CHOICES = {
    'backbone': ('sasrec', 'gru4rec', 'bert4rec'),
    'gate': ('paper', 'calibrated', 'softmax', 'none'),
    'gate_space': ('llm', 'hidden'),
    'user_context': ('text', 'prefix', 'both'),
    'alignment': ('contrastive', 'generative'),
    'id_init': ('random', 'text'),
}
# As in the papers of the backbones.
USUAL_LAYERS = {'sasrec': 2, 'gru4rec': 1, 'bert4rec': 2}


def _usual_weight(method: str) -> float:
    return methods.named(method).default_auxiliary_weight


MODEL_RULES: tuple[Rule, ...] = (
    among('model.method', methods.names),
    *(among(f'model.{key}', choices) for key, choices in _CHOICES.items()),
    never(lambda config: config.model.aux_loss_weight > 0 and not _usual_weight(config.model.method), lambda config:
          f'model.aux_loss_weight={config.model.aux_loss_weight}: method {config.model.method} has no auxiliary '
          f'loss, {" and ".join(filter(_usual_weight, methods.names()))} have; leave it out'),
    # Under `strong` a gate is asked for; the recipe `paper` has one for every method, and those without pass it over.
    never(lambda config: config.train.recipe == 'strong' and config.model.gate != 'none'
          and not methods.named(config.model.method).gated, lambda config:
          f'model.gate={config.model.gate}: method {config.model.method} has no gates, '
          f'{" and ".join(name for name in methods.names() if methods.named(name).gated)} have; name one of them in '
          'model.method, or leave the gate out'),
    number('model.aux_loss_temperature', lambda value: value > 0, 'above 0'),
    number('model.hidden_size', lambda value: value >= 1, 'at least 1'),
    number('model.fusion_size', lambda value: value >= 0, 'at least 1'),  # 0: as usual
    number('model.num_layers', lambda value: value >= 0, 'at least 1'),  # 0: as usual
    number('model.num_heads', lambda value: value >= 1, 'at least 1'),
    number('model.max_length', lambda value: value >= 1, 'at least 1'),
    never(lambda config: config.model.hidden_size % config.model.num_heads, lambda config:
          f'model.num_heads={config.model.num_heads}: must divide model.hidden_size={config.model.hidden_size}'),
    number('model.dropout', lambda value: 0 <= value < 0.999, 'at least 0 and clearly below 1'),
)
Pick = Callable[[jax.Array], jax.Array]  # states [R, W, H] -> some of them, [..., H]


@dataclasses.dataclass(frozen=True)
class ModelSpec:
    """The `model` section of the config plus the sizes that the data decides."""

    backbone: str
    method: str
    hidden_size: int
    num_layers: int
    num_heads: int
    dropout: float
    max_length: int
    gate: str
    fusion_size: int
    gate_space: str
    user_context: str
    use_similar: bool
    use_global: bool
    alignment: str
    aux_loss_weight: float
    aux_loss_temperature: float
    id_init: str
    num_items: int
    llm_width: int  # E; 0 where no LLM vectors are used
    table_mesh: Mesh | None = None  # devices over which tables are split by rows; None: whole tables everywhere

    @property
    def facts(self) -> Method:
        """What the method says of itself. The properties below add what follows from the rest of the config."""
        return methods.named(self.method)

    @property
    def causal(self) -> bool:
        """Whether a position sees only itself and what came before."""
        return self.backbone != 'bert4rec'

    @property
    def uses_vectors(self) -> bool:
        """Whether the method needs LLM vectors at all."""
        return self.facts.uses_vectors

    @property
    def uses_vectors_in_forward(self) -> bool:
        """Whether the model reads LLM vectors while it runs, and not before it starts alone."""
        return self.facts.uses_vectors_in_forward

    @property
    def gated(self) -> bool:
        """Whether an item's representation goes through the gates of Eq. 4."""
        return self.facts.gated

    @property
    def items_depend_on_user(self) -> bool:
        """Whether an item's representation depends on the user who looks at it."""
        return self.gated and self.gate != 'none'

    @property
    def gate_scores_are_constant(self) -> bool:
        """Whether the arguments of the gates depend on frozen vectors alone, and so stay what they are in training."""
        return self.items_depend_on_user and self.gate_space == 'llm'

    @property
    def uses_user_vectors(self) -> bool:
        """Whether the model reads the vectors of users."""
        return self.ranks_with_user_vectors or self.facts.trains_with_user_vectors(self)

    @property
    def ranks_with_user_vectors(self) -> bool:
        """Whether it reads them also when items are ranked, and not in training alone."""
        return self.items_depend_on_user and self.user_context != 'prefix'

    @property
    def starts_from_text(self) -> bool:
        """Whether the id table starts from LLM vectors that are reduced to the hidden size."""
        return self.facts.id_start(self) != 'random'

    @property
    def start_stage(self) -> str:
        """The stage whose artefact the id table starts from."""
        return f'reduce{self.hidden_size}' + '_projected' * self.facts.projects_vectors

    @property
    def uses_similar_users(self) -> bool:
        """Whether training needs the sequences of similar users."""
        return self.facts.uses_similar_users and self.aux_loss_weight > 0

    @property
    def uses_last_states(self) -> bool:
        """Whether the method's own loss reads the states that users are ranked by."""
        return self.facts.trains_with_last_states(self) and self.aux_loss_weight > 0

    @property
    def mask_slots(self) -> int:
        """Positions behind a sequence where its last state is read: the mask that BERT4Rec fills in."""
        return 0 if self.causal else 1

    @property
    def num_views(self) -> int:
        """Representations of an item that the backbone encodes, each `hidden_size` wide."""
        return self.facts.num_views

    @property
    def all_views(self) -> int:
        """All representations of an item that stand side by side, those whose states the method makes itself last."""
        return self.num_views + self.facts.further_views

    @property
    def masks_inputs(self) -> bool:
        """Whether some items are hidden from the model in training, behind a learned mask vector."""
        return not self.causal or self.hidden_share > 0

    @property
    def hidden_share(self) -> float:
        """Share of the input items that the method hides from a causal model in training."""
        return self.facts.hidden_share(self)

    @property
    def row_width(self) -> int:
        """Positions of a packed row, W = L + 1: the inputs and the last target, or the mask that BERT4Rec appends."""
        return self.max_length + 1

    @property
    def vocabulary(self) -> int:
        """Rows of an item embedding table: padding id 0, the items, and filling up to `ROW_MULTIPLE`."""
        return padded_rows(self.num_items + 1)


def model_spec(config: ml_collections.ConfigDict, num_items: int, llm_width: int = 0) -> ModelSpec:
    """Checks the `model` section and freezes it.

    Raises:
      UserError: a value that is not among the choices or out of range.
    """
    require(MODEL_RULES, config)
    values: dict[str, Any] = config.model.to_dict()
    values['num_layers'] = values['num_layers'] or USUAL_LAYERS[values['backbone']]
    values['fusion_size'] = values['fusion_size'] or 2 * values['hidden_size']
    if values['aux_loss_weight'] < 0:
        values['aux_loss_weight'] = _usual_weight(values['method'])
    return ModelSpec(num_items=num_items, llm_width=llm_width, **values)

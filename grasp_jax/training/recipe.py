"""The rules of the settings that shape the loss, together with the model that it trains."""

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.config.rules import Config, Rule, among, never, number
from grasp_jax.models.spec import ModelSpec, model_spec
from grasp_jax.training.train_spec import LOSSES


def _spec(config: Config) -> ModelSpec:
    return model_spec(config, num_items=1)


def _softmax_gate(config: Config) -> bool:
    return bool(_spec(config).gate == 'softmax')


RECIPE_RULES: tuple[Rule, ...] = (
    among('train.loss', LOSSES),
    number('train.negatives', lambda value: value >= 1, 'at least 1'),
    number('train.ema_decay', lambda value: 0 <= value < 1, 'at least 0 and below 1'),
    number('train.temperature', lambda value: value > 0, 'above 0'),
    never(lambda config: config.train.negative_popularity < 0 or (
              config.train.negative_popularity and not config.train.shared_negatives),
          lambda config: f'train.negative_popularity={config.train.negative_popularity}: must be 0 or more, and 0 '
                         'unless train.shared_negatives'),
    never(lambda config: config.train.negative_popularity and config.train.loss != 'sampled_softmax', lambda config:
          f'train.negative_popularity={config.train.negative_popularity}: is corrected for in the loss sampled_softmax '
          f'alone; use that, or 0 with {config.train.loss}'),
    never(lambda config: config.model.backbone == 'bert4rec' and not config.train.mask_prob
          and not config.train.mask_last_prob,
          'train.mask_prob=0.0 and train.mask_last_prob=0.0: nothing is hidden, so BERT4Rec has nothing to learn; '
          'raise one of them'),
    never(lambda config: config.train.loss == 'softmax' and _spec(config).items_depend_on_user,
          "train.loss='softmax' needs items that look alike to every user; use model.gate=none or "
          'train.loss=sampled_softmax'),
    never(lambda config: config.train.vector_placement == 'host' and config.train.loss == 'softmax'
          and _spec(config).uses_vectors_in_forward,
          "train.vector_placement='host': train.loss='softmax' scores all items at every step, for which their "
          'vectors must be on the devices; use train.loss=sampled_softmax'),
    never(lambda config: config.train.vector_placement == 'host' and _softmax_gate(config)
          and _spec(config).items_depend_on_user,
          "train.vector_placement='host': model.gate='softmax' would pass over all items twice; use another gate, or "
          'train.vector_placement=device'),
    never(lambda config: config.train.shared_negatives and _softmax_gate(config) and _spec(config).gated,
          "model.gate='softmax' depends on what is scored together; use train.shared_negatives=False"),
)


def require_rules_of_host(config: ml_collections.ConfigDict, spec: ModelSpec) -> None:
    """Refuses what needs the vectors on the devices, where they turn out not to fit (`train.vector_placement=auto`).

    Raises:
      UserError: names the setting and the remedy.
    """
    if config.train.loss == 'softmax':
        raise UserError("train.loss='softmax' scores all items at every step, but the vectors do not fit the "
                        'devices; use train.loss=sampled_softmax')
    if spec.items_depend_on_user and spec.gate == 'softmax':
        raise UserError('model.gate=softmax: is only there with train.vector_placement=device')

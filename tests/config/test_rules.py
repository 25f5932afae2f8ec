"""Rules: each says in one line what is wrong, or nothing; they are asked in order."""

import pytest

from grasp_jax.commands import llm
from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default, rules, settings
from grasp_jax.models.spec import MODEL_RULES, model_spec
from grasp_jax.pipeline.checks import check_config
from grasp_jax.pipeline.rules import RULES, TEXT_RULES
from grasp_jax.training.recipe import RECIPE_RULES


@pytest.mark.parametrize(('rule', 'value', 'said'), [
    (rules.among('train.loss', ('bce', 'gbce')), 'mse', "train.loss='mse': choose one of bce, gbce"),
    (rules.among('train.loss', lambda: ['bce'], rules.UNKNOWN), 'x', "train.loss='x' is not known; choose one of bce"),
    (rules.positive('train.batch_size'), 0, 'train.batch_size=0: must be above 0'),
    (rules.not_negative('data.shop.seed'), -1, 'data.shop.seed=-1: must be 0 or more'),
    (rules.share('train.negative_popularity'), 1.5, 'train.negative_popularity=1.5: must be from 0 to 1'),
    (rules.share('train.negative_popularity'), float('nan'), 'train.negative_popularity=nan: must be from 0 to 1'),
    (rules.positive('train.learning_rate'), float('nan'), 'train.learning_rate=nan: must be above 0'),
    (rules.finite('train'), float('inf'), 'train.weight_decay=inf: must be a finite number'),
    (rules.whole_numbers('train.seeds', 0, '(1, 2)'), (1, 1),
     'train.seeds=(1, 1): give different whole numbers from 0 on, as (1, 2)')])
def test_a_rule_says_what_is_wrong_or_nothing(rule, value, said):
    assert rule(default()) == ''
    assert rule(changed(default(), {said.partition('=')[0]: value})) == said


def test_rules_are_asked_in_order_and_the_first_that_is_broken_speaks():
    asked = []
    first = rules.never(lambda config: asked.append('first'), 'first')
    second = rules.never(lambda config: True, lambda config: f'second of {config.data.kind}')
    third = rules.never(lambda config: asked.append('third'), 'third')
    with pytest.raises(UserError, match='^second of amazon$'):
        rules.require([first, second, third], default())
    assert asked == ['first']
    rules.require([], default())


def test_every_rule_is_kept_by_the_default_and_is_in_one_list():
    everything = [*RULES, *TEXT_RULES]
    assert all(rule(default()) == '' for rule in everything) and len(set(map(id, everything))) == len(everything)
    assert set(MODEL_RULES) < set(RULES) and set(RECIPE_RULES) < set(RULES)
    assert len(everything) >= 80, 'rules were taken out'


def test_a_model_is_refused_alike_with_and_without_the_pipeline():
    config = changed(default(), {'model.num_heads': 3})
    said = []
    for look in (check_config, lambda config: model_spec(config, num_items=5)):
        with pytest.raises(UserError) as caught:
            look(config)
        said.append(str(caught.value))
    assert said == ['model.num_heads=3: must divide model.hidden_size=64'] * 2


def test_usual_sizes_are_taken_where_none_is_given():
    spec = model_spec(changed(default(), {'model.method': 'rlmrec'}), num_items=5)
    assert (spec.num_layers, spec.fusion_size, spec.aux_loss_weight) == (2, 128, 0.01)


def test_names_of_settings_are_those_of_the_config():
    config = default()
    assert all(rules.value_of(config, name) is not None for name in settings.names())


def test_prompts_can_be_shown_without_a_model_and_leave_the_config_alone(tmp_path, capsys):
    config = changed(default(), {
        'data.kind': 'shop', 'data.name': 'shop', 'data.shop.customers': 40, 'data.shop.products': 30,
        'data.min_user': 1, 'data.min_item': 1, 'text.source': 'model', 'text.domain': 'shop'}).lock()
    before = config.to_dict()
    llm.show_prompts(config, tmp_path, 2)
    assert config.to_dict() == before and config.is_locked and 'item' in capsys.readouterr().out

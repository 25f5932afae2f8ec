"""How the rules of a config are written down: each says what is wrong with a config, and nothing where it is kept.

The rules themselves are in `pipeline/rules.py`, in the order in which they are asked.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import ml_collections

from grasp_jax.common.errors import UserError

Config: TypeAlias = ml_collections.ConfigDict
UNKNOWN = '{name}={value!r} is not known; choose one of {choices}'  # of `among`
Rule: TypeAlias = Callable[[Config], str]  # what is wrong, and the remedy, in one line; empty where the rule is kept


def require(rules: Iterable[Rule], config: Config) -> None:
    """Asks rules one after the other.

    Args:
      rules: in the order of asking.
      config: the full config.

    Raises:
      UserError: what the first rule says that is broken.

    Example:
      >>> from grasp_jax.config import default
      >>> require([positive('train.batch_size')], default())  # nothing is wrong
    """
    for rule in rules:
        if said := rule(config):
            raise UserError(said)


def value_of(config: Config, name: str) -> Any:
    """The value of a setting by its dotted name."""
    found: Any = config
    for part in name.split('.'):
        found = found[part]
    return found


def among(name: str, choices: Sequence[str] | Callable[[], Iterable[str]],
          said: str = '{name}={value!r}: choose one of {choices}') -> Rule:
    """A setting is one of some words; `choices` may be a function, of words that are known later."""
    def rule(config: Config) -> str:
        value, known = value_of(config, name), choices() if callable(choices) else choices
        return '' if value in known else said.format(name=name, value=value, choices=', '.join(filter(None, known)))
    return rule


def number(name: str, fits: Callable[[Any], bool], words: str) -> Rule:
    """A number fits, which `words` say after 'must be'."""
    def rule(config: Config) -> str:
        value = value_of(config, name)
        return '' if fits(value) else f'{name}={value}: must be {words}'
    return rule


def positive(name: str) -> Rule:
    """A number is above 0."""
    return number(name, lambda value: value > 0, 'above 0')


def not_negative(name: str) -> Rule:
    """A number is 0 or more."""
    return number(name, lambda value: value >= 0, '0 or more')


def share(name: str) -> Rule:
    """A number is from 0 to 1."""
    return number(name, lambda value: 0 <= value <= 1, 'from 0 to 1')


def finite(section: str) -> Rule:
    """The numbers of a section are finite."""
    def rule(config: Config) -> str:
        wrong = [(key, value) for key, value in config[section].to_dict().items()
                 if isinstance(value, float) and not math.isfinite(value)]
        return f'{section}.{wrong[0][0]}={wrong[0][1]}: must be a finite number' if wrong else ''
    return rule


def whole_numbers(name: str, lowest: int, example: str) -> Rule:
    """A tuple holds different whole numbers from `lowest` on, at least one."""
    def rule(config: Config) -> str:
        values = tuple(value_of(config, name))
        fit = [value for value in values if isinstance(value, int) and value >= lowest]
        if values and len(fit) == len(values) == len(set(values)):
            return ''
        return f'{name}={values}: give different whole numbers from {lowest} on, as {example}'
    return rule


def never(broken: Callable[[Config], Any], said: str | Callable[[Config], str]) -> Rule:
    """Settings that do not go together.

    Args:
      broken: whether they stand together here.
      said: what is said then.

    Returns:
      the rule.
    """
    def rule(config: Config) -> str:
        return '' if not broken(config) else said(config) if callable(said) else said
    return rule


def asked(look: Callable[[Config], Any]) -> Rule:
    """What another function refuses with a UserError of its own, as it reads what it looks at."""
    def rule(config: Config) -> str:
        look(config)
        return ''
    return rule

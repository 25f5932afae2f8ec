"""The flags --config and --recipe: which config file a command reads, under which recipe, with which settings changed.

Settings are changed as --config.train.max_epochs=5. Of a flag that is given twice the last one holds, as a shell script
that adds flags of its own expects; this also goes for tuples, whose values `ml_collections` would add up.
"""

import logging
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import ml_collections
from absl import flags
from ml_collections import config_flags

from grasp_jax.common.errors import UserError
from grasp_jax.config import old_keys, recipes

LOG = logging.getLogger(__name__)
_SETTING = re.compile(r'--?(?P<name>config\.[^=]+)(=.*)?', re.DOTALL)
flags.disclaim_key_flags()  # a flag that is defined here is its caller's, whose --help shows it


def define_config(words: str) -> Any:
    """Defines --config and --recipe for the command that calls this; returns the holder of --config.

    Args:
      words: what --help says of the config.
    """
    flags.DEFINE_enum(
        'recipe', None, sorted(recipes.RECIPES), 'How training is done, instead of the usual recipe of the '
        'config file: paper (as the paper trains) or strong (for good lists; what configs/own_data.py has).')
    return config_flags.DEFINE_config_file('config', None, words, lock_config=True)


def parse(argv: Sequence[str]) -> list[str]:
    """Reads all flags and the config file that they name, under --recipe where it is given.

    Args:
      argv: the command line, its first entry the program.

    Returns:
      what is left of it.

    Raises:
      UserError: the config file names another recipe than --recipe does, or passes it over.
    """
    with recipes.flagged(_asked_recipe(argv)):
        rest: list[str] = flags.FLAGS(_last_ones(argv), known_only=False)
    config, recipe = flags.FLAGS.config, flags.FLAGS.recipe
    if recipe and isinstance(config, ml_collections.ConfigDict) and _recipe_of(config) != recipe:
        raise UserError(f'--recipe={recipe}: the config file does not begin with grasp_jax.config.default(), which '
                        'takes it; name the recipe in that file')
    return rest


def config_name() -> str:
    """A short name of the config: its file, its variant and the recipe that was asked for."""
    path, _, variant = config_flags.get_config_filename(flags.FLAGS['config']).partition(':')
    recipe = flags.FLAGS.recipe or ''
    named = [variant] if recipe in variant.split(',') else [variant, recipe]
    return '_'.join(filter(None, [pathlib.Path(path).stem, ','.join(filter(None, named))]))


def require_config_file(holder: Any, example: str) -> None:
    """Refuses a command line without a config file, or with one that makes no config.

    Args:
      holder: of the flag `--config`.
      example: of a config.

    Raises:
      UserError: says what is wrong with it.
    """
    if holder.value is None:
        raise UserError(f'--config is missing: name a config file, as --config={example}')
    path = config_flags.get_config_filename(flags.FLAGS['config']).partition(':')[0]
    if not pathlib.Path(path).is_file():
        raise UserError(f'--config={path}: there is no such file; configs/ has some to start from')
    if not isinstance(holder.value, ml_collections.ConfigDict):
        raise UserError(f'--config={path}: its get_config() returns no ConfigDict; see configs/demo.py')
    name = config_flags.get_override_values(flags.FLAGS['config']).get('train.recipe')
    if name in recipes.RECIPES and name != flags.FLAGS.recipe:
        raise UserError(f'--config.train.recipe={name}: is the name in reports and changes no setting; take the recipe '
                        f'with --recipe={name}')


def _asked_recipe(argv: Sequence[str]) -> str:
    """The value of --recipe, which has to be known while the flags before it are read; the last one of several."""
    found = ''
    for place, word in enumerate(argv):
        if word == '--':
            break
        if match := re.fullmatch(r'--?recipe(?:=(.*))?', word):
            found = match[1] if match[1] is not None else ''.join(argv[place + 1:place + 2])
    return found if found in recipes.RECIPES else ''  # others are refused as the flag is read


def _recipe_of(config: ml_collections.ConfigDict) -> Any:
    """The recipe that a config began with; a name of one's own may have been put over it."""
    own = config_flags.get_override_values(flags.FLAGS['config']).get('train.recipe')
    return flags.FLAGS.recipe if own else config.get('train', {}).get('recipe')


def _last_ones(argv: Sequence[str]) -> list[str]:
    """The command line without settings of the config that are given again further on, which is said."""
    words: list[str] = []
    for word in argv:  # a value may be a word of its own
        if words and _SETTING.fullmatch(words[-1]) and '=' not in words[-1] and not word.startswith('--'):
            words[-1] += f'={word}'
        else:
            words.append(word)
    given: dict[str, list[int]] = {}
    for place, word in enumerate(words):
        if match := _SETTING.fullmatch(word):
            if now := old_keys.RENAMED.get(match['name'].removeprefix('config.')):
                raise UserError(f'--{match["name"]}: is called --config.{now} now')
            given.setdefault(match['name'], []).append(place)
    for name, places in given.items():
        if len(places) > 1:
            LOG.warning('--%s: is given %d times; the last one holds, %s', name, len(places),
                        words[places[-1]].partition('=')[2])
    passed_over = {place for places in given.values() for place in places[:-1]}
    return [word for place, word in enumerate(words) if place not in passed_over]

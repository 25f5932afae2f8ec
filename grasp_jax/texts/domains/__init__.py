"""How the texts and prompts of a domain are worded: one small TOML file each.

Entries of a file:

| entry | what it says |
|---|---|
| `version` | goes up whenever a wording changes, so that texts made before can be told apart |
| `item` | what an item is called, as 'beauty item' |
| `fields` | [label, attribute] pairs of the list of attributes; 'unknown' where an item has none |
| `sentences` | [label, attribute] pairs, one sentence each |
| `extra` | whether all other attributes are listed too, sorted by name, where an item has them |
| `model.item_system`, `model.user_system` | who the language model is told to be |
| `model.item_request`, `model.user_request` | what is asked of it behind the filled template |
| `model.keep_after` | of an answer only what follows the last such mark is kept (empty: all) |
"""

import dataclasses
import pathlib
import tomllib
from typing import Any

from grasp_jax.common.errors import UserError

_HERE = pathlib.Path(__file__).parent
NAMES = tuple(sorted(path.stem for path in _HERE.glob('*.toml')))
_KINDS: dict[str, type] = {'version': int, 'item': str, 'fields': list, 'sentences': list, 'extra': bool}


@dataclasses.dataclass(frozen=True)
class Domain:
    """The entries of a file, see above."""

    version: int
    item: str
    fields: tuple[tuple[str, str], ...]
    sentences: tuple[tuple[str, str], ...]
    extra: bool = False
    item_system: str = ''
    item_request: str = ''
    user_system: str = ''
    user_request: str = ''
    keep_after: str = ''


def load(name: str) -> Domain:
    """Reads a domain.

    Args:
      name: one of `NAMES`, or the path of a TOML file.

    Raises:
      UserError: there is no such domain, or its file is wrong.
    """
    path = path_of(name)
    try:
        found = tomllib.loads(path.read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UserError(f'text.domain={name!r}: cannot be read ({error})') from error
    return _checked(found, path)


def path_of(name: str) -> pathlib.Path:
    """The file of a domain.

    Raises:
      UserError: there is no such domain.
    """
    if name in NAMES:
        return _HERE / f'{name}.toml'
    if name.endswith('.toml') and pathlib.Path(name).is_file():
        return pathlib.Path(name)
    raise UserError(f'text.domain={name!r} is not known; choose one of {", ".join(NAMES)}, or give the path '
                    'of a .toml file like grasp_jax/texts/domains/shop.toml')


def _checked(found: dict[str, Any], path: pathlib.Path) -> Domain:
    model = found.pop('model', {})
    known = {field.name for field in dataclasses.fields(Domain)}
    if not isinstance(model, dict):
        raise UserError(f'{path}: model must be a table, as [model]')
    for key in (*found, *model):
        if key not in known or (key in model) == (key in _KINDS):
            raise UserError(f'{path}: there is no entry {key!r} at that place; see '
                            'grasp_jax/texts/domains/shop.toml')
    for key, kind in _KINDS.items():
        if key in found and type(found[key]) is not kind or key not in found and key != 'extra':
            raise UserError(f'{path}: {key} must be there and a {kind.__name__}')
    for key, value in model.items():
        if not isinstance(value, str):
            raise UserError(f'{path}: model.{key} must be text')
    pairs = {key: tuple(_pair(pair, f'{path}: {key}') for pair in found[key]) for key in ('fields', 'sentences')}
    return Domain(**{**found, **pairs}, **model)


def _pair(pair: Any, where: str) -> tuple[str, str]:
    if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
        raise UserError(f'{where}: {pair!r} is no pair of a label and an attribute, as ["name", "title"]')
    return pair[0], pair[1]

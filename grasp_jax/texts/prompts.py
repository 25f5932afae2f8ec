"""Texts about items and users: the paper's templates, filled in, and the prompts that are made of them.

No language model is called here: the filled template is a valid text by itself, and the heart of the prompt where one
is. A user's text is made from the training part of the history only.
"""

import collections.abc
import dataclasses
import functools
from typing import Any

from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import Lazy
from grasp_jax.data.dataset import Dataset
from grasp_jax.texts import domains
from grasp_jax.texts.domains import Domain

UNKNOWN = 'unknown'
NO_ITEMS = 'none'
_TITLES = 1 << 16  # that are kept in memory while texts of users are filled in


def item_texts(dataset: Dataset, domain: str, max_chars: int) -> Lazy[str]:
    """One text per item, entry r about item r + 1, cut at its end where it is longer than `max_chars`; filled in when
    it is asked for.

    Raises:
      UserError: the domain is not known, or `max_chars` is less than 1.
    """
    spec = _domain(domain, max_chars)
    attributes = dataset.item_attributes
    return Lazy(len(attributes), lambda row: cut(item_text(attributes[row], spec), max_chars))


def user_texts(dataset: Dataset, domain: str, max_chars: int, history: str = 'train',
               held_out: int = 0) -> Lazy[str]:
    """One text per user: profile, titles of the training items (newest first) and the request; filled in when it is
    asked for.

    A longer text than `max_chars` loses whole titles from the old end; profile and request always stay whole.

    Args:
      dataset: the prepared data set.
      domain: a domain's name or file.
      max_chars: of a text.
      history: 'train', or 'all' to see what a leak is worth.
      held_out: newest items of that history that are not named.

    Raises:
      UserError: the domain is not known; or, of a text, `max_chars` has no room for profile, request and one title.
    """
    spec, interactions = _domain(domain, max_chars), dataset.interactions
    title_of = functools.lru_cache(_TITLES)(lambda item: title(dataset.item_attributes[item - 1]))

    def text(user: int) -> str:
        known = interactions.sequence(user, 'train') if history == 'train' else interactions.full_sequence(user)
        titles = [title_of(item) for item in known[::-1][held_out:].tolist()]
        try:
            return user_text(dataset.user_attributes[user], titles, spec, max_chars)
        except UserError:  # of the file of the profiles
            raise
        except ValueError as error:
            raise UserError(f'user {dataset.user_ids[user]!r}: {error}; raise text.max_chars') from error

    return Lazy(dataset.interactions.num_users, text)


def without(dataset: Dataset, names: str) -> Dataset:
    """The data set less the attributes of items and users that a comma-separated list names."""
    left_out = listed(names)
    if not left_out:
        return dataset

    def kept(attributes: collections.abc.Sequence[dict[str, Any]]) -> Lazy[dict[str, Any]]:
        return Lazy(len(attributes), lambda row: less(attributes[row], left_out))

    return dataclasses.replace(dataset, item_attributes=kept(dataset.item_attributes),
                               user_attributes=kept(dataset.user_attributes))


def listed(names: str) -> frozenset[str]:
    """The names of a comma-separated list."""
    return frozenset(filter(None, map(str.strip, names.split(','))))


def less(attributes: collections.abc.Mapping[str, Any], names: collections.abc.Set[str]) -> dict[str, Any]:
    """Attributes but for some."""
    return {name: value for name, value in attributes.items() if name not in names}


def item_text(attributes: collections.abc.Mapping[str, Any], domain: Domain) -> str:
    """The filled template of one item.

    Example:
      >>> item_text({'title': 'Brass bell', 'brand': 'Ding'}, domains.load('shop'))
      'The item has the following attributes: name is Brass bell; brand is Ding.'
    """
    filled = [(label, clean(attributes.get(name)) or UNKNOWN) for label, name in domain.fields]
    if domain.extra:
        listed = {name for _, name in domain.fields + domain.sentences}
        filled += _present(attributes, without=listed)
    text = f'The {domain.item} has the following attributes: {_listed(filled)}.'
    for label, name in domain.sentences:
        text += f' The item has the following {label}: {clean(attributes.get(name)) or UNKNOWN}.'
    return text


def user_text(profile: collections.abc.Mapping[str, Any], newest_first: collections.abc.Sequence[str],
              domain: Domain, max_chars: int) -> str:
    """The filled template of one user.

    Args:
      profile: profile fields; those without a value are left out.
      newest_first: titles of the visited items.
      domain: the words to use.
      max_chars: length at which titles are dropped from the old end.

    Raises:
      ValueError: there is no room for profile, request and a piece of the newest title.

    Example:
      >>> text = user_text({'city': 'Bern'}, ['Brass bell', 'Pump'], domains.load('shop'), max_chars=1000)
      >>> text.split('. ')[1]
      'The user has visited the following items, newest first: Brass bell; Pump'
    """
    fields = _present(profile)
    head = f'The user has the following profile: {_listed(fields)}. ' if fields else ''
    head += f'The user has visited the following {domain.item}s, newest first: '
    request = '. Please conclude the preference of the user.'
    room = max_chars - len(head) - len(request)
    kept: list[str] = []
    used = 0
    for name in newest_first or [NO_ITEMS]:
        used += len(name) + (2 if kept else 0)
        if used > room:
            break
        kept.append(name)
    if not kept:
        # Not even the newest title fits whole: its beginning says more about the user than nothing does.
        if room < 1:
            raise ValueError(f'a text of {max_chars} characters has no room for profile, request and one title')
        kept = [cut(newest_first[0] if newest_first else NO_ITEMS, room)]
    return head + '; '.join(kept) + request


def item_messages(text: str, domain: Domain) -> list[dict[str, str]]:
    """What a language model is asked about an item whose filled template is `text`."""
    return _messages(domain.item_system, text, domain.item_request)


def user_messages(text: str, domain: Domain) -> list[dict[str, str]]:
    """What a language model is asked about a user whose filled template is `text`."""
    return _messages(domain.user_system, text, domain.user_request)


def title(attributes: collections.abc.Mapping[str, Any]) -> str:
    """An item's title on one line, 'unknown' where it has none."""
    return clean(attributes.get('title')) or UNKNOWN


def title_or_id(dataset: Dataset, item: int) -> str:
    """What people are shown of an item, by its number: its title on one line, or its id where it has none."""
    return clean(dataset.item_attributes[item - 1].get('title')) or dataset.item_ids[item - 1]


def clean(value: Any) -> str:
    """An attribute as text on one line: lists and mappings flattened, missing values empty."""
    if value is None or value != value:  # NaN is a missing value of tables
        return ''
    if isinstance(value, collections.abc.Mapping):
        value = [f'{key} {clean(value[key])}' for key in sorted(value, key=str) if clean(value[key])]
    if isinstance(value, list | tuple):
        return '; '.join(part for part in map(clean, value) if part)
    return ' '.join(str(value).split())


def _messages(system: str, text: str, request: str) -> list[dict[str, str]]:
    told = [{'role': 'system', 'content': system}] if system else []
    return [*told, {'role': 'user', 'content': f'{text} {request}'.strip()}]


def _present(attributes: collections.abc.Mapping[str, Any],
             without: collections.abc.Set[str] = frozenset()) -> list[tuple[str, str]]:
    values = ((name, clean(attributes[name])) for name in sorted(attributes) if name not in without)
    return [(clean(name.replace('_', ' ')), value) for name, value in values if value]


def _listed(fields: collections.abc.Iterable[tuple[str, str]]) -> str:
    return '; '.join(f'{label} is {value}' for label, value in fields)


def cut(text: str, length: int) -> str:
    """The longest beginning of at most `length` characters that ends with a whole word, if any word fits."""
    if len(text) <= length:
        return text
    return text[:length + 1].rpartition(' ')[0].rstrip() or text[:length]


def _domain(name: str, max_chars: int) -> Domain:
    if max_chars < 1:
        raise UserError(f'text.max_chars={max_chars} leaves no text; give at least some hundred characters')
    return domains.load(name)

"""What the model can read of new items: attributes that the items of the run have, and words that its encoder knows."""

import collections
import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

from grasp_jax.common.errors import UserError
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.new_items import TEXT, Record
from grasp_jax.texts import domains
from grasp_jax.texts.prompts import clean, item_text, listed
from grasp_jax.vectors.encoders import encoder_of

_SHOWN = 8  # names in a message
_TITLE = 'title'


@dataclasses.dataclass(frozen=True)
class Attributes:
    """Attributes of the items of a run.

    Attributes:
      counts: how many items have each.
      used: those that texts are made of, the title first, then those that most items have.
      items: m.
    """

    counts: Mapping[str, int]
    used: Sequence[str]
    items: int

    def own(self, name: str) -> str | None:
        """The name as the run writes it, case aside; None where none of its items has the attribute."""
        return name if name in self.counts else self._folded.get(name.casefold())

    @functools.cached_property
    def _folded(self) -> dict[str, str]:
        return {name.casefold(): name for name in self.counts}


def attributes_of(assets: Assets) -> Attributes:
    """Reads the attributes of all items."""
    counts = collections.Counter(name for attributes in assets.item_attributes for name in attributes)
    domain, left_out = domains.load(assets.config.text.domain), listed(assets.config.text.get('leave_out', ''))
    worded = {name for _, name in domain.fields + domain.sentences}
    used = [name for name, _ in counts.most_common() if name not in left_out and (domain.extra or name in worded)]
    return Attributes(counts, sorted(used, key=lambda name: name != _TITLE), len(assets.item_attributes))


def readable(assets: Assets, attributes: Attributes, rows: Sequence[Record],
             vectors_given: bool) -> tuple[list[Record], list[str]]:
    """New items with the attributes that the model reads.

    Args:
      assets: of the run.
      attributes: of its items.
      rows: ids and attributes of the new items.
      vectors_given: whether their vectors come from elsewhere, so that no text is needed.

    Returns:
      the items, and warnings: attributes that no item of the run has, titles that are missing or say nothing.

    Raises:
      UserError: an item has no attribute that texts are made of, or none of its words is known.
    """
    found = [(identity, {own: value for name, value in values.items()
                         if (own := name if name == TEXT else attributes.own(name))}) for identity, values in rows]
    encoder = encoder_of(assets.config)
    warnings = [*_unknown(attributes, rows), *_untitled(attributes, found)]
    if not vectors_given and encoder.reads_texts:
        _require_attributes(attributes, rows, found)
        warnings += _require_words(assets, attributes, found)
    return found, warnings


def _unknown(attributes: Attributes, rows: Sequence[Record]) -> list[str]:
    if not attributes.counts:
        return []
    strange = collections.Counter(name for _, values in rows for name in values
                                  if name != TEXT and attributes.own(name) is None)
    if not strange:
        return []
    named = ', '.join(repr(name) for name, _ in strange.most_common(_SHOWN))
    return [f'new items: no item of the run has {named} (here {max(strange.values())} of {len(rows)} new items do), so '
            f'the model does not read it; they have {_names(attributes.counts)}: write it alike, or leave it out']


def _untitled(attributes: Attributes, rows: Sequence[Record]) -> list[str]:
    lacking = [identity for identity, values in rows if _TITLE not in values]
    if not lacking or 2 * attributes.counts.get(_TITLE, 0) < attributes.items:
        return []
    return [f'new item {lacking[0]!r}: has no title ({len(lacking)} of {len(rows)} new items have none), and stands in '
            'lists without a name; give a title, as other items have']


def _require_attributes(attributes: Attributes, rows: Sequence[Record], found: Sequence[Record]) -> None:
    bare = [place for place, (_, values) in enumerate(found)
            if TEXT not in values and not any(name in values for name in attributes.used)]
    if bare:
        identity, values = rows[bare[0]]
        has = f'it has {_names(values)}' if values else 'it has nothing but its id'
        raise UserError(f'new item {identity!r} ({len(bare)} of {len(rows)} are so): has no value for any attribute '
                        f'that texts of the items are made of, which are {_names(attributes.used)}; {has}: write the '
                        'names alike, and give the values')


def _require_words(assets: Assets, attributes: Attributes, rows: Sequence[Record]) -> list[str]:
    """Refuses items without a known word; warns of titles without any."""
    encoder, folder = encoder_of(assets.config), assets.stages / 'encode'
    frame = item_text(dict.fromkeys(attributes.used, '.'), domains.load(assets.config.text.domain))
    texts = [clean(values.get(TEXT)) or '; '.join(clean(values[name]) for name in attributes.used if name in values)
             for _, values in rows]
    titled = [(identity, clean(values[_TITLE])) for identity, values in rows if _TITLE in values and TEXT not in values]
    says = encoder.reads_words(folder, [*texts, *(title for _, title in titled)], frame)
    empty = [identity for (identity, _), known in zip(rows, says, strict=False) if not known]
    if empty:
        raise UserError(f'new item {empty[0]!r} ({len(empty)} of {len(rows)} are so): its text says nothing to the '
                        f'encoder {assets.config.encode.kind}; give a title or a description with words that other '
                        'items have')
    dumb = [each for each, known in zip(titled, says[len(rows):], strict=True) if not known]
    return [f'new item {dumb[0][0]!r}: no item of the run has a word of its title {dumb[0][1][:60]!r} ({len(dumb)} of '
            f'{len(rows)} new items are so), so that only its other attributes count; give a title with words that '
            'other items have'] if dumb else []


def _names(names: Any) -> str:
    shown = [str(name) for name in names][:_SHOWN]
    return ', '.join(shown) + (' and others' if len(list(names)) > _SHOWN else '')

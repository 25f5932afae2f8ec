"""Amazon review dumps of 2014, 2018 and 2023, as the McAuley lab publishes them.

Sources: He and McAuley 2016 (2014), Ni, Li and McAuley 2019 (2018), Hou et al. 2024 (2023).
"""

import array
import ast
import collections.abc
import dataclasses
import json
import logging
import math
import pathlib
import re
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common import json_lines
from grasp_jax.common.errors import UserError
from grasp_jax.data import attributes, interaction_log, plain_text

LOG = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where a year's dump keeps what is needed.

    Attributes:
      user: field of a review that names the user.
      item: field of reviews and metadata that names the item.
      time: field of a review with its time (seconds; milliseconds in 2023).
      brand: field of the metadata with the brand.
      features: field of the metadata with the list of features.
      reviews: name of the file with all reviews, `{}` standing for the category.
      core: name of the file with the published 5-core, or an empty string.
      metadata: name of the metadata file.
    """

    user: str
    item: str
    time: str
    brand: str
    features: str
    reviews: str
    core: str
    metadata: str


LAYOUTS = {
    '2014': Layout('reviewerID', 'asin', 'unixReviewTime', 'brand', 'feature',
                   'reviews_{}.json.gz', 'reviews_{}_5.json.gz', 'meta_{}.json.gz'),
    '2018': Layout('reviewerID', 'asin', 'unixReviewTime', 'brand', 'feature',
                   '{}.json.gz', '{}_5.json.gz', 'meta_{}.json.gz'),
    '2023': Layout('user_id', 'parent_asin', 'timestamp', 'store', 'features',
                   '{}.jsonl.gz', '', 'meta_{}.jsonl.gz'),
}
# In the 2014 and 2018 dumps some price fields hold a piece of the shop's style sheet.
_PRICE = re.compile(r'\$?\s*\d[\d.,]*(\s*-\s*\$?\s*\d[\d.,]*)?$')
_OF_2018 = frozenset(('verified', 'vote', 'style', 'image', 'category', 'feature', 'also_buy', 'also_view', 'main_cat'))
_LITERAL_ITEM = re.compile(rb"""^\{.*?['"]asin['"]: ?['"]([^'"]+)['"]""")


def layout_of(config: ml_collections.ConfigDict) -> Layout:
    """The layout that the `data` section names.

    Raises:
      UserError: there is no such layout.
    """
    if config.layout not in LAYOUTS:
        raise UserError(f'data.layout is {config.layout!r}; choose one of {", ".join(LAYOUTS)}')
    return LAYOUTS[config.layout]


def review_names(config: ml_collections.ConfigDict) -> list[str]:
    """File names under which the reviews may lie, the preferred one first.

    The published 5-core is used only where a k-core of at least 5 is asked for, which it does not change.
    """
    if config.interactions_file:
        return [config.interactions_file]
    layout = layout_of(config)
    names = [layout.core, layout.reviews] if wants_core(config) else [layout.reviews]
    return _variants([name for name in names if name], config.category) + ['reviews.jsonl.gz', 'reviews.jsonl']


def metadata_names(config: ml_collections.ConfigDict) -> list[str]:
    """File names under which the metadata may lie, the preferred one first."""
    if config.items_file:
        return [config.items_file]
    return _variants([layout_of(config).metadata], config.category) + ['meta.jsonl.gz', 'meta.jsonl']


def wants_core(config: ml_collections.ConfigDict) -> bool:
    """Whether the published 5-core serves as well as the full file."""
    return config.filter == 'k_core' and min(config.min_user, config.min_item) >= 5


def _variants(names: list[str], category: str) -> list[str]:
    """Each name of the category as published and unpacked."""
    filled = [name.format(category) for name in names] if category else []
    return [variant for name in filled for variant in (name, name.removesuffix('.gz'))]


def read_reviews(path: pathlib.Path, layout: Layout) -> interaction_log.InteractionLog:
    """Reads the reviews of a dump.

    Args:
      path: one review a line, plain or gzipped.
      layout: names of the fields.

    Raises:
      UserError: the file cannot be read, holds no review or those of another layout, or a row lacks its user, item or a
        numeric time.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    columns = array.array('l'), array.array('l'), array.array('q')
    for row, record in json_lines.read_objects(path, lambda line: _parse_review(line, path)):
        user, item, time = record.get(layout.user), record.get(layout.item), record.get(layout.time)
        if not user or not item or type(user) is not str or type(item) is not str:
            field = layout.item if user and type(user) is str else layout.user
            _refuse_other_layout(record, layout, (layout.user, layout.item, layout.time), f'{path}, line {row}')
            raise UserError(f'{path}, line {row}: {field} is {record.get(field)!r}, not an id; '
                            'give it or delete this line')
        if type(time) is not int or abs(time) >= 2**63:
            _refuse_other_layout(record, layout, (layout.user, layout.item, layout.time), f'{path}, line {row}')
            time = _whole_number(time, f'{path}, line {row}: {layout.time}')
        columns[0].append(users.setdefault(user, len(users)))
        columns[1].append(items.setdefault(item, len(items)))
        columns[2].append(time)
    if not users:
        raise UserError(f'{path}: holds no interactions; fetch it again or name another file')
    return interaction_log.from_codes(np.array(columns[0]), np.array(columns[1]), np.array(columns[2], np.int64),
                                      list(users), list(items))


def _parse_review(line: bytes, path: pathlib.Path) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        _refuse_table(line, path)
        raise


def _refuse_table(line: bytes, path: pathlib.Path) -> None:
    """Refuses a line of a table, as the ratings that are published beside the reviews."""
    text = line[:60].decode('utf-8', 'replace').strip()
    if text[:1] not in ('{', '[') and line.count(b',') >= 2:
        raise UserError(f'{path}: is a table with commas ({text!r}), no dump with one object a line; use '
                        'data.kind=table and name its columns with data.user_column, item_column and '
                        'time_column')


def _refuse_other_layout(record: dict[str, Any], layout: Layout, fields: tuple[str, ...], where: str) -> None:
    """Names the layout that a line is of, where it is of another one than was asked for.

    Args:
      record: the line.
      layout: the one that was asked for.
      fields: those of it that the line should have.
      where: file and line.

    Raises:
      UserError: it has all fields of another layout, or it is no review but a product.
    """
    asked = next(year for year, known in LAYOUTS.items() if known == layout)
    for year in ('2023', '2018' if _OF_2018 & set(record) else '2014'):
        other = LAYOUTS[year]
        others = tuple(getattr(other, name) for name in ('user', 'item', 'time') if getattr(layout, name) in fields)
        if others != fields and all(name in record for name in others):
            raise UserError(f'{where}: has the fields of the layout {year} ({", ".join(others)}), not of {asked} '
                            f'({", ".join(fields)}); use data.layout={year}, and the files of one layout')
    if len(fields) > 1 and not {layout.user, layout.time} & set(record) and {'title', 'description'} & set(record):
        raise UserError(f'{where}: describes a product (its fields are {", ".join(list(record)[:6])}), it is no '
                        'review; name the file with the reviews with data.interactions_file and this one with '
                        'data.items_file')
    if not set(fields) & set(record):
        raise UserError(f'{where}: has none of the fields {", ".join(fields)} of the layout {asked} (it has '
                        f'{", ".join(list(record)[:6])}); choose another data.layout, or read your own file '
                        'with data.kind=table')


def _whole_number(value: Any, where: str) -> int:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number) or abs(number) >= 2**63:
        raise UserError(f'{where} is {value!r}, not a number; correct it or delete this line')
    return int(number)


def read_metadata(path: pathlib.Path, layout: Layout,
                  wanted: collections.abc.Collection[str]) -> dict[str, dict[str, Any]]:
    """Reads the attributes of items.

    Of several descriptions of an item the fullest counts, of equally full ones the first.

    Args:
      path: one product a line, JSON or (2014) a Python literal, plain or gzipped.
      layout: names of the fields.
      wanted: ids of the items to read; the other lines are passed over.

    Returns:
      For each item that was found, those of title, brand, price, description (str), categories and features
      (lists of str) that it has.

    Raises:
      UserError: the file cannot be read, is of another layout, or a line lacks its item.
    """
    wanted = frozenset(wanted)
    described = attributes.Fullest()
    for row, record in json_lines.read_objects(path, lambda line: _parse(line, wanted, path)):
        item = record.get(layout.item)
        if not item or not isinstance(item, str):
            _refuse_other_layout(record, layout, (layout.item,), f'{path}, line {row}')
            raise UserError(f'{path}, line {row}: {layout.item} is {item!r}, not an id; give it or delete this line')
        if item in wanted:
            described.add(row, item, _attributes(record, layout))
    described.warn(path, 'line', 'an item')
    found = described.found
    if len(found) < len(wanted) / 2:
        LOG.warning('%s: describes %d of the %d items in the reviews, not %r; if it is the file of another category, '
                    'name the right one with data.items_file', path, len(found), len(wanted),
                    min(wanted - found.keys()))
    return plain_text.clean(found, path)


def described_items(path: pathlib.Path, layout: Layout) -> list[str]:
    """Ids of all products of a metadata file, each once, in the file's order.

    Raises:
      UserError: the file cannot be read.
    """
    def read(line: bytes) -> Any:
        match = None if line.lstrip()[:2] == b'{"' else _LITERAL_ITEM.match(line)
        return {layout.item: match.group(1).decode('utf-8', 'replace')} if match else _parse(line, frozenset(), path)

    found = (record.get(layout.item) for _, record in json_lines.read_objects(path, read))
    return list(dict.fromkeys(item for item in found if item and isinstance(item, str)))


def _parse(line: bytes, wanted: frozenset[str], path: pathlib.Path) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        _refuse_table(line, path)
        # Reading a literal costs a hundred times as much, so lines of other items are passed over unread.
        match = _LITERAL_ITEM.match(line)
        if match and match.group(1).decode('utf-8', 'replace') not in wanted and line.rstrip().endswith(b'}'):
            return None
        return ast.literal_eval(json_lines.without_halves(line.decode('utf-8', 'surrogatepass')))


def _attributes(record: dict[str, Any], layout: Layout) -> dict[str, Any]:
    brand = _text(record.get(layout.brand))
    if not brand:
        details = _read(record.get('details'))
        brand = ' '.join(_texts(details.get('Brand'))) if isinstance(details, dict) else ''
    price = _text(record.get('price'))
    found = {
        'title': _text(record.get('title')),
        'brand': brand,
        'price': price if _PRICE.match(price) else '',
        'categories': _texts(record.get('categories') or record.get('category')),
        'features': _texts(record.get(layout.features)),
        'description': ' '.join(_texts(record.get('description'))),
    }
    return {name: value for name, value in found.items() if value}


def _read(value: Any) -> Any:
    """A value, or what stands in it where it is a list or an object written as text, in JSON or as Python does."""
    if not isinstance(value, str) or value.strip()[:1] + value.strip()[-1:] not in ('[]', '{}'):
        return value
    for read in (json.loads, ast.literal_eval):
        try:
            return read(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return value


def _text(value: Any) -> str:
    """One line of plain text; entities and tags of the shop's pages are undone."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool) or value != value:
        return ''
    return ' '.join(plain_text.plain(str(value)).split())


def _texts(value: Any) -> list[str]:
    """Flattens text or nested lists of text (2014 categories are lists of paths), without repeats."""
    value = _read(value)
    if isinstance(value, list):
        return list(dict.fromkeys(text for part in value for text in _texts(part)))
    text = _text(value)
    return [text] if text else []

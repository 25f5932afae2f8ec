"""Amazon review dumps of 2014, 2018 and 2023, as the McAuley lab publishes them.

Sources: He and McAuley 2016 (2014), Ni, Li and McAuley 2019 (2018), Hou et al. 2024 (2023).
"""

import array
import ast
import collections.abc
import dataclasses
import html
import json
import math
import pathlib
import re
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.data import json_lines, log
from grasp_jax.errors import UserError


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
_TAG = re.compile(r'<[^<>]{1,200}>')
_LITERAL_ITEM = re.compile(rb"""^\{.*?['"]asin['"]: ?['"]([^'"]+)['"]""")


def layout_of(config: ml_collections.ConfigDict) -> Layout:
    """The layout that the `data` section names.

    Raises:
      UserError: there is no such layout.
    """
    if config.layout not in LAYOUTS:
        raise UserError(f'config.data.layout is {config.layout!r}; choose one of {", ".join(LAYOUTS)}')
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


def read_reviews(path: pathlib.Path, layout: Layout) -> log.InteractionLog:
    """Reads the reviews of a dump.

    Args:
      path: one review a line, plain or gzipped.
      layout: names of the fields.

    Raises:
      UserError: the file cannot be read, holds no review, or a row lacks its user, item or a numeric time.
    """
    users: dict[str, int] = {}
    items: dict[str, int] = {}
    columns = array.array('l'), array.array('l'), array.array('q')
    for row, record in json_lines.read_objects(path):
        user, item, time = record.get(layout.user), record.get(layout.item), record.get(layout.time)
        if not user or not item or type(user) is not str or type(item) is not str:
            field = layout.item if user and type(user) is str else layout.user
            raise UserError(f'{path}, line {row}: {field} is {record.get(field)!r}, not an id; '
                            'give it or delete this line')
        if type(time) is not int or abs(time) >= 2**63:
            time = _whole_number(time, f'{path}, line {row}: {layout.time}')
        columns[0].append(users.setdefault(user, len(users)))
        columns[1].append(items.setdefault(item, len(items)))
        columns[2].append(time)
    if not users:
        raise UserError(f'{path}: holds no interactions; fetch it again or name another file')
    return log.from_codes(np.array(columns[0]), np.array(columns[1]), np.array(columns[2], np.int64),
                          list(users), list(items))


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

    Args:
      path: one product a line, JSON or (2014) a Python literal, plain or gzipped.
      layout: names of the fields.
      wanted: ids of the items to read; the other lines are passed over.

    Returns:
      For each item that was found, those of title, brand, price, description (str), categories and features
      (lists of str) that it has.

    Raises:
      UserError: the file cannot be read, a line lacks its item, or an item is described twice and differently.
    """
    wanted = frozenset(wanted)
    found: dict[str, dict[str, Any]] = {}
    rows: dict[str, int] = {}
    for row, record in json_lines.read_objects(path, lambda line: _parse(line, wanted)):
        item = record.get(layout.item)
        if not item or not isinstance(item, str):
            raise UserError(f'{path}, line {row}: {layout.item} is {item!r}, not an id; give it or delete this line')
        if item not in wanted:
            continue
        attributes = _attributes(record, layout)
        if found.setdefault(item, attributes) != attributes:
            raise UserError(f'{path}, line {row}: describes {layout.item} {item!r} again and differently from '
                            f'line {rows[item]}; delete one of the two lines')
        rows.setdefault(item, row)
    return found


def _parse(line: bytes, wanted: frozenset[str]) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        # Reading a literal costs a hundred times as much, so lines of other items are passed over unread.
        match = _LITERAL_ITEM.match(line)
        if match and match.group(1).decode('utf-8', 'replace') not in wanted and line.rstrip().endswith(b'}'):
            return None
        return ast.literal_eval(json_lines.without_halves(line.decode('utf-8', 'surrogatepass')))


def _attributes(record: dict[str, Any], layout: Layout) -> dict[str, Any]:
    details = record.get('details')
    brand = record.get(layout.brand) or (details.get('Brand') if isinstance(details, dict) else None)
    price = _text(record.get('price'))
    found = {
        'title': _text(record.get('title')),
        'brand': _text(brand),
        'price': price if _PRICE.match(price) else '',
        'categories': _texts(record.get('categories') or record.get('category')),
        'features': _texts(record.get(layout.features)),
        'description': ' '.join(_texts(record.get('description'))),
    }
    return {name: value for name, value in found.items() if value}


def _text(value: Any) -> str:
    """One line of plain text; entities and tags of the shop's pages are undone."""
    if not isinstance(value, (str, int, float)) or isinstance(value, bool) or value != value:
        return ''
    return ' '.join(_TAG.sub(' ', html.unescape(str(value))).split())


def _texts(value: Any) -> list[str]:
    """Flattens text or nested lists of text (2014 categories are lists of paths), without repeats."""
    if isinstance(value, list):
        return list(dict.fromkeys(text for part in value for text in _texts(part)))
    text = _text(value)
    return [text] if text else []

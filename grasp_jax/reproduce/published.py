"""The figures that the paper prints (arXiv 2511.20177, tables 2 to 4), in percent."""

import csv
import dataclasses
import importlib.resources

Key = tuple[str, ...]
_KEYS = {2: ('dataset', 'backbone', 'method'), 3: ('dataset', 'backbone', 'method'), 4: ('setting',)}
# Data sets of ours that are not the paper's, and what to bear in mind.
OTHER_CUTS = {
    'amazon_beauty_5core': "The paper's Beauty is a larger cut of the same reviews (52,204 users and 57,289 items,"
                           ' here 22,363 and 12,101): a difference to its figure is one between data sets as well.'}


@dataclasses.dataclass(frozen=True)
class Row:
    """One printed row.

    Attributes:
      values: by column, as 'N@10' or 'tail_item:H@5'.
      note: why its cells are not to be compared with; empty where they are.
    """

    values: dict[str, float]
    note: str = ''


def table(number: int) -> dict[Key, Row]:
    """A table by its keys: (dataset, backbone, method) for tables 2 and 3, (setting,) for table 4."""
    file = importlib.resources.files(__package__) / 'published' / f'table{number}.csv'
    rows = {}
    with file.open(encoding='utf-8') as lines:
        for line in csv.DictReader(lines):
            key = tuple(line.pop(name) for name in _KEYS[number])
            note = line.pop('note', None) or ''
            rows[key] = Row({name: float(value) for name, value in line.items()}, note)
    return rows

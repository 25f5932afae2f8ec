"""The stage `prepare` on a made-up table of any number of interactions."""

import concurrent.futures
import multiprocessing
import pathlib
import resource
import sys
import tempfile
import time
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from grasp_jax.common import disk
from grasp_jax.config import default
from grasp_jax.data.prepare import prepare

_BLOCK = 5_000_000  # rows made together
_ROW_BYTES = 170  # on the disk, of the table and of what is made of it
_FIRST = 1_500_000_000  # Unix seconds
_SPAN = 100_000_000


def measure(rows: int, ending: str) -> dict[str, Any]:
    """Makes a table, of which a tenth as many users and at most 1.2 million items have rows, and prepares it in a
    process of its own.

    Args:
      rows: interactions.
      ending: of the table's name, 'parquet' or 'csv'.

    Raises:
      UserError: the disk has no room.
    """
    with tempfile.TemporaryDirectory(prefix='grasp_jax_benchmark') as name:
        folder = pathlib.Path(name)
        disk.require(folder, rows * _ROW_BYTES, 'a table of this size', 'name another folder in TMPDIR')
        table = folder / f'interactions.{ending}'
        _write(table, rows)
        (folder / 'prepared').mkdir()
        with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as own:
            found = own.submit(_prepare, table, folder / 'prepared').result()
        written = sum(path.stat().st_size for path in (folder / 'prepared').rglob('*') if path.is_file())
        return {'rows': rows, 'ending': ending, 'source_bytes': table.stat().st_size, 'written_bytes': written, **found}


def _write(path: pathlib.Path, rows: int) -> None:
    rng = np.random.default_rng(0)
    users = max(rows // 10, 1)
    items = min(1_200_000, max(users * 144 // 1000, 1))
    schema = pyarrow.schema([('user', pyarrow.string()), ('item', pyarrow.string()), ('time', pyarrow.int64())])
    kind = pyarrow.parquet.ParquetWriter if path.suffix == '.parquet' else pyarrow.csv.CSVWriter
    with kind(path, schema) as writer:
        for first in range(0, rows, _BLOCK):
            count = min(_BLOCK, rows - first)
            # Some have many more rows than others, items more so than users.
            user, item = ((number * rng.random(count) ** power).astype(np.int64)
                          for number, power in ((users, 1.5), (items, 2.5)))
            named = [pc.binary_join_element_wise(letter, pyarrow.array(codes).cast(pyarrow.string()), '')
                     for letter, codes in (('u', user), ('B', item))]
            stamps = pyarrow.array(_FIRST + rng.integers(0, _SPAN, count))
            writer.write_table(pyarrow.Table.from_arrays([*named, stamps], schema=schema))


def _prepare(table: pathlib.Path, folder: pathlib.Path) -> dict[str, Any]:
    config = default()
    config.data.update({'name': 'made-up', 'kind': 'table', 'source': str(table.parent),
                        'interactions_file': table.name})
    start, used = time.perf_counter(), time.process_time()
    facts = prepare(config, folder)
    unit = 1 if sys.platform == 'darwin' else 1024
    return {'seconds': time.perf_counter() - start, 'cpu_seconds': time.process_time() - used,
            'peak_bytes': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            **{name: facts[name] for name in ('users', 'items', 'interactions')}}

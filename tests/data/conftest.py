"""Sequences of 2 to 40 items, which rows of 11 positions have to cut, and a person's own tables."""

import numpy as np
import pytest

from grasp_jax import config as config_lib
from grasp_jax.batching import batches

WIDTH = 11


@pytest.fixture
def sequences():
    rng = np.random.default_rng(0)
    lengths = np.minimum(rng.geometric(0.2, 200) + 1, 40)
    return batches.Sequences(np.arange(200) + 7, np.cumsum(lengths) - lengths, lengths, WIDTH)


@pytest.fixture
def config():
    """The section `data` of a person's own tables."""
    data = config_lib.default().data
    data.update({'kind': 'table', 'user_column': 'customer', 'item_column': 'product', 'time_column': 'when'})
    return data


@pytest.fixture(params=['together', 'in blocks'])
def blocks(request, monkeypatch):
    """Rows are looked at all together, or a few at a time as those of large files are: both say the same."""
    if request.param == 'in blocks':
        for place, size in (('delimited._BLOCKS', (100, 1 << 16, 1 << 30)), ('table_files._BLOCK', 3),
                            ('times._BLOCK', 3), ('time_units._BLOCK', 7)):
            monkeypatch.setattr(f'grasp_jax.data.{place}', size)


@pytest.fixture
def save():
    """Writes a table in the format that its name says."""
    def write(frame, path):
        if path.suffix == '.parquet':
            frame.to_parquet(path)
        elif '.jsonl' in path.name:
            frame.to_json(path, orient='records', lines=True)
        else:
            frame.to_csv(path, index=False, sep='\t' if '.tsv' in path.name else ',')
        return path

    return write

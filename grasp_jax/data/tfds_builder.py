"""The prepared data set as TensorFlow Datasets keeps it: ArrayRecord files, without TensorFlow.

TFDS' own writer and reader take a tenth of a millisecond for each example, most of it to look at the features again.
Examples are made and packed here directly (25 microseconds with the check); TFDS writes what describes them.
"""

import collections.abc
import dataclasses
import json
import pathlib
import zlib
from typing import Any

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.proto import tf_example_pb2

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar

SPLIT = 'full'
_NAME, _VERSION = 'sequences', '1.0.0'
_SHARD = 1 << 20  # examples of a file
_TOGETHER = 1024  # examples of a read: one by one takes a millisecond each in large files


@dataclasses.dataclass(frozen=True)
class Source:
    """What is written: one example per row of `ids`.

    Attributes:
      ids: n or m ids, in the order of the numbering.
      attributes: JSON values of each.
      indptr: int64 [n + 1], users only: user u owns items[indptr[u]:indptr[u + 1]].
      items: int32 [interactions], users only, item ids 1..m.
      times: int64 or float64 [interactions], users only.
    """

    ids: collections.abc.Sequence[str]
    attributes: collections.abc.Sequence[dict[str, Any]]
    indptr: np.ndarray | None = None
    items: np.ndarray | None = None
    times: np.ndarray | None = None


def write(folder: pathlib.Path, config: str, source: Source) -> None:
    """Writes ArrayRecord files and what TFDS needs to read them, and reads them again to see that they are whole.

    There are two configs: 'users' (user_id, items, times, attributes) and 'items' (item_id, attributes). Attributes are
    JSON text, so that any columns fit. Examples keep the order of the numbering: user u is example u, item i is example
    i - 1.

    Args:
      folder: TFDS's data_dir.
      config: 'users' or 'items'.
      source: what is written.

    Raises:
      UserError: the files cannot be written.
    """
    target = _folder(folder, config)
    target.mkdir(parents=True)
    shards = -(-len(source.ids) // _SHARD)
    lengths, size = [], 0
    with Bar(total=len(source.ids), desc=f'write {config}', mininterval=0.5, delay=1) as bar:
        for shard in range(shards):
            rows = range(shard * _SHARD, min((shard + 1) * _SHARD, len(source.ids)))
            path = target / f'{_NAME}-{SPLIT}.array_record-{shard:05}-of-{shards:05}'
            try:
                size += _write_shard(path, source, rows, config, bar)
            except (RuntimeError, IndexError) as error:  # ArrayRecord's, of a disk without room
                raise UserError(f'{folder}: {config} cannot be written ({" ".join(str(error).split())}); make room or '
                                'choose another --workdir') from error
            lengths.append(len(rows))
    tfds.folder_dataset.write_metadata(
        data_dir=target, features=_features(config, source), check_data=False, version=_VERSION,
        disable_shuffling=True, split_infos=[tfds.core.SplitInfo(name=SPLIT, shard_lengths=lengths, num_bytes=size)])


def read(folder: pathlib.Path, config: str) -> collections.abc.Iterator[dict[str, Any]]:
    """Yields the examples that `write` left, in order, texts decoded and attributes parsed."""
    records = tfds.builder_from_directory(_folder(folder, config)).as_data_source(split=SPLIT)
    for start in range(0, len(records), _TOGETHER):
        for example in records.__getitems__(range(start, min(start + _TOGETHER, len(records)))):
            example['attributes'] = json.loads(example['attributes'])
            yield {name: value.decode() if isinstance(value, bytes) else value for name, value in example.items()}


def _folder(folder: pathlib.Path, config: str) -> pathlib.Path:
    return folder / _NAME / config / _VERSION


def _features(config: str, source: Source) -> dict[str, Any]:
    features: dict[str, Any] = {f'{config[:-1]}_id': tfds.features.Text(), 'attributes': tfds.features.Text()}
    if source.items is not None and source.times is not None:
        features['items'] = tfds.features.Tensor(shape=(None,), dtype=np.int32)
        features['times'] = tfds.features.Tensor(shape=(None,), dtype=source.times.dtype)
    return features


def _write_shard(path: pathlib.Path, source: Source, rows: range, config: str, bar: Bar) -> int:
    """Writes some examples to a file and checks it; returns their bytes.

    Raises:
      RuntimeError: the file is not what was written.
    """
    writer = array_record_module.ArrayRecordWriter(str(path), 'group_size:1')  # which readers of single rows ask for
    size = written = 0
    for row in rows:
        record = _example(source, row, f'{config[:-1]}_id')
        writer.write(record)
        size, written = size + len(record), zlib.crc32(record, written)
        bar.update()
    writer.close()
    if checksum(path, len(rows)) != written:
        raise RuntimeError(f'{path.name} is not what was written')
    return size


def checksum(path: pathlib.Path, number: int) -> int:
    """CRC-32 of the records of an ArrayRecord file, one after the other.

    Args:
      path: the file.
      number: of its records.

    Raises:
      RuntimeError, IndexError: a record cannot be read.
    """
    reader = array_record_module.ArrayRecordReader(str(path), 'readahead_buffer_size:0')
    found = 0
    for start in range(0, number, _TOGETHER):
        for record in reader.read([*range(start, min(start + _TOGETHER, number))]):
            found = zlib.crc32(record, found)
    reader.close()
    return found


def _example(source: Source, row: int, id_name: str) -> bytes:
    example = tf_example_pb2.Example()
    feature = example.features.feature
    feature[id_name].bytes_list.value.append(source.ids[row].encode())
    feature['attributes'].bytes_list.value.append(json.dumps(source.attributes[row]).encode())
    if source.indptr is not None and source.items is not None and source.times is not None:
        own = slice(source.indptr[row], source.indptr[row + 1])
        feature['items'].int64_list.value.extend(source.items[own].tolist())
        kind = 'float_list' if source.times.dtype.kind == 'f' else 'int64_list'
        getattr(feature['times'], kind).value.extend(source.times[own].tolist())
    return example.SerializeToString(deterministic=True)

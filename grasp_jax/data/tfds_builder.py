"""The prepared data set as TensorFlow Datasets keeps it: ArrayRecord files, without TensorFlow."""

import collections.abc
import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from grasp_jax.errors import UserError
from grasp_jax.progress import Bar

SPLIT = 'full'
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


class Sequences(tfds.core.GeneratorBasedBuilder):
    """Two configs: 'users' (user_id, items, times, attributes) and 'items' (item_id, attributes).

    Attributes are JSON text, so that any columns fit. Examples keep the order of the numbering: user u is example u,
    item i is example i - 1.
    """

    VERSION = tfds.core.Version('1.0.0')
    BUILDER_CONFIGS = [tfds.core.BuilderConfig(name='users'), tfds.core.BuilderConfig(name='items')]
    url_infos: dict = {}  # nothing is fetched through TFDS, so there are no checksums of addresses to look for

    def __init__(self, *, source: Source | None = None, **kwargs: Any):
        """Takes what `_generate_examples` writes; a builder that only reads needs none."""
        self._source = source
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        features: dict[str, Any] = {'attributes': tfds.features.Text()}
        if self.builder_config.name == 'users':
            times = self._source.times if self._source is not None else None
            features['user_id'] = tfds.features.Text()
            features['items'] = tfds.features.Tensor(shape=(None,), dtype=np.int32)
            features['times'] = tfds.features.Tensor(shape=(None,), dtype=np.int64 if times is None else times.dtype)
        else:
            features['item_id'] = tfds.features.Text()
        # The order of the examples is the numbering of users and items.
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features),
                                     disable_shuffling=True)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> collections.abc.Iterator[tuple[int, dict[str, Any]]]:
        source = self._source
        if source is None:
            raise ValueError('a Sequences builder made without a source cannot prepare, only read')
        kind = self.builder_config.name
        for row, identity in enumerate(Bar(source.ids, desc=f'write {kind}', mininterval=0.5, delay=1)):
            example = {f'{kind[:-1]}_id': identity, 'attributes': json.dumps(source.attributes[row])}
            if source.indptr is not None and source.items is not None and source.times is not None:
                own = slice(source.indptr[row], source.indptr[row + 1])
                example |= {'items': source.items[own], 'times': source.times[own]}
            yield row, example


def write(folder: pathlib.Path, config: str, source: Source) -> None:
    """Prepares ArrayRecord files below a folder.

    Args:
      folder: TFDS's data_dir.
      config: 'users' or 'items'.
      source: what is written.

    Raises:
      UserError: the files cannot be written.
    """
    tfds.disable_progress_bar()  # the generator shows one with the time left
    builder = Sequences(source=source, config=config, data_dir=folder, file_format='array_record')
    settings = tfds.download.DownloadConfig(try_download_gcs=False)  # no network
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS announces a download that there is not
            builder.download_and_prepare(download_dir=folder / 'downloads', download_config=settings)
    except RuntimeError as error:  # ArrayRecord's, of a disk without room
        raise UserError(f'{folder}: {config} cannot be written ({" ".join(str(error).split())}); make room or choose '
                        'another --workdir') from error
    shutil.rmtree(folder / 'downloads', ignore_errors=True)


def read(folder: pathlib.Path, config: str) -> collections.abc.Iterator[dict[str, Any]]:
    """Yields the examples that `write` left, in order, texts decoded and attributes parsed."""
    records = tfds.builder_from_directory(folder / 'sequences' / config / str(Sequences.VERSION)).as_data_source(
        split=SPLIT)
    with Bar(total=len(records), desc=f'check {config}', mininterval=0.5, delay=1) as bar:
        for start in range(0, len(records), _TOGETHER):
            for example in records.__getitems__(range(start, min(start + _TOGETHER, len(records)))):
                example['attributes'] = json.loads(example['attributes'])
                yield {name: value.decode() if isinstance(value, bytes) else value for name, value in example.items()}
                bar.update()

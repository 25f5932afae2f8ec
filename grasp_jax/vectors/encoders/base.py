"""What an encoder is: where the vectors of items and users come from, and all that the program has to know about it."""

import abc
import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol

import ml_collections
import numpy as np

from grasp_jax.config import old_keys
from grasp_jax.data.dataset import Dataset
from grasp_jax.vectors import vector_store
from grasp_jax.vectors.vector_store import VectorStore
from grasp_jax.vectors.vector_writer import Table

Texts = Sequence[str]


@dataclasses.dataclass(frozen=True)
class Vectors:
    """What an encoder returns, E wide; the vector of entity r is row `rows[r]` of its table.

    Attributes:
      items: [rows, E], possibly memory-mapped or made row by row.
      item_rows: int [m].
      users: [rows, E].
      user_rows: int [n].
      facts: what the encoder says about itself.
      save: keeps in a folder what new texts need to be encoded alike; None where they need nothing.
    """

    items: Table
    item_rows: np.ndarray
    users: Table
    user_rows: np.ndarray
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)
    save: Callable[[pathlib.Path], None] | None = None


class Encoder(abc.ABC):
    """One way to get vectors. A new one is one file in this package: a subclass with the decorator `register`.

    Making one is cheap and asks for nothing: models are loaded, and servers called, by `encode`.

    Attributes:
      kind: its name, the value of `config.encode.kind`.
      reads_texts: False where the vectors were made elsewhere, so that the texts here have no part in them.
      needs_server: whether `encode` asks the server of `config.llm`, for the model `config.encode.model`.
      is_model: whether it is a language model itself.
      fitted_files: names of the files that `Vectors.save` writes, where the encoder is fitted to the texts of a
        catalogue: new texts are encoded by these files, and vectors of two fits do not mix.
      remedy: what to do where many of its vectors are zero or equal.
      config: the full config; the section `encode` is `settings`.
      settings: the section `encode`.
      answers: folder in which vectors of models are kept, for encoders that keep them; None: `encode` is not called.
    """

    kind: ClassVar[str]
    reads_texts: ClassVar[bool] = True
    needs_server: ClassVar[bool] = False
    is_model: ClassVar[bool] = False
    fitted_files: ClassVar[tuple[str, ...]] = ()
    remedy: ClassVar[str] = 'look at their texts'

    def __init__(self, config: ml_collections.ConfigDict, answers: pathlib.Path | None = None):
        self.config, self.settings, self.answers = config, config.encode, answers

    @property
    @abc.abstractmethod
    def words(self) -> str:
        """What it is, as logs and reports say it before 'over the texts', as 'LSA'."""

    @abc.abstractmethod
    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        """Makes the vectors of a catalogue.

        Args:
          item_texts: m texts.
          user_texts: n texts.
          dataset: whose items and users they are about; only encoders that read no texts look at it.

        Raises:
          UserError: a text, a file or a server is not as the encoder needs it; names the remedy.
        """

    def encode_more(self, folder: pathlib.Path, item_texts: Texts, user_texts: Texts) -> Vectors:
        """Vectors of new texts, as `encode` would have made them together with those that lie in `folder`.

        Raises:
          UserError: as `encode`.
        """
        return self.encode(item_texts, user_texts)

    def reads_words(self, folder: pathlib.Path, texts: Texts, frame: str) -> list[bool]:
        """Whether each text has a word that means something to the encoder.

        Args:
          folder: in which vectors lie, and what they were made with.
          texts: any number.
          frame: words that stand in every text, and do not count.
        """
        return [bool(text.strip()) for text in texts]

    def vectors_by_id(self, item_ids: Sequence[str]) -> np.ndarray | None:
        """float32 [len(item_ids), E], vectors of items that no text is needed for; None where texts are needed.

        Raises:
          UserError: an item has none.
        """
        return None

    def check(self) -> None:  # noqa: B027 - most have nothing to check
        """Refuses settings that are missing or wrong, before anything is read.

        Raises:
          UserError: names the setting and the remedy.
        """

    def require(self) -> None:  # noqa: B027 - most need nothing
        """Refuses to begin where a library is not installed; vectors that are there already need none.

        Raises:
          UserError: says what to install.
        """

    def require_same(self, facts: dict[str, Any], folder: pathlib.Path) -> None:  # noqa: B027 - as before
        """Refuses vectors of another model than lies under the same name now.

        Args:
          facts: of the stage that made the vectors.
          folder: of that stage.

        Raises:
          UserError: says what to do.
        """

    def fingerprint(self) -> dict[str, Any]:
        """The settings that its vectors depend on, texts and files aside."""
        found = old_keys.first_named('encode', self.settings.to_dict())
        del found['dimensions']  # of servers' models alone
        return found

    def checksums(self) -> list[str]:
        """Identifies the files that it reads: 'key name sha256' of each.

        Raises:
          UserError: a file is not named or not there.
        """
        return []

    def origin(self) -> str:
        """Where its vectors come from, in one phrase for logs, reports and plots."""
        if self.config.text.source == 'model':
            return f'{self.words} over texts that the language model {self.config.llm.model} wrote'
        return f'{self.words} over the {"filled templates" if self.is_model else "texts, no language model"}'


class Embed(Protocol):
    """Adds the vectors of blocks of texts to a store."""

    def __call__(self, store: VectorStore, blocks: Iterator[Sequence[str]], count: int) -> None:
        """Embeds all blocks, `count` in number."""


def kept(answers: pathlib.Path | None, identity: dict[str, Any], item_texts: Texts, user_texts: Texts, size: int,
         embed: Embed) -> Vectors:
    """Vectors of a model that sees one text at a time: what it embedded before is not embedded again.

    Args:
      answers: folder of what models answered.
      identity: what tells its vectors from those of other models.
      item_texts: m texts.
      user_texts: n texts.
      size: texts of a block.
      embed: the model.

    Returns:
      their vectors, and the fact `embedded`: how many were made now.
    """
    assert answers is not None, 'vectors of a model are kept in a folder'
    with vector_store.VectorStore(answers / 'vectors', identity) as store:
        rows, made = vector_store.fill(store, [*item_texts, *user_texts], size,
                                       lambda blocks, count: embed(store, blocks, count))
        table = store.table()
    return Vectors(table, rows[:len(item_texts)], table, rows[len(item_texts):], {'embedded': made})


ENCODERS: dict[str, type[Encoder]] = {}  # every encoder by its kind


def register(encoder: type[Encoder]) -> type[Encoder]:
    """Makes an encoder known by its kind; a decorator of its class."""
    ENCODERS[encoder.kind] = encoder
    return encoder

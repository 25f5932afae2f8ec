"""Vectors of any width without a model, made when they are asked for: words in random directions, and something of each
text's own.

For tables of the size that a large language model leaves, on any machine; texts that share words are alike, and that is
all that these vectors know. They are no ground for a claim about quality.
"""

import collections.abc
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from grasp_jax.data.dataset import Dataset
from grasp_jax.vectors.encoders.base import Encoder, Texts, Vectors, register

_WORDS = 4096  # places that words are hashed to
_OWN = 64  # directions of what is a text's own; direction k weighs 1 / sqrt(k), as vectors of models fall off
_OWN_SHARE = 0.5  # its length against that of the words


@register
class HashedEncoder(Encoder):
    """Makes each row from its text when it is asked for."""

    kind, words = 'hashed', 'words in random directions'

    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        """Draws the directions; no vector is made yet."""
        items, users = (HashedVectors(texts, self.settings.width, self.settings.seed)
                        for texts in (item_texts, user_texts))
        return Vectors(items, np.arange(len(items)), users, np.arange(len(users)))


class HashedVectors:
    """Looks like an array [r, E]; `vectors[rows]` makes these rows from their texts, the same each time.

    Attributes:
      shape: (r, E).
    """

    def __init__(self, texts: collections.abc.Sequence[str], width: int, seed: int):
        """Draws the directions.

        Args:
          texts: r texts.
          width: E.
          seed: of all directions.
        """
        from sklearn.feature_extraction.text import HashingVectorizer
        self._texts, self.shape = texts, (len(texts), width)
        self._counts = HashingVectorizer(n_features=_WORDS, dtype=np.float32)
        self._directions = np.asarray(jax.random.normal(jax.random.key(seed), (_WORDS + _OWN, width)))

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """Unit-length float32 vectors [len(rows), E]."""
        texts = [self._texts[int(row)] for row in rows]
        if not texts:
            return np.zeros((0, self.shape[1]), np.float32)
        marks = np.array([zlib.crc32(text.encode()) for text in texts], np.uint32)
        made = self._counts.transform(texts) @ self._directions[:_WORDS]  # sparse: a text has some dozen words
        made += np.asarray(_own(marks)) @ self._directions[_WORDS:]
        return made / np.linalg.norm(made, axis=1, keepdims=True)


@jax.jit
def _own(marks: jax.Array) -> jax.Array:
    """float32 [len(marks), _OWN], what a text has for itself."""
    own = jax.vmap(functools.partial(jax.random.normal, shape=(_OWN,)))(jax.vmap(jax.random.key)(marks))
    own *= jnp.arange(1, _OWN + 1)[None] ** -0.5
    return _OWN_SHARE * own / jnp.linalg.norm(own, axis=1, keepdims=True)

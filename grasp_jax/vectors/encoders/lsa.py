"""Latent semantic analysis: TF-IDF and a truncated SVD, fitted in seconds without any download. No language model.

scikit-learn is imported where it is used: commands that fit nothing start in half the time.
"""

import collections.abc
import dataclasses
import pathlib
from typing import Any

import numpy as np
import threadpoolctl

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.data.dataset import Dataset
from grasp_jax.texts import scripts
from grasp_jax.vectors.encoders.base import Encoder, Texts, Vectors, register

VOCABULARY, WEIGHTS = 'lsa_vocabulary.json', 'lsa_weights.npz'
_SMALL = 1000  # texts below which a word that occurs only once is kept
_RELATIVE_RANK = 1e-4  # singular values below this share of the largest are numerical noise


@dataclasses.dataclass(frozen=True)
class Lsa:
    """A fitted model: texts to vectors.

    Attributes:
      vocabulary: number of each word and pair of words, and of pieces where words have no space between them.
      idf: float [v], weight of each.
      components: float [E, v].
    """

    vocabulary: dict[str, int]
    idf: np.ndarray
    components: np.ndarray

    def __call__(self, texts: collections.abc.Sequence[str]) -> np.ndarray:
        """Unit-length float32 vectors [len(texts), E]; zero where no word is known."""
        if not len(texts):
            return np.zeros((0, len(self.components)), np.float32)
        vectorizer = self._words()
        vectorizer.idf_ = self.idf
        return _unit(vectorizer.transform(texts) @ self.components.T)

    def knows(self, texts: collections.abc.Sequence[str], frame: str) -> list[bool]:
        """Whether each text has a word of the vocabulary that does not stand in `frame`."""
        words_of = self._words().build_analyzer()
        known = self.vocabulary.keys() - set(words_of(frame))
        return [not known.isdisjoint(words_of(text)) for text in texts]

    def _words(self) -> Any:
        # One that was fitted before there were pieces, or without any, knows whole runs of characters alone.
        pieces = any(word.startswith(scripts.MARK) for word in self.vocabulary)
        return _vectorizer(pieces, vocabulary=self.vocabulary)

    def save(self, folder: pathlib.Path) -> None:
        """Writes two files."""
        artefacts.write_json(folder / VOCABULARY, self.vocabulary)
        np.savez(folder / WEIGHTS, idf=self.idf, components=self.components)


@register
class LsaEncoder(Encoder):
    """Fitted to the texts of the items; new texts are encoded by the model that was fitted before."""

    kind, words = 'lsa', 'LSA'
    fitted_files = (WEIGHTS, VOCABULARY)
    remedy = ('lsa forgets words that stand in one text alone: give texts that say more, or use '
              'encode.kind=sentence_transformers')

    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        """Fits a model and encodes by it."""
        items, users, model, facts = encode(item_texts, user_texts, self.settings.width, self.settings.seed)
        return Vectors(items, np.arange(len(items)), users, np.arange(len(users)), facts, model.save)

    def encode_more(self, folder: pathlib.Path, item_texts: Texts, user_texts: Texts) -> Vectors:
        """Encodes by the model that lies in `folder`.

        Raises:
          UserError: there is none.
        """
        model = load(folder)
        items, users = model(item_texts), model(user_texts)
        return Vectors(items, np.arange(len(items)), users, np.arange(len(users)), {}, model.save)

    def reads_words(self, folder: pathlib.Path, texts: Texts, frame: str) -> list[bool]:
        """Whether each text has a word of the vocabulary."""
        return load(folder).knows(texts, frame)


def load(folder: pathlib.Path) -> Lsa:
    """The model that `Lsa.save` left.

    Raises:
      UserError: there is none.
    """
    try:
        with np.load(folder / WEIGHTS, allow_pickle=False) as found:
            idf, components = found['idf'], found['components']
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f'{folder / WEIGHTS}: cannot be read ({error}); the stage encode before was made by an older '
                        'version, so make everything anew in another --workdir') from error
    return Lsa({word: int(number) for word, number in artefacts.read_json(folder / VOCABULARY).items()}, idf,
               components)


def encode(item_texts: collections.abc.Sequence[str], user_texts: collections.abc.Sequence[str], width: int,
           seed: int) -> tuple[np.ndarray, np.ndarray, Lsa, dict[str, Any]]:
    """Fits on the item texts and maps item and user texts into the same space.

    Args:
      item_texts: m texts.
      user_texts: n texts; words that no item text has count for nothing.
      width: number of components; fewer where the corpus has a lower rank.
      seed: of the randomised SVD.

    Returns:
      Unit-length float32 item vectors [m, E] and user vectors [n, E] (zero where no word is known), the fitted model,
      and facts.

    Raises:
      UserError: the width is not positive, or no item text has a word.
    """
    from sklearn.decomposition import TruncatedSVD
    if width < 1:
        raise UserError(f'encode.width={width} is no number of components; give 1 or more')
    vectorizer = _vectorizer(True, min_df=2 if len(item_texts) >= _SMALL else 1)
    try:
        counts = vectorizer.fit_transform(item_texts)
    except UserError:  # of the file of the texts
        raise
    except ValueError as error:
        raise UserError(f'the item texts cannot be encoded by lsa ({error}); give the items titles or attributes, '
                        'or use encode.kind=precomputed') from error
    if counts.shape[1] < 2:
        raise UserError(f'the item texts cannot be encoded by lsa (all that they share is the word '
                        f'{", ".join(map(repr, vectorizer.vocabulary_))}); give the items titles or attributes, or '
                        'look at what the language model wrote')
    svd = TruncatedSVD(n_components=min(width, *counts.shape), random_state=seed)
    with threadpoolctl.threadpool_limits(1):  # sums that threads share are rounded otherwise
        items = svd.fit_transform(counts)
    rank = int(np.sum(svd.singular_values_ > _RELATIVE_RANK * svd.singular_values_[0]))
    words = {word: int(number) for word, number in vectorizer.vocabulary_.items()}
    model = Lsa(words, vectorizer.idf_, svd.components_[:rank])
    facts = {'width_asked': width, 'vocabulary': counts.shape[1],
             'explained_variance': float(svd.explained_variance_ratio_[:rank].sum())}
    return _unit(items[:, :rank]), model(user_texts), model, facts


def _vectorizer(pieces: bool, **more: Any) -> Any:
    """Counts words and pairs of words, and `pieces` of writing that has no spaces if asked for."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    how = {'ngram_range': (1, 2), 'strip_accents': 'unicode'}
    if not pieces:
        return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **how, **more)
    words_of = TfidfVectorizer(**how).build_analyzer()

    def analyse(text: str) -> list[str]:
        if not scripts.needs_pieces(text):
            return words_of(text)
        rest, found = scripts.split(text)
        return [*words_of(rest), *found]

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, analyzer=analyse, **more)


def _unit(vectors: np.ndarray) -> np.ndarray:
    from sklearn.preprocessing import normalize
    return normalize(vectors).astype(np.float32) if len(vectors) else vectors.astype(np.float32)

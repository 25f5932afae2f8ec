"""Hashed vectors: a function of the text alone, alike where words are shared, different where texts are."""

import numpy as np
import pytest

from grasp_jax.vectors.encoders.hashed import HashedVectors

TEXTS = ['a red steel bicycle pump', 'a blue steel bicycle pump', 'spicy noodle soup', 'a red steel bicycle pump',
         'pump bicycle steel red a', '']


@pytest.mark.slow
def test_a_vector_depends_on_its_text_alone():
    vectors = HashedVectors(TEXTS, 512, 0)
    whole = vectors[np.arange(6)]
    assert whole.shape == (6, 512) == (len(vectors), vectors.shape[1]) and whole.dtype == np.float32
    np.testing.assert_allclose(vectors[np.array([4, 1])], whole[[4, 1]], rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(HashedVectors(TEXTS[3:], 512, 0)[np.arange(3)], whole[3:], rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(whole[0], whole[3])
    assert vectors[np.arange(0)].shape == (0, 512)
    assert not np.allclose(HashedVectors(TEXTS, 512, 1)[np.arange(6)], whole)


def test_shared_words_make_texts_alike_and_no_two_texts_are_equal():
    found = HashedVectors(TEXTS, 512, 0)[np.arange(6)]
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, rtol=1e-5)
    likeness = found @ found.T
    assert likeness[0, 1] > 0.4 > 0.2 > abs(likeness[0, 2])
    assert likeness[0, 1] < likeness[0, 4] < 0.99  # the same words, another text

"""Encoders: one file each, known by its kind; no code outside of their room asks for one by name."""

import ast
import pathlib

import numpy as np
import pytest

import grasp_jax
from grasp_jax.common.errors import UserError
from grasp_jax.config import old_keys
from grasp_jax.data.dataset import Dataset
from grasp_jax.pipeline.checks import check_config
from grasp_jax.vectors.encoders import ENCODERS, Encoder, Texts, Vectors, encoder_of
from tests.vectors.toy_vectors import ITEM_TEXTS, config_of, run

PACKAGE = pathlib.Path(grasp_jax.__file__).parent


class Letters(Encoder):
    """All that a new encoder has to say."""

    kind, words = 'letters', 'counts of letters'

    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        items, users = ([[text.count(letter) for letter in 'abcdefghijklmnopqrstuvwxyz'] for text in texts]
                        for texts in (item_texts, user_texts))
        return Vectors(np.array(items), np.arange(len(items)), np.array(users), np.arange(len(users)))


@pytest.fixture
def letters(monkeypatch):
    monkeypatch.setitem(ENCODERS, Letters.kind, Letters)
    return config_of(kind='letters', center=False)


def test_a_new_encoder_is_one_class(letters, dataset, tmp_path):
    facts, items, users = run(dataset, letters, tmp_path / 'a')
    assert items.shape == (41, 26) and users.shape == (25, 26)
    np.testing.assert_array_equal(items[4], np.bincount([ord(letter) - 97 for letter in ITEM_TEXTS[3]
                                                         if letter.isalpha()], minlength=26))
    assert facts['kind'] == 'letters' and facts['origin'] == 'counts of letters over the texts, no language model'
    check_config(letters)
    assert encoder_of(letters).fingerprint()['kind'] == 'letters'


def test_a_name_that_is_no_encoder_is_refused(letters):
    letters.encode.kind = 'letter'
    with pytest.raises(UserError, match='encode.kind=.letter. is not known; choose one of .*letters, lsa, open'):
        check_config(letters)


def test_every_encoder_says_what_it_is():
    assert set(ENCODERS) >= {'lsa', 'hashed', 'openai', 'precomputed', 'sentence_transformers'}
    facts = {kind: (one.reads_texts, one.needs_server, one.is_model, len(one.fitted_files), one.remedy.split(':')[0])
             for kind, one in ENCODERS.items()}
    assert facts.items() >= {
        'lsa': (True, False, False, 2, 'lsa forgets words that stand in one text alone'),
        'hashed': (True, False, False, 0, 'look at their texts'),
        'openai': (True, True, True, 0, 'look at their texts'),
        'precomputed': (False, False, False, 0, 'look at the file that the vectors are from'),
        'sentence_transformers': (True, False, True, 0, 'look at their texts')}.items()


@pytest.mark.parametrize('kind', ['lsa', 'hashed', 'precomputed', 'sentence_transformers'])
def test_fingerprints_hold_the_section_without_what_is_of_servers(kind):
    config = config_of(kind=kind)
    section = old_keys.first_named('encode', config.encode.to_dict())
    assert encoder_of(config).fingerprint() == {key: section[key] for key in section if key != 'dimensions'}


def test_the_fingerprint_of_a_server_holds_its_model():
    config = config_of(kind='openai', model='wide', dimensions=7)
    config.llm.update({'revision': 'r1', 'extra': '{"top_p": 1, "input_type": "query"}'})
    assert encoder_of(config).fingerprint() == {
        **old_keys.first_named('encode', config.encode.to_dict()), 'revision': 'r1', 'extra': {'input_type': 'query'}}


def _names_an_encoder(node: ast.AST) -> bool:
    return any(isinstance(each, ast.Constant) and each.value in ENCODERS for each in ast.walk(node))


def _questions(tree: ast.AST) -> list[int]:
    """Lines that compare something with the name of an encoder, or choose by it."""
    found = [node.lineno for node in ast.walk(tree) if isinstance(node, (ast.Compare, ast.MatchValue))
             and _names_an_encoder(node)]
    return found + [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Dict)
                    and any(key is not None and _names_an_encoder(key) for key in node.keys)]


@pytest.mark.parametrize('code', ["if kind == 'lsa': pass", "x = settings.kind in ('openai', 'lsa')",
                                  "{'hashed': 1}[kind]", "match kind:\n  case 'lsa': pass"])
def test_questions_for_a_name_are_found(code):
    assert _questions(ast.parse(code)) and not _questions(ast.parse("{'encode.kind': 'lsa'}"))


@pytest.mark.slow
def test_no_code_asks_for_an_encoder_by_name():
    asked = [f'{path.relative_to(PACKAGE)}:{line}' for path in sorted(PACKAGE.rglob('*.py'))
             for line in _questions(ast.parse(path.read_text())) if path.parent.name != 'encoders']
    assert not asked, 'give the encoder an attribute instead, see vectors/encoders/base.py'

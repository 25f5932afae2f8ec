"""A UserError is a ValueError; what catches a ValueError of a library or of a text does not swallow it."""

import json

import numpy as np
import pytest

from grasp_jax.common import json_lines, sqlite
from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import Lazy
from grasp_jax.data import table_files
from grasp_jax.data.dataset import Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.texts import prompts
from grasp_jax.vectors.encoders import lsa

SAID = '^here, row 3: says nothing; write it$'


def _damaged(first='a red shoe'):
    """Texts whose second one cannot be read, as of a file that was changed after it was looked through."""
    def text(row):
        if row == 1:
            raise UserError('here, row 3: says nothing; write it')
        return first
    return Lazy(2, text)


def test_a_line_that_is_refused_while_it_is_parsed(tmp_path):
    path = tmp_path / 'lines.jsonl'
    path.write_text('{}\n')

    def parse(line):
        raise UserError('here, row 3: says nothing; write it')

    with pytest.raises(UserError, match=SAID):
        list(json_lines.read_objects(path, parse))


def test_texts_that_are_read_while_a_store_is_asked(tmp_path):
    with pytest.raises(UserError, match=SAID), sqlite.reading(tmp_path / 'store', 'delete it'):
        list(_damaged())
    with pytest.raises(UserError, match='store: cannot be read .* delete it'), \
            sqlite.reading(tmp_path / 'store', 'delete it'):
        json.loads('{')


def test_texts_that_are_read_while_they_are_encoded():
    with pytest.raises(UserError, match=SAID):
        lsa.encode(_damaged(), [], 4, 0)


def test_profiles_that_are_read_while_texts_are_filled():
    interactions = Interactions(np.array([0, 1, 2]), np.array([1, 1], np.int32), 1)
    dataset = Dataset('toy', interactions, ['u', 'v'], ['i'], [{'title': 'shoe'}], _damaged({'age': '30'}), {})
    with pytest.raises(UserError, match=SAID):
        list(prompts.user_texts(dataset, 'shop', 200))


@pytest.mark.parametrize('text', ['user,item,time\nu,i\n', 'user,user\nu,i\n'])
def test_tables_that_are_refused_while_they_are_read(tmp_path, text):
    path = tmp_path / 'log.csv'
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        table_files.read_table(path)
    assert str(caught.value).count(str(path)) == 1 and 'cannot be read' not in str(caught.value)

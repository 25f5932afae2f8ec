"""Lazy sequences are lists whose entries are made anew; lines of a file are found, and damage is named."""

import json

import pytest

from grasp_jax.common import lazy
from grasp_jax.common.errors import UserError


def test_a_lazy_sequence_is_a_list_that_makes_entries_when_asked():
    made = []
    squares = lazy.Lazy(5, lambda row: made.append(row) or row * row)
    assert len(squares) == 5 and not made
    assert squares[3] == 9 and squares[-1] == 16 and made == [3, 4]
    assert squares == [0, 1, 4, 9, 16] and [0, 1, 4, 9, 16] == squares and squares != [0, 1] and squares[1:3] == [1, 4]
    assert list(reversed(squares)) == [16, 9, 4, 1, 0]
    with pytest.raises(IndexError):
        squares[5]


@pytest.mark.parametrize('block', (3, 1 << 20))
def test_lines_of_a_file(tmp_path, monkeypatch, block):
    monkeypatch.setattr(lazy, '_BLOCK', block)
    records = [{'text': text} for text in ('', 'two\nlines', 'Ünïcödé \u2028 of all kinds', 'x' * 50)]
    path = tmp_path / 'texts.jsonl'
    path.write_text(''.join(json.dumps(record, ensure_ascii=False) + '\n' for record in records), encoding='utf-8')
    assert lazy.json_lines(path, lambda record: record['text']) == [record['text'] for record in records]


def test_nothing_is_an_empty_list(tmp_path):
    (tmp_path / 'empty').touch()
    assert lazy.json_lines(tmp_path / 'empty', str) == []


def test_damage_is_one_line_that_names_it(tmp_path):
    path = tmp_path / 'texts.jsonl'
    with pytest.raises(UserError, match='texts.jsonl: cannot be read'):
        lazy.json_lines(path, str)
    path.write_text('{"text": "one"}\n{"other": 2}\nno json\n')
    found = lazy.json_lines(path, lambda record: record['text'])
    assert found[0] == 'one'
    for row in (1, 2):
        with pytest.raises(UserError, match=f'texts.jsonl, line {row + 1}: cannot be read'):
            found[row]
    path.write_text('{"text": "one"}\n{"te')
    with pytest.raises(UserError, match='cut off'):
        lazy.json_lines(path, str)

"""inter.txt, the log of two numbers a line that public code of the field reads."""

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.data import own_tables


def test_inter_keeps_the_numeric_order_of_ids(tmp_path):
    path = tmp_path / 'inter.txt'
    path.write_text('10 9\n2 11\n10 1\n2 9\n\n')
    log = own_tables.read_inter(path)
    assert (log.user_ids, log.item_ids) == (['2', '10'], ['1', '9', '11'])
    assert (log.users.tolist(), log.items.tolist(), log.times.tolist()) == ([1, 0, 1, 0], [1, 2, 0, 1], [0, 1, 2, 3])


@pytest.mark.parametrize(('text', 'words'), [
    ('1 1\n1\n', 'line 2: .1. is not `user item`'),
    ('1 1\n1 x\n', 'line 2'), ('1 0\n', 'line 1'), ('1 99999999999999999999\n', 'line 1'),
    ('1 2 3\n', 'line 1'), (f'{"1" * 5000} 1\n', 'line 1'), ('', 'holds no interactions'),
])
def test_wrong_inter(tmp_path, text, words):
    path = tmp_path / 'inter.txt'
    path.write_text(text)
    with pytest.raises(UserError, match=words):
        own_tables.read_inter(path)

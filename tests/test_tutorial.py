"""The tutorial runs from its first cell to its last, and is kept without what it printed."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT

NOTEBOOK = ROOT / 'docs' / 'tutorials' / 'own_tables.ipynb'


def cells():
    return json.loads(NOTEBOOK.read_text(encoding='utf-8'))['cells']


def test_every_cell_runs():
    code = '\n\n'.join(''.join(cell['source']) for cell in cells() if cell['cell_type'] == 'code')
    checks = """
assert len(lists) == 10 and lists.assign(title=lists.item_id.map(model.titles.get)).title.str.len().min() > 0
assert list(new[new.user_id == 1].source.unique()) == ['popularity'] and set(new[new.user_id == 0].source) == {'model'}
assert near.item_id[0] == first['product']
assert why.item_id == 'brand-new' and len(why.nearest_in_history) > 0
"""
    environment = {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE']}
    done = subprocess.run([sys.executable, '-c', code + checks], cwd=NOTEBOOK.parent, env=environment, check=False,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_it_is_kept_without_outputs():
    assert all(not cell['outputs'] and cell['execution_count'] is None for cell in cells()
               if cell['cell_type'] == 'code')

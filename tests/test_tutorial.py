"""The tutorials run from their first cell to their last, and are kept without what they printed."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

NOTEBOOKS = sorted((ROOT / 'docs' / 'tutorials').glob('*.ipynb'))
NOTEBOOK = ROOT / 'docs' / 'tutorials' / 'own_tables.ipynb'


def cells(notebook):
    return json.loads(notebook.read_text(encoding='utf-8'))['cells']


def code_of(notebook):
    return '\n\n'.join(''.join(cell['source']) for cell in cells(notebook) if cell['cell_type'] == 'code')


@pytest.mark.slow
def test_every_cell_runs():
    code = code_of(NOTEBOOK)
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


@pytest.mark.slow
def test_the_equations_by_hand_are_those_of_the_code():
    names = {}
    exec(compile(code_of(ROOT / 'docs' / 'tutorials' / 'equations.ipynb'), 'equations.ipynb', 'exec'), names)
    assert abs(names['printed'] - 0.5).max() < 0.02 < names['calibrated'].max() - names['calibrated'].min()
    assert abs(names['fast'] - names['as_printed']).max() < 1e-5 < abs(names['as_printed']).max()
    assert float(names['by_hand']) == pytest.approx(float(names['in_training']), rel=1e-5)
    assert names['tied'] == 1 + 5 / 2


@pytest.mark.parametrize('notebook', NOTEBOOKS, ids=lambda path: path.stem)
def test_it_is_kept_without_outputs(notebook):
    assert len(cells(notebook)) > 5
    assert all(not cell['outputs'] and cell['execution_count'] is None for cell in cells(notebook)
               if cell['cell_type'] == 'code')

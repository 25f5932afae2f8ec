"""The table and the picture of cold start, from reports."""

import json

import pytest

from grasp_jax.reproduce import cold_table

SHARES = {'evaluate__cold_items': 0.2, 'evaluate__cold_users': 0.2, 'evaluate__ks': (1, 3, 5, 10)}


@pytest.mark.slow
def test_a_table_has_each_model_and_the_baseline_once(finished, tmp_path, capsys):
    runs = [finished(**SHARES), finished(model__method='none', **SHARES)]
    assert cold_table.main([*map(str, runs), f'--out={tmp_path / "cold"}']) == 0
    text = (tmp_path / 'cold.md').read_text()
    report = json.loads((runs[0] / 'report.json').read_text())
    assert f'{100 * report["cold_start"]["items"]["model"]["HR@10"]:.2f}' in text
    assert text.count('content baseline') == 2 and 'SASRec, plain' in text
    assert (tmp_path / 'cold.png').stat().st_size > 10_000 and (tmp_path / 'cold.csv').exists()
    assert 'times chance' in capsys.readouterr().out


@pytest.mark.slow
def test_what_is_wrong_is_one_line(finished, capsys):
    assert cold_table.main([str(finished())]) == 2
    assert 'nothing was set aside' in capsys.readouterr().err

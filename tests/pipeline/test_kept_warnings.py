"""What stages warn of stays with them: in their manifests, in the report, and said again where they are found done."""

import json
import logging

import pytest

from grasp_jax.common import artefacts
from grasp_jax.evaluation import report as reports
from grasp_jax.pipeline.stages import prepare_data, run_pipeline
from tests.tiny_runs import item_id, tiny_config, write_table


@pytest.fixture
def source(tmp_path):
    """A table with rows that stand there twice, and items of which nothing tells one from the other."""
    folder = tmp_path / 'data'
    write_table(folder)
    path = folder / 'interactions.csv'
    path.write_text(path.read_text() + path.read_text().split('\n')[1] + '\n')
    lines = (folder / 'items.jsonl').read_text().splitlines()
    same = [json.dumps({'item': item_id(item), 'title': 'thing of shelf and row'}) for item in range(20)]
    (folder / 'items.jsonl').write_text('\n'.join(same + lines[20:]) + '\n')
    return folder


def warned(caplog):
    found = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    caplog.clear()
    return found


def test_a_stage_that_is_up_to_date_says_its_warnings_again(source, tmp_path, caplog):
    config = tiny_config(source)
    prepare_data(config, tmp_path / 'work')
    first = warned(caplog)
    assert len(first) == 1 and '1 rows repeat the user, item and time of an earlier row' in first[0]
    manifest = artefacts.read_json(tmp_path / 'work/prepare' / artefacts.MANIFEST)
    assert manifest['facts']['warnings'] == first
    prepare_data(config, tmp_path / 'work')
    assert warned(caplog) == first
    (tmp_path / 'clean').mkdir()
    write_table(tmp_path / 'clean')
    prepare_data(tiny_config(tmp_path / 'clean'), tmp_path / 'other')
    prepare_data(tiny_config(tmp_path / 'clean'), tmp_path / 'other')
    assert warned(caplog) == []
    assert 'warnings' not in artefacts.read_json(tmp_path / 'other/prepare' / artefacts.MANIFEST)['facts']


@pytest.mark.slow
def test_a_report_lists_the_warnings_of_all_stages_in_order(source, tmp_path, caplog):
    config = tiny_config(source, train__max_epochs=1)
    found = run_pipeline(config, tmp_path / 'work')
    assert [text in warning for text, warning in zip(
        ('rows repeat the user', '20 of 36 items (56%) have the text of another one as well', 'have the vector of'),
        found['warnings'], strict=True)] == [True] * 3
    assert [warning for warning in warned(caplog) if warning in found['warnings']] == found['warnings']
    page = (tmp_path / 'work/report.md').read_text()
    assert '\n\n## Warnings\n\n' + '\n'.join(f'- {warning}' for warning in found['warnings']) + '\n\n## ' in page
    again = run_pipeline(config, tmp_path / 'work')
    assert again['warnings'] == found['warnings'] and again['test'] == found['test']
    assert [warning for warning in warned(caplog) if warning in found['warnings']] == found['warnings']
    del again['warnings']  # as in older reports
    assert '## Warnings' not in reports.render_markdown(again)

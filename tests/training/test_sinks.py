"""Sinks of metrics: the real libraries, on this machine alone."""

import importlib.util
import json
import logging
import pathlib

import pytest

from grasp_jax.common.errors import UserError
from grasp_jax.config import changed, default
from grasp_jax.pipeline.checks import check_config
from grasp_jax.training import loop, seeds, sinks
from grasp_jax.training.metrics_log import MetricsLog, read_metrics

VALUES = ('loss', 'valid_ndcg10', 'valid_hr10', 'seconds')


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    for name in ('MLFLOW_TRACKING_URI', 'MLFLOW_EXPERIMENT_NAME', 'WANDB_MODE', 'WANDB_PROJECT'):
        monkeypatch.delenv(name, raising=False)


def trained(small_run, folder, *names, epochs=2):
    run = small_run(method='none', train={'max_epochs': epochs, 'sinks': names})
    loop.train(run, 0, folder)
    return read_metrics(folder)


@pytest.mark.slow
def test_mlflow_has_each_epoch_in_one_run_that_goes_on(small_run, tmp_path):
    for module in ('mlflow', 'sqlalchemy', 'alembic'):
        pytest.importorskip(module, reason='the extra [mlflow] is not installed')
    folder = tmp_path / 'work' / 'seed0'
    folder.mkdir(parents=True)
    trained(small_run, folder, 'mlflow')
    lines = trained(small_run, folder, 'mlflow', epochs=3)
    client = client_of(tmp_path)
    experiments = [each.experiment_id for each in client.search_experiments()]
    found, = client.search_runs(experiments)
    assert found.info.status == 'FINISHED' and found.info.run_name == 'work/seed0'
    for name in VALUES:
        history = {each.step: each.value for each in client.get_metric_history(found.info.run_id, name)}
        assert history == pytest.approx({line['epoch']: line[name] for line in lines}) and len(lines) == 3
    params = found.data.params
    assert params['model.method'] == 'none' and params['seed'] == '0'
    assert not any('llm' in name.split('.')[0] for name in params)
    client.delete_run(found.info.run_id)
    trained(small_run, folder, 'mlflow', epochs=4)
    other, = client.search_runs(experiments)
    assert [each.step for each in client.get_metric_history(other.info.run_id, 'loss')] == [4]


def client_of(folder):
    from mlflow import MlflowClient
    return MlflowClient(f'sqlite:///{folder / "work" / "mlflow.db"}')


@pytest.mark.slow
def test_weights_and_biases_writes_offline_unless_told_otherwise(small_run, tmp_path):
    pytest.importorskip('wandb', reason='the extra [wandb] is not installed')
    lines = trained(small_run, tmp_path, 'wandb')
    written, = tmp_path.glob('wandb/offline-run-*/*.wandb')
    history = wandb_history(written)
    assert [each['_step'] for each in history] == [1, 2]
    for name in VALUES:
        assert [each[name] for each in history] == pytest.approx([line[name] for line in lines])
    first = json.loads((tmp_path / 'sinks.json').read_text())['wandb']['run']
    assert first in written.name
    trained(small_run, tmp_path, 'wandb', epochs=3)
    more, = set(tmp_path.glob('wandb/offline-run-*/*.wandb')) - {written}
    assert more.name == written.name and [each['_step'] for each in wandb_history(more)] == [3]


def wandb_history(path):
    """The rows that a file of Weights & Biases holds: a header of 7 bytes, then LevelDB's log of records."""
    from wandb.proto import wandb_internal_pb2
    content, place, whole, found = path.read_bytes(), 7, b'', []
    while place < len(content):
        if 32768 - place % 32768 < 7:  # no room for a header: the next block
            place += 32768 - place % 32768
            continue
        length, kind = int.from_bytes(content[place + 4:place + 6], 'little'), content[place + 6]
        whole += content[place + 7:place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a full record, or the last part of one
            record, whole = wandb_internal_pb2.Record.FromString(whole), b''
            if record.WhichOneof('record_type') == 'history':
                found.append({item.key or '/'.join(item.nested_key): json.loads(item.value_json)
                              for item in record.history.item})
    return found


@pytest.mark.slow
def test_tensorboard_is_the_default_and_goes_without_a_word_where_it_is_not_installed(small_run, tmp_path, caplog):
    assert default().train.sinks == ('tensorboard',)
    trained(small_run, tmp_path, 'tensorboard')
    installed = importlib.util.find_spec('tensorboardX') is not None
    assert bool(list(tmp_path.glob('tensorboard/events*'))) == installed
    assert not [record for record in caplog.records if 'sinks' in record.getMessage()]


@pytest.mark.parametrize(('names', 'words'), [
    (('tensorbord',), r"train\.sinks=\('tensorbord',\): 'tensorbord' is none; give some of tensorboard, mlflow, wandb"),
    (('absent',), r"absent_library is not installed; pip install 'grasp_jax\[absent\]'")])
def test_a_sink_that_is_not_there_is_refused_before_anything_is_made(monkeypatch, names, words):
    monkeypatch.setitem(sinks._SINKS, 'absent', (('absent_library',), sinks.TensorBoard))
    with pytest.raises(UserError, match=words):
        check_config(changed(default(), {'train.sinks': names, 'model.method': 'none'}))


@pytest.mark.slow
def test_a_sink_that_cannot_be_opened_ends_the_run_in_one_line(small_run, tmp_path, monkeypatch):
    for module in ('mlflow', 'sqlalchemy', 'alembic'):
        pytest.importorskip(module, reason='the extra [mlflow] is not installed')
    monkeypatch.setenv('MLFLOW_TRACKING_URI', f'sqlite:///{tmp_path}/file/mlflow.db')
    (tmp_path / 'file').touch()
    (tmp_path / 'seed0').mkdir()
    with pytest.raises(UserError, match='train.sinks: mlflow cannot be written to .*; mend its settings') as error:
        trained(small_run, tmp_path / 'seed0', 'mlflow')
    assert '\n' not in str(error.value)


class Broken:
    """A server that goes away after the first epoch."""

    def __init__(self):
        self.steps = []

    def log(self, step, values):
        self.steps.append(step)
        if step > 1:
            raise ConnectionError('the server\nis gone')

    def close(self):
        raise AssertionError('it was given up')


def test_a_sink_that_fails_later_is_given_up_with_one_line(tmp_path, caplog):
    broken = Broken()
    log = MetricsLog(tmp_path, 0, [broken])
    with caplog.at_level(logging.WARNING):
        for epoch in (1, 2, 3):
            log.write({'epoch': epoch, 'valid_ndcg10': 0.5})
        log.close()
    assert broken.steps == [1, 2] and len(read_metrics(tmp_path)) == 3
    line, = [record.getMessage() for record in caplog.records]
    assert line.startswith('train.sinks: Broken takes no more values (the server is gone); training goes on')


def test_a_folder_keeps_its_owner_whatever_its_sinks_are(tmp_path):
    seeds.claim_run(tmp_path, default(), ['x'])
    manifest = json.loads((tmp_path / 'manifest.json').read_text())
    assert 'sinks' not in manifest['config']['train']
    seeds.claim_run(tmp_path, changed(default(), {'train.sinks': ('wandb', 'mlflow')}), ['x'])


def test_nothing_of_language_models_is_shown():
    shown = sinks._settings(changed(default(), {'llm.extra': '{"secret": 1}'}), 3)
    assert 'secret' not in str(shown) and shown['train.batch_size'] == default().train.batch_size
    assert sinks._name(pathlib.Path('/a/work/seed3')) == 'work/seed3'

"""Where the values of each epoch are shown beside `metrics.jsonl`: TensorBoard, MLflow, Weights & Biases.

All of them stay on this machine unless their own environment variables name a server: MLflow keeps `mlflow.db` in the
work folder where MLFLOW_TRACKING_URI is not set, Weights & Biases is offline where WANDB_MODE is not set. No key is
read or logged here, and of the config the section `llm` is left out. A run that goes on after a kill goes on in the
same run of a sink.
"""

import contextlib
import importlib.util
import os
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError

_RUNS = 'sinks.json'  # of the folder of a seed: which runs of MLflow and Weights & Biases are its own
_PROJECT = 'grasp_jax'


class Sink(Protocol):
    """What is told the values of each epoch."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Takes the values of an epoch, which counts from 1."""

    def close(self) -> None:
        """Ends the record, when training ends in any way."""


def check(names: Sequence[str]) -> None:
    """Refuses names of no sink, and those whose library is not installed.

    TensorBoard is the default and goes without a word where it is not installed.

    Raises:
      UserError: names the setting and the remedy.
    """
    shown = f'train.sinks={tuple(names)!r}'
    for name in names:
        if name not in _SINKS:
            raise UserError(f"{shown}: {name!r} is none; give some of {', '.join(_SINKS)}, as ('mlflow', 'wandb')")
        missing = [module for module in _SINKS[name][0] if importlib.util.find_spec(module) is None]
        if missing and name != 'tensorboard':
            raise UserError(f"{shown}: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
                            f"pip install 'grasp_jax[{name}]'")


def opened(names: Sequence[str], folder: pathlib.Path, config: ml_collections.ConfigDict, seed: int,
           epochs_done: int) -> list[Sink]:
    """The sinks of a seed.

    Args:
      names: as in `config.train.sinks`.
      folder: of the seed.
      config: the full config.
      seed: the seed.
      epochs_done: how many epochs the checkpoint holds; later ones will be logged again.

    Raises:
      UserError: a name is of no sink, a library is not installed, or a sink cannot be written to.
    """
    check(names)
    found: list[Sink] = []
    for name in dict.fromkeys(names):
        modules, start = _SINKS[name]
        if all(importlib.util.find_spec(module) for module in modules):
            try:
                found.append(start(folder, config, seed, epochs_done))
            except Exception as error:  # of a server or a library, of any type
                for sink in found:
                    sink.close()
                raise UserError(f'train.sinks: {name} cannot be written to ({_brief(error)}); '
                                'mend its settings in the environment, or leave it out') from error
    return found


class TensorBoard:
    """Event files in `tensorboard/` of the seed's folder."""

    def __init__(self, folder: pathlib.Path, config: ml_collections.ConfigDict, seed: int, epochs_done: int):
        """Opens a file; what earlier ones hold after `epochs_done` is no longer shown."""
        from tensorboardX import SummaryWriter
        self._writer = SummaryWriter(str(folder / 'tensorboard'), purge_step=epochs_done + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As in `Sink`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self) -> None:
        """As in `Sink`."""
        self._writer.close()


class MLflow:
    """A run of MLflow, in the experiment MLFLOW_EXPERIMENT_NAME, or that of the data set's name."""

    def __init__(self, folder: pathlib.Path, config: ml_collections.ConfigDict, seed: int, epochs_done: int):
        """Begins the run, or takes up the one that the folder notes."""
        from mlflow import MlflowClient
        from mlflow.entities import Param
        from mlflow.exceptions import MlflowException

        where = os.environ.get('MLFLOW_TRACKING_URI') or f'sqlite:///{folder.absolute().parent / "mlflow.db"}'
        self._client = MlflowClient(where)
        known = _noted(folder, 'mlflow')
        if known and known['where'] == where:
            self._run = known['run']
            with contextlib.suppress(MlflowException):  # the run is gone from there: a new one
                self._client.update_run(self._run, status='RUNNING')
                return
        name = os.environ.get('MLFLOW_EXPERIMENT_NAME') or config.data.name or _PROJECT
        experiment = self._client.get_experiment_by_name(name)
        number = experiment.experiment_id if experiment else self._client.create_experiment(name)
        self._run = self._client.create_run(number, run_name=_name(folder)).info.run_id
        settings = [Param(key, str(value)[:500]) for key, value in _settings(config, seed).items() if str(value)]
        self._client.log_batch(self._run, params=settings)
        _note(folder, 'mlflow', {'where': where, 'run': self._run})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As in `Sink`."""
        from mlflow.entities import Metric
        now = int(1000 * time.time())
        self._client.log_batch(self._run, metrics=[Metric(name, float(value), now, step)
                                                   for name, value in values.items()])

    def close(self) -> None:
        """As in `Sink`."""
        self._client.set_terminated(self._run)


class WeightsAndBiases:
    """A run of Weights & Biases, in the project WANDB_PROJECT or `grasp_jax`, offline unless WANDB_MODE says online."""

    def __init__(self, folder: pathlib.Path, config: ml_collections.ConfigDict, seed: int, epochs_done: int):
        """Begins the run, or takes up the one that the folder notes; neither code nor console is sent."""
        import wandb
        known = _noted(folder, 'wandb')
        mode: Any = os.environ.get('WANDB_MODE') or 'offline'
        self._run = wandb.init(
            project=os.environ.get('WANDB_PROJECT') or _PROJECT, dir=str(folder), name=_name(folder), mode=mode,
            id=known['run'] if known else None, resume='allow' if known and mode == 'online' else None,
            config=_settings(config, seed), reinit='create_new',
            settings=wandb.Settings(silent=True, console='off', disable_git=True, save_code=False))
        _note(folder, 'wandb', {'run': self._run.id})

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """As in `Sink`."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """As in `Sink`."""
        self._run.finish()


_SINKS: dict[str, tuple[tuple[str, ...], Callable[[pathlib.Path, ml_collections.ConfigDict, int, int], Sink]]] = {
    'tensorboard': (('tensorboardX',), TensorBoard),
    'mlflow': (('mlflow', 'sqlalchemy', 'alembic'), MLflow),
    'wandb': (('wandb',), WeightsAndBiases),
}


def _brief(error: Exception) -> str:
    return ' '.join(str(error).split())[:300]


def _name(folder: pathlib.Path) -> str:
    """Of a run: work folder and seed."""
    return '/'.join(folder.absolute().parts[-2:])


def _settings(config: ml_collections.ConfigDict, seed: int) -> dict[str, Any]:
    """The settings by dotted names, without those of language models."""
    sections = {section: values for section, values in config.to_dict().items() if section != 'llm'}
    return {'seed': seed, **{f'{section}.{key}': value for section, values in sections.items()
                             for key, value in values.items()}}


def _noted(folder: pathlib.Path, name: str) -> dict[str, str] | None:
    found: dict[str, dict[str, str]] = artefacts.read_json(folder / _RUNS) if (folder / _RUNS).exists() else {}
    return found.get(name)


def _note(folder: pathlib.Path, name: str, run: dict[str, str]) -> None:
    known = artefacts.read_json(folder / _RUNS) if (folder / _RUNS).exists() else {}
    artefacts.write_json(folder / _RUNS, {**known, name: run})

"""The record of a run: one JSON object an epoch, and TensorBoard where it is installed."""

import json
import os
import pathlib
from typing import Any

from grasp_jax import artefacts
from grasp_jax.errors import UserError

METRICS_FILE = 'metrics.jsonl'


class MetricsLog:
    """Appends to `metrics.jsonl`; a resumed run first drops what came after its checkpoint."""

    def __init__(self, folder: pathlib.Path, epochs_done: int):
        """Opens the log of a run.

        Args:
          folder: of the run.
          epochs_done: how many epochs the checkpoint holds; lines of later ones are dropped, they will be run again.
        """
        self._path = folder / METRICS_FILE
        lines = [line for line in read_metrics(folder) if line['epoch'] <= epochs_done]
        artefacts.write_text(self._path, ''.join(json.dumps(line) + '\n' for line in lines))
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            self._board = None
        else:
            self._board = SummaryWriter(str(folder / 'tensorboard'), purge_step=epochs_done + 1)

    def write(self, line: dict[str, Any]) -> None:
        """Adds one epoch's values."""
        with self._path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
            file.flush()
            os.fsync(file.fileno())  # on disk before the checkpoint that relies on it
        if self._board is not None:
            for key, value in line.items():
                self._board.add_scalar(key, value, line['epoch'])
            self._board.flush()


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """All complete lines of a run's log, none where there is no log; a last line that a kill cut short is left out.

    Raises:
      UserError: the file cannot be read, or a line is not what training writes.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return []
    remedy = f'delete {folder} and train again'
    try:
        *lines, _ = path.read_text(encoding='utf-8').split('\n')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: cannot be read ({error}); {remedy}') from error
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(json.loads(line))
            if not isinstance(rows[-1]['epoch'], int) or not isinstance(rows[-1]['valid_ndcg10'], (int, float)):
                raise TypeError('no numbers')
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{path}: line {number} is not an epoch of training ({error!r}); {remedy}') from error
    return rows

"""The record of a run: one JSON object an epoch, and what the sinks of the config make of it."""

import json
import logging
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.training.sinks import Sink

LOG = logging.getLogger(__name__)
METRICS_FILE = 'metrics.jsonl'


class MetricsLog:
    """Appends to `metrics.jsonl`; a resumed run first drops what came after its checkpoint."""

    def __init__(self, folder: pathlib.Path, epochs_done: int, sinks: Sequence[Sink] = ()):
        """Opens the log of a run.

        Args:
          folder: of the run.
          epochs_done: how many epochs the checkpoint holds; lines of later ones are dropped, they will be run again.
          sinks: told of each epoch as well, and closed at the end.
        """
        self._path, self._sinks = folder / METRICS_FILE, list(sinks)
        lines = [line for line in read_metrics(folder) if line['epoch'] <= epochs_done]
        artefacts.write_text(self._path, ''.join(json.dumps(line) + '\n' for line in lines))

    def write(self, line: dict[str, Any]) -> None:
        """Adds one epoch's values."""
        with self._path.open('a', encoding='utf-8') as file:
            file.write(json.dumps(line) + '\n')
            file.flush()
            os.fsync(file.fileno())  # on disk before the checkpoint that relies on it
        self._tell(lambda sink: sink.log(line['epoch'], line))

    def close(self) -> None:
        """Closes the sinks."""
        self._tell(lambda sink: sink.close())

    def _tell(self, call: Callable[[Sink], None]) -> None:
        """Calls all sinks; one that fails is given up, for training is worth more than its picture."""
        for sink in list(self._sinks):
            try:
                call(sink)
            except Exception as error:  # of a server or a library, of any type
                LOG.warning('train.sinks: %s takes no more values (%s); training goes on, and %s has them all',
                            type(sink).__name__, ' '.join(str(error).split()), self._path)
                self._sinks.remove(sink)


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

"""The record of a run: one JSON object an epoch, and TensorBoard where it is installed."""

import json
import pathlib
from typing import Any

from grasp_jax import artefacts


class MetricsLog:
    """Appends to `metrics.jsonl`; a resumed run first drops what came after its checkpoint."""

    def __init__(self, folder: pathlib.Path, epochs_done: int):
        """Opens the log of a run.

        Args:
          folder: of the run.
          epochs_done: how many epochs the checkpoint holds; lines of later ones are dropped, they will be run again.
        """
        self._path = folder / 'metrics.jsonl'
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
        if self._board is not None:
            for key, value in line.items():
                self._board.add_scalar(key, value, line['epoch'])
            self._board.flush()


def read_metrics(folder: pathlib.Path) -> list[dict[str, Any]]:
    """All complete lines of a run's log; a last line that a kill cut short is left out."""
    path = folder / 'metrics.jsonl'
    if not path.exists():
        return []
    lines = path.read_text(encoding='utf-8').split('\n')
    return [json.loads(line) for line in lines[:-1]]

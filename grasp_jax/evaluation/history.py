"""What training wrote down about itself, read back from metrics.jsonl."""

import dataclasses
import pathlib

import numpy as np
from ml_collections import ConfigDict

from grasp_jax.common.errors import UserError
from grasp_jax.training.growing import out_of_patience
from grasp_jax.training.metrics_log import METRICS_FILE, read_metrics

_LAST = 3  # a best epoch among the last so many means that the next one might have been better


@dataclasses.dataclass(frozen=True)
class History:
    """One seed's training, epoch by epoch.

    Attributes:
      epochs: number of each epoch, ascending.
      loss: mean training loss.
      valid_ndcg10: validation NDCG@10, a fraction.
      valid_hr10: validation HR@10, a fraction.
      seconds: wall-clock seconds of all epochs together.
    """

    epochs: list[int]
    loss: list[float]
    valid_ndcg10: list[float]
    valid_hr10: list[float]
    seconds: float

    @property
    def best(self) -> int:
        """Index of the first epoch with the highest validation NDCG@10."""
        return int(np.argmax(self.valid_ndcg10))

    def is_unfinished(self, config: ConfigDict) -> bool:
        """Whether `train.max_epochs` ended the run while it got better still: its best epoch is among the last three. A
        few epochs more after another run (`train.start_from`) are meant to be few."""
        limit = config.train.max_epochs
        if len(self.epochs) < limit or (config.train.start_from and limit <= _LAST):
            return False
        return self.best >= len(self.epochs) - _LAST and not out_of_patience(
            len(self.epochs), self.best, config.train.patience)


def load_history(run_dir: pathlib.Path) -> History:
    """Reads metrics.jsonl; an epoch that was repeated after a restart counts as it was written last.

    Raises:
      UserError: the file is missing, empty, or a line is not what training writes.
    """
    by_epoch: dict[int, tuple[float, ...]] = {}
    for number, row in enumerate(read_metrics(run_dir), 1):
        try:
            by_epoch[int(row['epoch'])] = tuple(
                float(row[key]) for key in ('loss', 'valid_ndcg10', 'valid_hr10', 'seconds'))
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f'{run_dir / METRICS_FILE}: line {number} is not an epoch of training ({error!r}); '
                            f'delete {run_dir} and train again') from error
    if not by_epoch:
        raise UserError(f'{run_dir / METRICS_FILE}: holds no epoch; delete {run_dir} and train again')
    epochs = sorted(by_epoch)
    loss, ndcg, hits, seconds = (list(column) for column in zip(*(by_epoch[epoch] for epoch in epochs), strict=True))
    return History(epochs, loss, ndcg, hits, sum(seconds))

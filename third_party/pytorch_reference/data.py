"""Padded batches from a DataLoader: sequences on the left, zeros on the right, one negative for every position."""

from typing import NamedTuple

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset


class Batch(NamedTuple):
    """B users padded to L positions.

    Attributes:
      users: int64 [B].
      inputs: int64 [B, L], 0 for padding.
      positives, negatives: int64 [B, L], what each position should and should not predict.
      valid: bool [B, L], positions that hold an item.
      counted: bool [B, L], positions with a target.
      masked: bool [B, L], items that BERT4Rec must not see; None for causal models.
    """

    users: torch.Tensor
    inputs: torch.Tensor
    positives: torch.Tensor
    negatives: torch.Tensor
    valid: torch.Tensor
    counted: torch.Tensor
    masked: torch.Tensor | None


class Sequences(Dataset):
    """Training sequences of users, fetched a batch at a time with NumPy.

    Args:
      users: int [u], numbers of the users.
      starts, lengths: int [u], where their items lie in `items`.
      items: int [interactions].
      num_items: m.
      max_length: L of the causal models; BERT4Rec gets L + 1, as it has no shifted target.
      cloze: None for causal models; else the share of positions hidden and the share of sequences in which only the
        last item is hidden.
      seed: of negatives and masks.
    """

    def __init__(self, users: np.ndarray, starts: np.ndarray, lengths: np.ndarray, items: np.ndarray, num_items: int,
                 max_length: int, cloze: tuple[float, float] | None = None, seed: int = 0):
        self.users, self.starts, self.lengths, self.items = users, starts, lengths, items
        self.num_items, self.width, self.cloze = num_items, max_length + 1, cloze
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.users)

    def __getitems__(self, chosen: list[int]) -> Batch:
        rows = np.asarray(chosen)
        kept = np.minimum(self.lengths[rows], self.width)
        column = np.arange(self.width)
        there = column < kept[:, None]
        first = self.starts[rows] + self.lengths[rows] - kept
        items = np.where(there, self.items[np.where(there, first[:, None] + column, 0)], 0)
        negatives = self._negatives(items)
        if self.cloze is None:
            valid, counted = there[:, :-1], there[:, 1:]
            fields = (items[:, :-1] * valid, items[:, 1:], negatives[:, 1:], valid, counted)
            masked = None
        else:
            hidden, only_last = self.cloze
            last = column == kept[:, None] - 1
            some = self.rng.random(there.shape) < hidden
            masked = there & np.where(self.rng.random((len(rows), 1)) < only_last, last, some)
            fields = (items, items, negatives, there, masked)
        tensors = (torch.from_numpy(np.ascontiguousarray(field)) for field in (self.users[rows], *fields))
        return Batch(*tensors, None if masked is None else torch.from_numpy(masked))

    def _negatives(self, items: np.ndarray) -> np.ndarray:
        """Uniform items outside the user's row, [B, L + 1]; drawn again until all are."""
        negatives = self.rng.integers(1, self.num_items + 1, items.shape)
        own = np.sort(items, 1)
        # A row's items and draws are told apart from other rows' by an offset, so one search serves all rows.
        offset = np.arange(len(items))[:, None] * (self.num_items + 1)
        known = (own + offset).ravel()
        while True:
            wanted = negatives + offset
            place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
            again = known[place] == wanted
            if not again.any():
                return negatives
            negatives[again] = self.rng.integers(1, self.num_items + 1, int(again.sum()))


def _as_it_is(batch: Batch) -> Batch:
    return batch


def loader(sequences: Sequences, batch_size: int, seed: int, workers: int = 0) -> DataLoader:
    """Shuffled batches of an epoch."""
    return DataLoader(sequences, batch_size, shuffle=True, collate_fn=_as_it_is, num_workers=workers,
                      generator=torch.Generator().manual_seed(seed))

"""Trains the reference: Adam on Eq. 6."""

from collections.abc import Iterable
from typing import Any

import torch

from third_party.pytorch_reference.data import Batch
from third_party.pytorch_reference.model import Recommender


def make_optimizer(model: Recommender, learning_rate: float) -> torch.optim.Optimizer:
    """Adam with PyTorch's own defaults."""
    return torch.optim.Adam(model.parameters(), learning_rate)


def train_step(model: Any, optimizer: torch.optim.Optimizer, batch: Batch) -> torch.Tensor:
    """One optimiser step; returns the loss. `model` may be a module or what `torch.compile` made of its loss."""
    optimizer.zero_grad(set_to_none=True)
    loss = model.loss(batch) if isinstance(model, Recommender) else model(batch)
    loss.backward()
    optimizer.step()
    return loss.detach()


def train_epoch(model: Recommender, optimizer: torch.optim.Optimizer, batches: Iterable[Batch],
                compile_loss: bool = False) -> float:
    """Runs over all batches with dropout on; returns the mean loss."""
    model.train()
    step = torch.compile(model.loss) if compile_loss else model
    return float(torch.stack([train_step(step, optimizer, batch) for batch in batches]).mean())

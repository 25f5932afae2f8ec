"""The other side: the PyTorch reference on the same data, on the same kind of device."""

import itertools
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.spec import ModelSpec
from grasp_jax.training.train_spec import TrainSpec
from grasp_jax.training.training_setup import TrainingSetup


def require_vectors(run: TrainingSetup) -> None:
    """Refuses runs that the reference cannot repeat.

    Raises:
      UserError: the vectors stay on the host.
    """
    if run.host is not None:
        raise UserError('the reference needs all vectors on its device, and these stay on the host; use --noreference')


class Reference:
    """Runs the reference a step, a part of a step, or a batch of users at a time.

    Attributes:
      model: the reference's recommender.
      device: 'cpu' or 'cuda', as JAX's.
    """

    def __init__(self, spec: ModelSpec, train: TrainSpec, batch_size: int, interactions: Interactions,
                 tables: FrozenVectors | None, params: Any, compiled: bool = False):
        """Builds it with the weights `params` of the Flax model.

        Raises:
          UserError: PyTorch or the reference is not to be found, or PyTorch sees no GPU where JAX has one.
        """
        try:
            import torch

            from third_party.pytorch_reference import convert, data
            from third_party.pytorch_reference import train as training
            from third_party.pytorch_reference.model import Recommender
        except ImportError as error:
            raise UserError(f'benchmark: the reference cannot be loaded ({error}); run from the project\'s root after '
                            'pip install -e ".[reference]", or pass --noreference') from error
        self._torch, self._training, self._num_items = torch, training, spec.num_items
        self.device = 'cuda' if jax.default_backend() == 'gpu' else 'cpu'
        if self.device == 'cuda':
            if not torch.cuda.is_available():
                raise UserError('benchmark: JAX runs on a GPU and the installed PyTorch sees none; install one built '
                                'for CUDA, or pass --noreference')
            torch.set_float32_matmul_precision('high')  # TensorFloat-32, as JAX's products of float32 there
        self.model: Any = Recommender(spec, tables)  # untyped where PyTorch is not installed
        self.model.load_state_dict(convert.weights_to_torch(jax.device_get(params), spec))
        self.model.to(self.device)
        self._optimizer = training.make_optimizer(self.model, train.learning_rate)
        self._loss = torch.compile(self.model.loss) if compiled else self.model
        lengths = interactions.input_lengths('train')
        users = np.flatnonzero(lengths >= 2)
        cloze = None if spec.causal else (train.mask_prob, train.mask_last_prob)
        known = data.Sequences(users, interactions.indptr[users], lengths[users], interactions.items, spec.num_items,
                               spec.max_length, cloze)
        self._batches: Iterator[Any] = itertools.chain.from_iterable(
            data.loader(known, batch_size, epoch) for epoch in itertools.count())

    def batch(self) -> Any:
        """The next batch, on the device."""
        return self.to_device(next(self._batches))

    def to_device(self, batch: Any) -> Any:
        """A batch's tensors moved to the device."""
        return type(batch)(*(None if field is None else field.to(self.device) for field in batch))

    def step(self) -> None:
        """Fetches a batch and takes one step of Adam."""
        self.model.train()
        self._training.train_step(self._loss, self._optimizer, self.batch())
        self.wait()

    def loss(self, batch: Any) -> float:
        """The loss of a batch without dropout."""
        self.model.eval()
        with self._torch.no_grad():
            return float(self.model.loss(self.to_device(batch)))

    def parts(self) -> dict[str, Any]:
        """Calls that run one part of a step each, forward and backward, on a batch fetched beforehand."""
        torch, model, batch = self._torch, self.model, self.batch()
        model.train()
        shown, users = batch.inputs, batch.users[:, None]
        roles = [shown, batch.positives, batch.negatives]
        if batch.masked is not None:
            hidden = batch.masked
            users_hidden = users.expand_as(shown)[hidden][:, None]
            pairs = [(users, shown), *((users_hidden, ids[hidden][:, None]) for ids in roles[1:])]
        else:
            pairs = [(users, ids) for ids in roles]
        inputs = model.encoder(users, shown).detach().requires_grad_()

        def item_encoder() -> None:
            sum(model.encoder(who, ids).sum() for who, ids in pairs).backward()
            self.wait()

        def backbone() -> None:
            model.backbone(inputs, batch.valid).sum().backward()
            self.wait()

        def optimizer() -> None:
            self._optimizer.step()
            self.wait()

        def fetch() -> None:
            self.batch()

        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        return {'batch': fetch, 'item encoder': item_encoder, 'backbone': backbone, 'optimizer': optimizer}

    def rank_all(self, users: np.ndarray, sequences: np.ndarray, lengths: np.ndarray, chunk: int) -> np.ndarray:
        """Scores of every item for some users, the equations as printed: padded ids [B, L] -> [B, m]."""
        torch = self._torch
        self.model.eval()
        who, items = (torch.from_numpy(field).long().to(self.device) for field in (users, sequences))
        valid = torch.arange(items.shape[1], device=self.device) < torch.from_numpy(lengths).to(self.device)[:, None]
        with torch.no_grad():
            masked = None if self.model.mask_vector is None else valid & (items == 0)
            states = self.model.states(who, items, masked, valid)
            last = states[torch.arange(len(who)), torch.from_numpy(lengths).long().to(self.device) - 1]
            return self.model.score_all(who, last, self._num_items, chunk).cpu().numpy()

    def wait(self) -> None:
        """Returns when the device has nothing left to do."""
        if self.device == 'cuda':
            self._torch.cuda.synchronize()

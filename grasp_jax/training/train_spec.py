"""The part of the `train` section that shapes a step, frozen so that it can be part of a compiled program."""

import dataclasses

import ml_collections

LOSSES = ('bce', 'gbce', 'sampled_softmax', 'softmax')


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """The part of the `train` section that shapes a step."""

    learning_rate: float
    weight_decay: float
    ema_decay: float
    mask_prob: float
    mask_last_prob: float
    loss: str
    negatives: int
    shared_negatives: bool
    negative_popularity: float
    temperature: float
    gbce_t: float
    softmax_dtype: str
    supervise_last: int
    micro_batches: int

    @property
    def own_negatives(self) -> int:
        """Negatives that every position draws for itself."""
        return 0 if self.shared_negatives or self.loss == 'softmax' else self.negatives


def train_spec(config: ml_collections.ConfigDict) -> TrainSpec:
    """Freezes what a step needs of the `train` section."""
    return TrainSpec(**{field.name: config.train[field.name] for field in dataclasses.fields(TrainSpec)})

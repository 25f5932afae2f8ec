"""The reference by itself: padded batches, negatives, masks, and that it learns."""

import numpy as np
import pytest

from grasp_jax.config import default
from grasp_jax.models.spec import model_spec

torch = pytest.importorskip('torch', reason='needs the [reference] extra')

from third_party.pytorch_reference import data, train  # noqa: E402
from third_party.pytorch_reference.model import Recommender  # noqa: E402

pytestmark = pytest.mark.slow

ITEMS, LONGEST = 12, 6


def sequences(cloze=None, users=200):
    """Walks around a circle of items, 2 to 9 steps long."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(2, 10, users)
    items = np.concatenate([1 + (rng.integers(ITEMS) + np.arange(length)) % ITEMS for length in lengths])
    return data.Sequences(np.arange(users), np.cumsum(lengths) - lengths, lengths, items, ITEMS, LONGEST, cloze)


def test_causal_batches():
    known = sequences()
    seen = []
    for batch in data.loader(known, 64, seed=1):
        seen += batch.users.tolist()
        assert batch.inputs.shape[1] == LONGEST and batch.masked is None
        # The next item around the circle, and the newest items of those who have too many.
        np.testing.assert_array_equal((batch.inputs % ITEMS + 1)[batch.counted], batch.positives[batch.counted])
        last = batch.positives[np.arange(len(batch.users)), batch.counted.sum(1) - 1]
        ends = known.starts + known.lengths - 1
        np.testing.assert_array_equal(last, known.items[ends[batch.users]])
        for row, negatives, targets, counted in zip(batch.inputs, batch.negatives, batch.positives, batch.counted,
                                                    strict=True):
            own = {*row.tolist(), *targets[counted].tolist()}
            assert not own & set(negatives[counted].tolist())
        kept = np.minimum(known.lengths, LONGEST + 1)[batch.users]
        np.testing.assert_array_equal(batch.counted.sum(1), kept - 1)
    assert sorted(seen) == list(range(200))


def test_cloze_batches():
    for batch in data.loader(sequences(cloze=(0.5, 0.3)), 100, seed=1):
        assert batch.inputs.shape[1] == LONGEST + 1
        assert not (batch.masked & ~batch.valid).any()
        assert 0.3 < batch.masked.sum() / batch.valid.sum() < 0.6
        np.testing.assert_array_equal(batch.inputs, batch.positives)


@pytest.mark.parametrize(('backbone', 'cloze'), (('sasrec', None), ('gru4rec', None), ('bert4rec', (0.3, 0.2))))
def test_it_learns_the_circle(backbone, cloze):
    torch.manual_seed(0)
    config = default()
    config.model.update({'backbone': backbone, 'method': 'none', 'hidden_size': 16, 'dropout': 0.1,
                         'max_length': LONGEST})
    model = Recommender(model_spec(config, ITEMS))
    optimizer = train.make_optimizer(model, 1e-2)
    known = sequences(cloze)
    losses = [train.train_epoch(model, optimizer, data.loader(known, 32, epoch)) for epoch in range(25)]
    assert losses[-1] < 0.4 < 0.5 < losses[0]

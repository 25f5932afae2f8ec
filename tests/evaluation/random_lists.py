"""A thousand lists drawn at random, interactions and vectors: what another library measured is recorded in
rectools_values.json. Of NumPy alone, so that any interpreter can make them."""

import numpy as np

USERS, ITEMS, DEPTH, WIDTH = 1000, 300, 20, 24
KS = (1, 2, 5, 10, 20)


def drawn():
    """Lists int32 [users, depth] with 0 behind short ones, training rows (user, item) int64 [n, 2], vectors."""
    rng = np.random.default_rng(11)
    chance = 1 / np.arange(1, ITEMS + 1) ** 0.7
    order = np.argsort(np.log(rng.random((USERS, ITEMS))) / chance, axis=1)[:, ::-1][:, :DEPTH]  # without repeats
    lists = (1 + order).astype(np.int32)
    some = rng.random(USERS) < 0.2
    lengths = np.where(some, rng.integers(1, DEPTH + 1, USERS), DEPTH)
    lists[np.arange(DEPTH)[None] >= lengths[:, None]] = 0
    many = rng.integers(1, 30, USERS)
    items = rng.integers(1, ITEMS - 9, (4, many.sum())).min(0)  # small numbers more often, the last ones never
    rows = np.stack([np.repeat(np.arange(USERS), many), items], 1)
    vectors = rng.normal(size=(ITEMS + 1, WIDTH)).astype(np.float32)
    vectors[0] = 0
    return lists, rows.astype(np.int64), vectors

import numpy as np
import pytest

from grasp_jax import config as configs
from grasp_jax.data.interactions import Interactions
from grasp_jax.evaluation import groups


def from_sequences(sequences, num_items):
    indptr = np.concatenate([[0], np.cumsum([len(sequence) for sequence in sequences])])
    return Interactions(indptr.astype(np.int64), np.concatenate(sequences).astype(np.int32), num_items)


def masks_of(interactions, config):
    return groups.group_masks(interactions, interactions.evaluated_users(), interactions.targets('test'), config)


@pytest.fixture
def config():
    return configs.default()


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    return from_sequences([rng.zipf(1.6, size).clip(max=60) for size in rng.integers(1, 30, 300)], 60)


@pytest.mark.parametrize('threshold', [0, 1, 4, 10_000])
def test_groups_partition_the_users(shop, config, threshold):
    config.evaluate.head_user = config.evaluate.head_item = threshold
    masks = masks_of(shop, config)
    assert set(masks) == set(groups.GROUPS)
    for kind in ('user', 'item'):
        counted = masks[f'tail_{kind}'].astype(int) + masks[f'head_{kind}']
        assert counted.tolist() == [1] * len(shop.evaluated_users())


def test_the_first_user_is_counted_and_thresholds_look_at_training_only(config):
    # User 0 has 3 training items, user 1 has 2, user 2 is too short to be evaluated but its items train.
    shop = from_sequences([[1, 1, 1, 2, 3], [2, 1, 4, 2], [4, 4]], 5)
    config.evaluate.head_user, config.evaluate.head_item = 3, 2
    masks = masks_of(shop, config)
    assert masks['head_user'].tolist() == [True, False]
    # Targets are 3 (never trained on) and 2 (once: what is validated or tested on does not count).
    assert masks['head_item'].tolist() == [False, False]
    config.evaluate.head_item = 1
    assert masks_of(shop, config)['head_item'].tolist() == [False, True]


def test_new_and_repeated_targets_are_groups_by_a_plain_loop(config):
    rng = np.random.default_rng(0)
    shop = from_sequences([rng.zipf(1.3, size).clip(max=300) for size in rng.integers(1, 12, 300)], 300)
    masks = masks_of(shop, config)
    trained = {item for user in range(300) for item in shop.sequence(user, 'train').tolist()}
    for row, user in enumerate(shop.evaluated_users()):
        *history, target = shop.full_sequence(user).tolist()
        assert masks['repeat'][row] == (target in history) and masks['new_target'][row] == (target not in trained)
    assert masks['repeat'].any() and masks['new_target'].any()
    some = shop.evaluated_users()[::7]
    few = groups.group_masks(shop, some, shop.targets('test')[::7], config)
    for name, mask in masks.items():
        np.testing.assert_array_equal(few[name], mask[::7])


def test_item_groups_follow_the_target_not_the_user(config):
    shop = from_sequences([[1, 1, 1, 1, 2], [1, 3, 1, 1]], 3)
    config.evaluate.head_item = 4
    assert masks_of(shop, config)['head_item'].tolist() == [False, True]


def test_all_that_tie_at_the_border_are_head(config):
    shop = from_sequences([[1, 2, 3]] * 9 + [[1, 2, 3, 1]], 3)
    config.evaluate.head_user = 0
    assert masks_of(shop, config)['head_user'].all()
    assert 'the top 20%, and all that tie with the last of them' in groups.described(config)


def test_pareto_thresholds_are_reported(shop, config):
    found = groups.thresholds(shop, config)
    lengths, counts = shop.input_lengths('train'), shop.train_item_counts()[1:]
    assert found['head_user'] == np.sort(lengths)[::-1][int(np.ceil(0.2 * len(lengths))) - 1]
    assert found['head_item'] == np.sort(counts)[::-1][int(np.ceil(0.2 * len(counts))) - 1]
    by_border = masks_of(shop, config)
    config.evaluate.head_user, config.evaluate.head_item = found['head_user'], found['head_item']
    for name, mask in masks_of(shop, config).items():
        np.testing.assert_array_equal(mask, by_border[name])
    assert groups.thresholds(shop, config) == found

"""Finished runs for tests of what is read from them."""

import json

import numpy as np

from grasp_jax import config as configs
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.evaluation import report
from grasp_jax.ranking import metrics
from grasp_jax.ranking.lists import Lists, save_lists
from grasp_jax.training import metrics_log


def run(workdir, shop, seeds=(42,), method='grasp', best=0.3, unmasked=True, depth=20, vectors=None, max_epochs=200,
        baselines=None, dataset=None, **evaluate):
    """A finished workdir of a model whose ranks lie in the best share of the candidates."""
    config = configs.default()
    config.data.name, config.model.method, config.train.seeds = 'corner_shop', method, seeds
    config.train.max_epochs = max_epochs
    config.evaluate.update(evaluate)
    users, targets = shop.evaluated_users(), shop.targets('test')
    chosen = evenly_spread(len(users), config.evaluate.max_users)
    users, targets = users[chosen], targets[chosen]
    run_dirs = [workdir / f'seed_{seed}' for seed in seeds]
    for seed, run_dir in zip(seeds, run_dirs, strict=True):
        run_dir.mkdir(parents=True, exist_ok=True)
        place = best * np.random.default_rng(seed).random(len(users))
        ranks = metrics.Ranks(users, targets, 1 + np.floor(101 * place), 1 + np.floor(150 * place))
        metrics.save_ranks(run_dir, ranks._replace(full_unmasked=ranks.full + 2) if unmasked else ranks)
        if depth:
            items = np.random.default_rng(seed).integers(1, 1 + round(best * shop.num_items), (len(users), depth))
            save_lists(run_dir, Lists(users, items))
        lines = [{'epoch': epoch, 'step': 9 * epoch, 'loss': 1 / epoch, 'sequences_per_s': 10.0, 'seconds': 2.0,
                  'valid_ndcg10': value, 'valid_hr10': 2 * value} for epoch, value in enumerate([0.1, 0.2, 0.15], 1)]
        (run_dir / metrics_log.METRICS_FILE).write_text(''.join(json.dumps(line) + '\n' for line in lines))
    stages = {'prepare': {'users': 120}, 'train': {'parameters': 7}}
    return report.write_report(workdir, config, run_dirs, stages, shop, 'python -m grasp_jax.main --config=my.py',
                               vectors=vectors, baselines=baselines, dataset=dataset)

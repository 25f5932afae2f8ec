"""RecBole: SASRec, BERT4Rec and GRU4Rec, trained until NDCG@10 on validation stops rising.

An example is a prefix with one target here, so an epoch has as many examples as the others have targets.
"""

import logging
import pathlib
from typing import Any

import numpy as np

from grasp_jax.benchmark.peers import job as jobs

LIBRARIES = ('recbole', 'torch', 'numpy')  # whose versions are written down

_USERS = 256  # whose scores are made together


def program(job: jobs.Job, split: jobs.Split, watch: jobs.Stopwatch) -> Any:
    """Trains; returns what makes the lists."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed
    from recbole.utils.case_study import full_sort_scores

    logging.disable(logging.WARNING)
    name = {'sasrec': 'SASRec', 'bert4rec': 'BERT4Rec', 'gru4rec': 'GRU4Rec'}[job.backbone]
    config = Config(name, 'peers', config_dict=_settings(job, split))
    init_seed(config['seed'], config['reproducibility'])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model(name)(config, train.dataset).to(config['device'])
    kind = get_trainer(config['MODEL_TYPE'], name)

    class Timed(kind):  # type: ignore[misc, valid-type]
        def _train_epoch(self, *given: Any, **named: Any) -> Any:
            watch.begin()
            found = super()._train_epoch(*given, **named)
            watch.end()
            return found

    trainer = Timed(config, model)
    trainer.fit(train, valid, saved=True, show_progress=False)
    import torch
    model.load_state_dict(torch.load(trainer.saved_model_file, map_location='cpu', weights_only=False)['state_dict'])

    def lists() -> np.ndarray:
        numbers = dataset.token2id('user_id', [str(user) for user in range(split.num_users)])
        # By this program's number of an item, which padding has too, the item's id here.
        ids = np.array([0, *map(int, dataset.id2token('item_id', np.arange(1, dataset.item_num)))])
        made = np.zeros((split.num_users, jobs.K), np.int32)
        for start in range(0, split.num_users, _USERS):
            users = np.arange(start, min(start + _USERS, split.num_users))
            scores = full_sort_scores(numbers[users], model, test).numpy()
            ordered = np.full((len(users), split.num_items), -np.inf, np.float32)
            ordered[:, ids[1:] - 1] = scores[:, 1:]
            made[users] = jobs.unseen(ordered, split, users)
        return made

    return lists


def _settings(job: jobs.Job, split: jobs.Split) -> dict[str, Any]:
    """Writes the interactions as RecBole reads them; returns its settings."""
    folder = pathlib.Path(job.folder, 'peers')
    folder.mkdir()
    table = np.stack(split.rows(0), 1)
    np.savetxt(folder / 'peers.inter', table, '%d', '\t', comments='',
               header='user_id:token\titem_id:token\ttimestamp:float')
    found: dict[str, Any] = {
        'data_path': job.folder, 'checkpoint_dir': job.folder,
        'load_col': {'inter': ['user_id', 'item_id', 'timestamp']},
        'epochs': job.epochs, 'stopping_step': jobs.PATIENCE, 'metrics': ['NDCG'], 'valid_metric': 'NDCG@10',
        'train_neg_sample_args': None, 'show_progress': False, 'seed': 42, 'state': 'ERROR'}
    if job.same:
        width = ({'embedding_size': jobs.WIDTH, 'hidden_size': jobs.WIDTH, 'dropout_prob': jobs.DROPOUT}
                 if job.backbone == 'gru4rec' else
                 {'hidden_size': jobs.WIDTH, 'inner_size': jobs.WIDTH, 'n_layers': jobs.BLOCKS, 'n_heads': jobs.HEADS,
                  'hidden_dropout_prob': jobs.DROPOUT, 'attn_dropout_prob': jobs.DROPOUT})
        found |= width | {'MAX_ITEM_LIST_LENGTH': jobs.LENGTH, 'learning_rate': jobs.RATE, 'loss_type': 'CE',
                          'train_batch_size': split.targets_a_batch()}
    return found

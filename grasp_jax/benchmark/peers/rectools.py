"""RecTools: SASRec and BERT4Rec, trained until the loss of validation stops falling, as its advanced guide does."""

from typing import Any

import numpy as np

from grasp_jax.benchmark.peers import job as jobs

LIBRARIES = ('rectools', 'torch', 'pytorch-lightning', 'numpy')  # whose versions are written down


def program(job: jobs.Job, split: jobs.Split, watch: jobs.Stopwatch) -> Any:
    """Trains; returns what makes the lists."""
    import pandas as pd
    import pytorch_lightning as lightning
    from pytorch_lightning.callbacks import Callback, EarlyStopping, ModelCheckpoint
    from rectools import Columns
    from rectools.dataset import Dataset
    from rectools.models import BERT4RecModel, SASRecModel

    class Timed(Callback):
        def on_train_epoch_start(self, *_: Any) -> None:
            watch.begin()

        def on_validation_start(self, trainer: Any, *_: Any) -> None:
            if not trainer.sanity_checking:
                watch.end()

    begin, last = pd.Timestamp('2020-01-01'), np.diff(split.indptr) - 2  # a place is a day; the last one validates
    users, items, places = split.rows(1)
    table = pd.DataFrame({Columns.User: users, Columns.Item: items, Columns.Weight: 1.0,
                          Columns.Datetime: begin + pd.to_timedelta(places, unit='D')})

    def validation(interactions: Any, **_: Any) -> np.ndarray:
        days = (interactions[Columns.Datetime] - begin).dt.days.to_numpy()
        return np.asarray(days == last[interactions[Columns.User].to_numpy()])

    def trainer() -> Any:
        callbacks = [Timed(), EarlyStopping('val_loss', patience=jobs.PATIENCE),
                     ModelCheckpoint(job.folder, monitor='val_loss', save_top_k=1)]
        return lightning.Trainer(max_epochs=job.epochs, callbacks=callbacks, logger=False, enable_progress_bar=False,
                                 enable_model_summary=False, devices=1, deterministic=True)

    lightning.seed_everything(42)
    same = {'n_blocks': jobs.BLOCKS, 'n_heads': jobs.HEADS, 'n_factors': jobs.WIDTH, 'dropout_rate': jobs.DROPOUT,
            'session_max_len': jobs.LENGTH, 'lr': jobs.RATE, 'batch_size': jobs.USERS, 'loss': 'softmax'}
    kind = {'sasrec': SASRecModel, 'bert4rec': BERT4RecModel}[job.backbone]
    model = kind(get_val_mask_func=validation, get_trainer_func=trainer, **same if job.same else {})
    dataset = Dataset.construct(table)
    model.fit(dataset)
    best = model.fit_trainer.checkpoint_callback.best_model_path  # it trains a copy of the trainer
    model.load_weights_from_checkpoint(best)

    def lists() -> np.ndarray:
        found = model.recommend(users=np.arange(split.num_users), dataset=dataset, k=jobs.K, filter_viewed=True)
        made = np.zeros((split.num_users, jobs.K), np.int32)
        made[found[Columns.User], found[Columns.Rank] - 1] = found[Columns.Item]
        return made

    return lists

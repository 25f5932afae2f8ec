"""The leakage audit of a whole data set: `python -m grasp_jax.main --mode=audit --config=...`.

No held-out item may reach the model before it is to be predicted: not in the text of its user, not in a training
batch, not in the sequences of similar users, and a stored negative may not be an item of its user. The first check is
part of every run (stage `describe`); this command makes all of them and says what it looked at.
"""

import pathlib
from typing import NamedTuple

import ml_collections
import numpy as np

from grasp_jax.batching import batches
from grasp_jax.common.errors import UserError
from grasp_jax.data.dataset import NEGATIVES, Dataset
from grasp_jax.data.interactions import Interactions
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline.checks import check_config
from grasp_jax.pipeline.stages import prepare_knowledge
from grasp_jax.texts.audit import texts_of
from grasp_jax.texts.describe import load_sent
from grasp_jax.texts.prompts import clean
from grasp_jax.training.epochs import training_sequences
from grasp_jax.training.similar_users import SimilarUsers
from grasp_jax.vectors.encoders import encoder_of

_EPOCHS = 3  # whose batches are looked at


class Check(NamedTuple):
    """One thing that was looked at.

    Attributes:
      what: a sentence.
      number: how many of them.
      leaks: whether it tells the answers.
    """

    what: str
    number: int
    leaks: bool = False


def audit(config: ml_collections.ConfigDict, folder: pathlib.Path) -> list[Check]:
    """Brings the stages before training up to date and checks everything that they leave.

    Args:
      config: the full config.
      folder: of the stages.

    Returns:
      what was looked at, all of it clean but for what says that it `leaks`.

    Raises:
      UserError: something leaks; names the user and the item.
    """
    check_config(config)
    folder.mkdir(parents=True, exist_ok=True)
    known = prepare_knowledge(config, folder)
    dataset, checks = known.dataset, []
    if known.tables is not None:
        checks += _texts(dataset, config, folder)
    checks.append(_batches(dataset.interactions, config))
    if known.pretrained.similar_users is not None:
        checks.append(_similar(dataset.interactions, known.pretrained.similar_users, config))
    checks.append(_negatives(dataset.interactions, dataset.negatives))
    return checks


def _texts(dataset: Dataset, config: ml_collections.ConfigDict, folder: pathlib.Path) -> list[Check]:
    texts = load_sent(folder / 'describe')
    encoded = encoder_of(config).reads_texts
    columns = texts_of(dataset, texts, config, encoded)
    nameless = sum(not clean(attributes.get('title')) for attributes in dataset.item_attributes)
    unseen = f' ({nameless} of {len(dataset.item_ids)} items have no title and were not looked for)' if nameless else ''
    made = '' if encoded else ' (the vectors were made elsewhere: the texts behind them are not known)'
    knowing = [Check(f'columns that know: {one}', 1, leaks=True) for one in columns if one.knows]
    beside = ' but by the columns below' if knowing else ''
    return [Check(f'user texts that name no held-out item{beside}{unseen}{made}', len(texts)), *knowing]


def _batches(interactions: Interactions, config: ml_collections.ConfigDict) -> Check:
    """Every batch of the first epochs, at the places where it reads."""
    sequences = training_sequences(interactions, model_spec(config, interactions.num_items))
    seen = 0
    for epoch in range(_EPOCHS):
        plan = batches.epoch_plan(sequences, config.train.batch_size, int(config.train.seeds[0]), epoch)
        require_training_part(interactions, plan.placement, 'a training batch')
        seen += int(np.count_nonzero(plan.placement.length))
    return Check(f'sequences in the training batches of {_EPOCHS} epochs that end before the held-out items', seen)


def _similar(interactions: Interactions, similar: np.ndarray, config: ml_collections.ConfigDict) -> Check:
    spec = model_spec(config, interactions.num_items)
    plan = batches.epoch_plan(training_sequences(interactions, spec), config.train.batch_size, 0, 0)
    their_placements = [each.placement for each in SimilarUsers(interactions, similar, spec).plan(plan, 1)]
    for placement in their_placements:
        require_training_part(interactions, placement, 'the sequences of similar users')
    return Check('sequences of similar users that end before their held-out items',
                 sum(int(np.count_nonzero(placement.length)) for placement in their_placements))


def require_training_part(interactions: Interactions, placement: batches.RowPlacement, where: str) -> None:
    """Checks that placements read nothing but the training part of their users.

    Raises:
      UserError: one reads a held-out item.
    """
    there = np.asarray(placement.length) > 0
    user, start, length = (np.asarray(field)[there] for field in (placement.user, placement.start, placement.length))
    ends = interactions.indptr[user] + interactions.input_lengths('train')[user]
    wrong = np.flatnonzero((start < interactions.indptr[user]) | (start + length > ends))
    if len(wrong):
        raise UserError(f'{where}: reads a held-out item of user number {user[wrong[0]]}; this is a fault of the '
                        'program, please report it')


def _negatives(interactions: Interactions, negatives: dict[str, np.ndarray]) -> Check:
    seen = 0
    for split in NEGATIVES:
        drawn = negatives[split]
        for row, user in enumerate(interactions.evaluated_users(split)):
            own = np.isin(drawn[row], interactions.touched(user, split)) & (drawn[row] > 0)
            if own.any():
                raise UserError(f'stored negatives of {split}: item {drawn[row][own][0]} is one of user number {user}; '
                                'delete the folder prepare and run again')
        seen += int(np.count_nonzero(drawn))
    return Check('stored negatives that their user never touched', seen)

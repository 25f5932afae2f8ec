"""The leakage audit: no held-out item may be named in the filled template of its user, which is embedded itself or sent
to a language model."""

import collections.abc
import sys

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.data.dataset import NEGATIVES, Dataset
from grasp_jax.texts import answer_columns, domains, prompts
from grasp_jax.texts.answer_columns import is_named


def training_only(dataset: Dataset, user_texts: collections.abc.Sequence[str],
                  frame: collections.abc.Callable[[int], str] = lambda user: '') -> None:
    """Checks that users' texts speak of the training part of the history only.

    A text leaks when it names the title of the user's validation or test item, as whole words and in any case, and
    neither a training title of the same user, the user's profile nor the template's own words do so; whether a profile
    knows more than chance would is looked at column by column (`answer_columns`). An item without a title is 'unknown'
    in a text.

    Args:
      dataset: the sequences and titles.
      user_texts: n texts, entry u about user u.
      frame: the text that a user would have without a history: the template's own words and the profile.

    Raises:
      UserError: a text leaks; names the user and the item.
    """
    if len(user_texts) != dataset.interactions.num_users:
        raise UserError(f'{len(user_texts)} user texts for {dataset.interactions.num_users} users; run describe again')
    titles = [prompts.clean(attributes.get('title')).casefold() for attributes in dataset.item_attributes]
    known = dataset.interactions
    held_out = {split: dict(zip(known.evaluated_users(split).tolist(), known.targets(split).tolist(), strict=True))
                for split in NEGATIVES}
    users = sorted({user for targets in held_out.values() for user in targets})
    for user in Bar(users, desc='leakage audit', unit='user', mininterval=1, delay=1):
        text = ' '.join(user_texts[user].split()).casefold()
        for split, targets in held_out.items():
            name = titles[targets[user] - 1] if user in targets else ''
            if not name or not is_named(text, name):
                continue
            newest_first = dataset.interactions.sequence(user, 'train')[::-1]
            # Joined as the templates join them, so that a title across two others is not taken for a leak.
            training = '; '.join(titles[item - 1] or prompts.UNKNOWN for item in newest_first)
            profile = prompts.clean(dataset.user_attributes[user]).casefold()
            if not any(is_named(allowed, name) for allowed in (training, profile, frame(user).casefold())):
                raise UserError(
                    f'the text of user {dataset.user_ids[user]!r} names the {split} item '
                    f'{dataset.item_ids[targets[user] - 1]!r} ({name[:60]!r}), which would leak the answer; make the '
                    'text from the training part of the history only')


def texts_of(dataset: Dataset, user_texts: collections.abc.Sequence[str], config: ml_collections.ConfigDict,
             encoded: bool = True) -> list[answer_columns.Found]:
    """`training_only` for filled templates of the section `text`, and a look at the columns that they are made of.

    Args:
      dataset: the sequences, titles and profiles.
      user_texts: n texts.
      config: the full config; reads `text`.
      encoded: whether vectors are made of the texts here; False where they were made elsewhere.

    Returns:
      what columns name of the held-out items; those that know them are warned of.

    Raises:
      UserError: a text leaks, or a column of the users plainly names the held-out items and texts are encoded here.
    """
    settings = config.text
    spec, kept = domains.load(settings.domain), prompts.without(dataset, settings.leave_out)
    training_only(kept, user_texts, lambda user: prompts.user_text(kept.user_attributes[user], [], spec, sys.maxsize))
    found = answer_columns.look(kept, spec)
    answer_columns.say(found, refuse=encoded)
    return found

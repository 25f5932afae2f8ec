"""Which runs a table or a figure is made of."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

from grasp_jax.config import changed, default
from grasp_jax.evaluation.report_markdown import BACKBONES
from grasp_jax.models import methods

# Data sets by the name that tables give them, and their config.
DATASETS = {'beauty': 'configs/beauty.py:minilm', 'fashion': 'configs/fashion.py:inter', 'demo': 'configs/demo.py'}
_WITHOUT_TEXTS = ('fashion',)
SEEDS = (42, 43, 44)
# The equations as printed: the gate of Eq. 3 on the LLM vectors, the user's whole text as context.
PRINTED = {'model.method': 'grasp', 'model.gate': 'paper', 'model.gate_space': 'llm', 'model.user_context': 'text'}
# Rows of table 4 that are runs of table 2.
_SHARED = {'printed': 'sasrec_grasp_printed', 'calibrated_prefix': 'sasrec_grasp'}
_PUBLISHED_METHODS = {'none': 'none', 'rlmrec': 'rlmrec', 'llm_init': 'llminit', 'llm_esr': 'llm_esr'}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of a grid: a row of a table, or a point of a curve.

    Attributes:
      name: of its folder; cells of one name are one run.
      label: how tables call it.
      group: rows of one group are compared with each other (the backbone).
      published: the paper's key of this row, None where the paper has no such row.
      settings: what it changes in the config, by dotted names.
      wrong: which texts are wrong in its run, and how: as 'items_swap', None where none are that it reads.
      ours: whether it is compared with the best of the others in its group: a form of GRASP, or of its attention.
    """

    name: str
    label: str
    group: str
    published: tuple[str, ...] | None
    settings: dict[str, Any]
    ours: bool = False
    wrong: str | None = None


def overall(dataset: str, recipe: str = 'paper') -> list[Cell]:
    """Table 2 and 3: every method on every backbone; GRASP as printed and in the forms that validation chose.

    Args:
      dataset: a key of `DATASETS`.
      recipe: of training; `strong` adds forms without a gate, for which a softmax over all items can be had.
    """
    cells, with_ids = [], methods.label('grasp_id')
    for backbone, name in BACKBONES.items():
        for method, published in _PUBLISHED_METHODS.items():
            cells.append(Cell(f'{backbone}_{method}', methods.label(method), name, (dataset, backbone, published),
                              {'model.backbone': backbone, 'model.method': method}))
        cells.append(Cell(f'{backbone}_grasp_printed', 'GRASP as printed', name, (dataset, backbone, 'grasp'),
                          {'model.backbone': backbone, **PRINTED}, ours=True))
        for method in ('grasp', 'grasp_id'):
            cells.append(Cell(f'{backbone}_{method}', f'{methods.label(method)}, calibrated, prefix', name,
                              (dataset, backbone, 'grasp'),
                              {'model.backbone': backbone, 'model.method': method, 'model.gate': 'calibrated'},
                              ours=True))
        if recipe == 'strong':
            cells.append(Cell(f'{backbone}_grasp_id_ungated', f'{with_ids}, no gate', name,
                              (dataset, backbone, 'grasp'),
                              {'model.backbone': backbone, 'model.method': 'grasp_id', 'model.gate': 'none'},
                              ours=True))
            cells.append(Cell(f'{backbone}_grasp_id_ungated_text', f'{with_ids} from texts, no gate', name,
                              (dataset, backbone, 'grasp'),
                              {'model.backbone': backbone, 'model.method': 'grasp_id', 'model.gate': 'none',
                               'model.id_init': 'text'}, ours=True))
            cells.append(Cell(f'{backbone}_grasp_mixture', methods.label('grasp_mixture'), name,
                              (dataset, backbone, 'grasp'),
                              {'model.backbone': backbone, 'model.method': 'grasp_mixture',
                               'retrieve.smoothing': 1.0}, ours=True))
    return cells


def has_texts(dataset: str) -> bool:
    """Whether there is anything to make texts of."""
    return dataset not in _WITHOUT_TEXTS


def possible(cells: Sequence[Cell], dataset: str) -> list[Cell]:
    """The cells that a data set has the texts for."""
    return [cell for cell in cells if has_texts(dataset) or not _reads(cell, 'items')]


def ablation(dataset: str = 'beauty', recipe: str = 'paper') -> list[Cell]:
    """Table 4: parts taken out of the printed form, on SASRec, and what calibration and safe contexts add to it; each
    is compared with what is left without attention, under the loss that all others have."""
    loss = {'train.loss': 'sampled_softmax'} if default(recipe).train.loss == 'softmax' else {}
    changes: list[tuple[str, str, tuple[str, ...] | None, dict[str, Any]]] = [
        ('no_attention', 'w/o Attention', ('w/o Attention',), {'model.gate': 'none', **loss}),
        ('no_similar', 'w/o HAE similar', ('w/o HAE similar',), {'model.use_similar': False}),
        ('no_global', 'w/o HAE global', ('w/o HAE global',), {'model.use_global': False}),
        ('softmax', 'Softmax', ('Softmax',), {'model.gate': 'softmax'}),
        ('printed', 'GRASP', ('GRASP',), {}),
        ('calibrated_text', 'calibrated gate', None, {'model.gate': 'calibrated'}),
        ('calibrated_prefix', 'calibrated gate, prefix', None,
         {'model.gate': 'calibrated', 'model.user_context': 'prefix'}),
        ('printed_prefix', 'printed gate, prefix', None, {'model.user_context': 'prefix'}),
        ('hidden_text', 'gate in the hidden space', None, {'model.gate_space': 'hidden'}),
        ('hidden_prefix', 'gate in the hidden space, prefix', None,
         {'model.gate_space': 'hidden', 'model.user_context': 'prefix'})]
    return [Cell(_SHARED.get(name, f'ablation_{name}'), label, BACKBONES['sasrec'],
                 published if dataset == 'beauty' else None,
                 {'model.backbone': 'sasrec', **PRINTED, **settings}, ours=name != 'no_attention')
            for name, label, published, settings in changes]


def leaks() -> list[Cell]:
    """The leak inside training: what the gate sees of the user, for three gates; and texts that hold the answers.

    Texts are encoded by LSA, as they have to be written anew.
    """
    spaces = {'printed': {'model.gate': 'paper'}, 'calibrated': {'model.gate': 'calibrated'},
              'hidden': {'model.gate': 'paper', 'model.gate_space': 'hidden'}}
    contexts: dict[str, tuple[str, dict[str, Any]]] = {
        'text': ('whole-history text', {}), 'prefix': ('prefix mean', {'model.user_context': 'prefix'}),
        'both': ('prefix mean + text with dropout', {'model.user_context': 'both'}),
        'held_out': ('text without the last 2, only these supervised', {'text.held_out': 2, 'train.supervise_last': 2}),
        'leaky': ('LEAKY: text names the answers', {'text.history': 'all', 'text.audit': False})}
    return [Cell(f'leak_{gate}_{context}', label, f'{gate} gate', None,
                 {'model.backbone': 'sasrec', **PRINTED, 'encode.kind': 'lsa', **space, **change}, ours=True)
            for gate, space in spaces.items() for context, (label, change) in contexts.items()]


# Methods of the hallucination curve, by recipe.
_OTHERS = ('none', 'llm_init', 'llm_esr')
_CURVES = {'paper': (*_OTHERS, 'grasp'), 'strong': (*_OTHERS, 'grasp_mixture')}


def robustness(dataset: str, kinds: Sequence[str], shares: Sequence[int], backbone: str = 'sasrec',
               recipe: str = 'paper') -> list[Cell]:
    """The hallucination curve: methods on one backbone, retrained on texts of which a share is wrong.

    A method that does not read the texts that are wrong has its clean run at every share; one that reads items' texts
    alone has the run on wrong texts of items where those of users are wrong as well.

    Args:
      dataset: a key of `DATASETS`.
      kinds: which texts and how, as 'users_swap'; keys of `corruptions(dataset)`.
      shares: percent of the entities.
      backbone: a key of `BACKBONES`.
      recipe: of training; the strong one has the mixture for GRASP.
    """
    cells = []
    for kind in kinds:
        for share in (0, *(share for share in shares if share)):
            for cell in overall(dataset, recipe):
                method = cell.settings['model.method']
                if cell.group != BACKBONES[backbone] or method not in _CURVES[recipe]:
                    continue
                met = _met(cell, kind) if share else None
                name = f'{cell.name}_{met}_{share}' if met else cell.name
                settings = {**cell.settings, **corruptions(dataset)[met](share / 100)} if met else cell.settings
                cells.append(dataclasses.replace(cell, name=name, group=f'{kind}, {share}%', published=None,
                                                 settings=settings, wrong=met))
    return cells


def _met(cell: Cell, kind: str) -> str | None:
    """What a method meets of wrong texts of a kind: None if it does not read them, 'items_swap' for 'both_swap' if it
    reads none of users (the same items are wrong in both)."""
    who, _, how = kind.partition('_')
    if who != 'both' or _reads(cell, 'users'):
        return kind if _reads(cell, who) else None
    return f'items_{how}' if _reads(cell, 'items') else None


def wrong_texts(cell: Cell) -> tuple[str, int]:
    """Which texts are wrong and how many percent of them, of a cell of `robustness`: as ('users_swap', 25)."""
    kind, _, share = cell.group.partition(', ')
    return kind, int(share.rstrip('%'))


def _reads(cell: Cell, who: str) -> bool:
    """Whether a method reads the texts of `who`: users, items or both."""
    from grasp_jax.models.spec import model_spec  # here, so that --help need not wait for JAX

    spec = model_spec(changed(default(), cell.settings), num_items=1)
    users = spec.uses_user_vectors or spec.uses_similar_users
    return users if who == 'users' else spec.uses_vectors


def case_study(dataset: str, share: int = 25, backbone: str = 'sasrec') -> list[Cell]:
    """Figure 3: LLM-ESR and GRASP where a share of the users have each other's texts, as in the hallucination curve."""
    return [cell for cell in robustness(dataset, ['users_swap'], [share], backbone)
            if cell.settings['model.method'] in ('llm_esr', 'grasp') and cell.group.endswith(f' {share}%')]


def corruptions(dataset: str) -> dict[str, Callable[[float], dict[str, Any]]]:
    """Ways in which texts can be wrong, each a function of the share that is."""
    found: dict[str, Callable[[float], dict[str, Any]]] = {
        f'{who}_{kind}': functools.partial(_corrupt, who, kind)
        for who in ('users', 'items', 'both') for kind in ('swap', 'noise')}
    if dataset == 'demo':
        found['users_profile'] = lambda share: {'data.shop.hallucination': share}
    return found


def _corrupt(who: str, kind: str, share: float) -> dict[str, Any]:
    return {'encode.corrupt.target': who, 'encode.corrupt.kind': kind, 'encode.corrupt.share': share}


def curves(recipe: str = 'paper') -> list[Cell]:
    """Figure 4: neighbours k and hidden width, SASRec + GRASP; the point that is as the recipe has it, of table 2."""
    usual = default(recipe)
    shared = f'k_{usual.retrieve.k}', f'width_{usual.model.hidden_size}'
    points = itertools.chain(((f'k_{k}', f'k = {k}', {'retrieve.k': k}) for k in (1, 3, 5, 10, 20, 50)),
                             ((f'width_{h}', f'width {h}', {'model.hidden_size': h}) for h in (16, 32, 64, 128, 256)))
    return [Cell('sasrec_grasp' if name in shared else f'curve_{name}', label, BACKBONES['sasrec'], None,
                 {'model.backbone': 'sasrec', 'model.method': 'grasp', 'model.gate': 'calibrated', **settings},
                 ours=True)
            for name, label, settings in points]

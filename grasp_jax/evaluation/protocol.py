"""How the numbers of a report were made, in sentences and in the numbers that two reports must share."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from grasp_jax.data import time_split
from grasp_jax.data.interactions import Interactions, evenly_spread, numbers_of_negatives
from grasp_jax.evaluation import groups
from grasp_jax.ranking import metrics, windows

Tree = dict[str, Any]
GROUP_TREES = {'sampled': 'groups', 'full': 'groups_full'}  # keys of report.json, below `test`
_TIES = 'count half: rank = 1 + better + equal / 2'


def in_order(report: Tree) -> list[str]:
    """The two protocols of the test, that of the selection first."""
    return ['full', 'sampled'] if report['protocol']['select_by'] == 'full' else ['sampled', 'full']


def described(config: ConfigDict, interactions: Interactions, stages: Mapping[str, Tree]) -> Tree:
    """The entry `protocol` of report.json.

    Args:
      config: the full config.
      interactions: the prepared data set.
      stages: facts of each stage by name.
    """
    section = config.evaluate
    left, most_left = numbers_of_negatives(interactions)
    fewest, most = min(section.negatives, left), min(section.negatives, most_left)
    drawn = f'{most}' if fewest == most else f'{fewest} to {most}'
    all_of_them = most_left <= section.negatives and not section.repeats and interactions.ends is None
    of_steps = f' of at least {config.train.min_steps_per_epoch} steps' if config.train.min_steps_per_epoch else ''
    by_time = stages.get('prepare', {}).get('split')
    split = time_split.described(by_time) if by_time else (
        'leave-one-out: the last item of a user tests, the one before validates, the rest trains; users with fewer '
        'than 3 interactions only train')
    everything = section.targets == 'all'
    the_target = 'the next item' if everything else 'the target'
    of_all = ', all items of the window' if everything and section.selection_protocol == 'full' else ''
    return {
        'split': split + (f'; {section.max_users} evenly spread users are ranked' if section.max_users else ''),
        'sampled': f'{the_target} among itself and {drawn} negatives, drawn once (seed {section.seed}) '
                   'from the items the user never interacted with, the same for every model'
                   + (', which are all there are: in the test both protocols are one' if all_of_them else '')
                   + ('; it does not ask which of the items that the user had comes again' if section.repeats else ''),
        **_full(interactions, section),
        'ties': _TIES + ('; in lists the smaller number comes first' if everything else ''),
        'selection': f'the epoch with the best validation NDCG@10 ({section.selection_protocol}{of_all}), patience '
                     f'{config.train.patience} epochs{of_steps}; the test items are looked at once, with that epoch',
        'groups': groups.described(config), 'warning': _warning(
            section.ks, {'sampled': fewest, 'full': interactions.num_items - 1 if section.repeats else left}),
        'negatives': section.negatives, 'fewest_negatives': fewest, 'most_negatives': most,
        'negatives_seed': section.seed, 'select_by': section.selection_protocol, 'repeats': section.repeats,
        'targets': section.targets,
        'candidates': _candidates(interactions, section)}


def _full(interactions: Interactions, section: ConfigDict) -> dict[str, str]:
    everything, repeats = f'the target among all {interactions.num_items:,} items', section.repeats
    if section.targets == 'all':
        return _of_window(interactions, section)
    if repeats:
        return {'full': f"{everything}, those in the user's input too (evaluate.repeats)"}
    return {'full': f"{everything} less those in the user's input",
            metrics.UNMASKED: f"{everything}, those in the user's input too"}


def _of_window(interactions: Interactions, section: ConfigDict) -> dict[str, str]:
    """What `full` means where all items of a window are looked for."""
    all_users = interactions.evaluated_users()
    counts = windows.wanted(interactions, all_users[evenly_spread(len(all_users), section.max_users)], 'test',
                            section.repeats).counts
    some, none = counts[counts > 0], int((counts == 0).sum())
    less, new = ('', '') if section.repeats else (" less those in the user's input", ' and did not have before')
    among, each = f'all {interactions.num_items:,} items', some.mean() if len(some) else 0.0
    found = {'full': f'all different items that a user comes to in the test window{new}, {each:.1f} of each of '
                     f'{len(some):,} users, in the list of the best of {among}{less}; NDCG@k over the best that k '
                     'places allow, Recall@k the share of them, HR@k whether there is any; groups of items are by the '
                     'next one'
                     + (f'; {none:,} users come to nothing new and are left out' if none else '')}
    if not section.repeats:
        found[metrics.UNMASKED] = f"the next item among {among}, those in the user's input too"
    return found


def _warning(ks: Sequence[int], fewest: dict[str, int]) -> str | None:
    """Which cut-offs a tie alone can reach, given the fewest items that stand against a target; 10 is of validation."""
    found = {protocol: metrics.tied_hits(sorted({*ks, 10}), others) for protocol, others in fewest.items()}
    where = [f'at {", ".join(map(str, tied))} among {fewest[protocol]} negatives ({protocol})'
             for protocol, tied in found.items() if tied]
    if not where:
        return None
    return (f'a model that scores all items alike has a sure hit {" and ".join(where)}; trust smaller k alone, or rank '
            'among more items')


def _candidates(interactions: Interactions, section: ConfigDict) -> str:
    """Fingerprint of the users, their targets and the settings that decide the candidates."""
    more = (f'{section.max_users} users ' if section.max_users else '') + ('repeats ' if section.repeats else '')
    more += 'all ' if section.targets == 'all' else ''
    digest = hashlib.sha256(f'{interactions.num_items} {section.negatives} {section.seed} {more}'.encode())
    digest.update(np.ascontiguousarray(interactions.indptr, np.int64).tobytes())
    digest.update(np.ascontiguousarray(interactions.items, np.int32).tobytes())
    if interactions.ends is not None:
        digest.update(np.ascontiguousarray(interactions.ends, np.int64).tobytes())
    return digest.hexdigest()[:16]

"""The command that asks a finished run: lists for all users into a file, or for one person on the terminal.

    python -m grasp_jax.recommend --workdir=runs/demo                                    a few users, for people to read
    python -m grasp_jax.recommend --workdir=runs/demo --k=20 --out=lists.parquet         all users; .csv and .jsonl too
    python -m grasp_jax.recommend --workdir=runs/demo --history=p0001,p0007              somebody who was never seen
    python -m grasp_jax.recommend --workdir=runs/demo --similar=p0001                    items like this one
    python -m grasp_jax.recommend --workdir=runs/demo --new_items=new.csv                with items by their texts alone

A call that was killed goes on where it was, and ends with the same bytes. --workdir also takes an exported bundle.
"""

import logging
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from absl import flags

from grasp_jax.commands.command import only_flags, reading_flags, run_app
from grasp_jax.common.errors import UserError

LOG = logging.getLogger('grasp_jax.recommend')  # a command's own name is another one
_WORKDIR = flags.DEFINE_string('workdir', None, 'Work folder of a finished run, or a bundle of grasp_jax.export.')
_SEED = flags.DEFINE_integer('seed', None, 'Whose best checkpoint. Default: the first seed that is finished.')
_K = flags.DEFINE_integer('k', 10, 'Items of a list.')
_OUT = flags.DEFINE_string('out', None, 'File that ends in .parquet, .csv or .jsonl; or a folder, which gets Parquet '
                           'files of --part_size users each. Default: some lists are printed.')
_USERS = flags.DEFINE_string('users', None, 'Text file with ids of users, one a line. Default: all users.')
_HISTORY = flags.DEFINE_list('history', None, 'Ids of items, oldest first: a list for whoever chose them.')
_SIMILAR = flags.DEFINE_string('similar', None, 'Id of an item: items like it.')
_NEW_ITEMS = flags.DEFINE_string('new_items', None, 'Table (.csv, .tsv, .parquet, .jsonl) of items without a purchase '
                                 'yet, with the columns of the items of the run; they may be recommended at once.')
_EXACT = flags.DEFINE_bool('exact', False, 'Score every item, also where candidates would be faster.')
_VIEWED = flags.DEFINE_bool('filter_viewed', None, 'Leave out what is in the history. Default: as the run was ranked, '
                            'which is yes unless with --config.evaluate.repeats=True.')
_N = flags.DEFINE_integer('n', 3, 'Users that are printed without --out.', lower_bound=1)
_PART_SIZE = flags.DEFINE_integer('part_size', 4096, 'Users of a part.', lower_bound=1)
_COORDINATOR = flags.DEFINE_string('coordinator', '', 'As of grasp_jax.main, and not needed: processes share the '
                                   'folder and do not talk.')
_PROCESSES = flags.DEFINE_integer('processes', 1, 'How many processes share the parts.', lower_bound=1)
_PROCESS = flags.DEFINE_integer('process', 0, 'Which of them this is, from 0.', lower_bound=0)


def main(argv: Sequence[str]) -> None:
    """Runs the command."""
    from grasp_jax.serving import lists  # after the flags: --help need not wait for JAX
    if _OUT.value:
        lists.check(lists.Order(pathlib.Path(_OUT.value), [], _K.value))
    users = lists.read_ids(pathlib.Path(_USERS.value)) if _USERS.value else None
    from grasp_jax.serving.recommender import Recommender
    model = Recommender.load(_WORKDIR.value or '', _SEED.value)
    if _NEW_ITEMS.value:
        from grasp_jax.data.table_files import read_table
        added = model.add_items(read_table(pathlib.Path(_NEW_ITEMS.value)).frame)
        print(f'{len(added)} new items', file=sys.stderr)
    most = len(model.item_ids) - (_SIMILAR.value is not None)
    if _K.value > most:
        LOG.warning('--k=%d: there are %s items to recommend, so no list is longer, and lists that leave out what is '
                    'in the history are shorter; give at most --k=%d', _K.value, f'{most:,}', most)
    if not _OUT.value or _HISTORY.value or _SIMILAR.value:
        _show(model, users)
        return
    order = lists.Order(pathlib.Path(_OUT.value), list(users or model.user_ids), _K.value, _EXACT.value,
                        model.filter_viewed if _VIEWED.value is None else _VIEWED.value, _PART_SIZE.value,
                        _PROCESS.value, _PROCESSES.value)
    if model.approximate and not _EXACT.value:
        print(f'lists are found among candidates: {model.measure_recall(_K.value):.1%} of the exact best {_K.value}, '
              'measured on 200 users; --exact scores every item', file=sys.stderr)
    done = lists.write(model, order)
    print(f'{_OUT.value}: lists of {len(order.users):,} users' if done else
          f'{_OUT.value}: this process is done, others are still at work')


def _show(model: Any, users: list[str] | None) -> None:
    """Prints lists as a person reads them."""
    if _SIMILAR.value:
        found = model.recommend_to_items([_SIMILAR.value], _K.value)
        people: list[tuple[str, list[str], Any]] = [(f'like {_named(model, _SIMILAR.value)}', [], found)]
    elif _HISTORY.value:
        people = [('for this history', _HISTORY.value,
                   model.recommend(histories=[_HISTORY.value], k=_K.value, filter_viewed=_VIEWED.value,
                                   exact=_EXACT.value))]
    else:
        people = [(f'user {user}', model.history(user),
                   model.recommend(users=[user], k=_K.value, filter_viewed=_VIEWED.value, exact=_EXACT.value))
                  for user in (users or model.user_ids)[:_N.value]]
    for name, history, found in people:
        print(name)
        for item in history[:-6:-1]:
            print(f'    chose  {_named(model, item)}')
        for item, score, rank in zip(found.item_id, found.score, found['rank'], strict=True):
            print(f'{rank:>6}. {score:>8.3f}  {_named(model, item)}')
        if 'source' in found and (found.source == 'popularity').any():
            print('    by popularity alone')


def _named(model: Any, item: str) -> str:
    title = model.titles[item]
    return f'{title} ({item})' if title else str(item)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help'):
        rest: list[str] = flags.FLAGS(list(argv), known_only=False)
    if not _WORKDIR.value:
        raise UserError('--workdir is missing: name the work folder of a finished run, as --workdir=runs/demo')
    if _K.value < 1:
        raise UserError(f'--k={_K.value}: is no number of items; give 1 or more')
    if sum(flag.value is not None for flag in (_USERS, _HISTORY, _SIMILAR)) > 1:
        raise UserError('--users, --history and --similar: give one of them')
    if _OUT.value and (_HISTORY.value or _SIMILAR.value):
        raise UserError('--out is for the lists of users; --history and --similar are printed')
    if _PROCESS.value >= _PROCESSES.value:
        raise UserError(f'--process={_PROCESS.value}: must be below --processes={_PROCESSES.value}')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True)

"""The scores of a model as a program of StableHLO, which others run without this package.

The program takes everything by argument, weights and vectors too, as what a program closes over is copied into it. The
number of histories is open. It is one program for all platforms, so it uses nothing that is written for one of them,
and products in full float32, so that scores are the same everywhere.

JAX promises that a program is read for six months by later versions, and by earlier ones for three weeks.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from grasp_jax.common.errors import UserError
from grasp_jax.data.interactions import evenly_spread
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import NO_GATES, Context
from grasp_jax.serving import scoring
from grasp_jax.serving.assets import Assets
from grasp_jax.serving.engine import Engine, Request
from grasp_jax.vectors import vector_files

PLATFORMS = ('cpu', 'cuda', 'tpu')
BATCH = 'b'  # the open size
HISTORY, USER = 'history', 'user'
_TABLES = {'items_similar': f'retrieve/{vector_files.ITEMS_SIMILAR}',
           'users': f'encode/{vector_files.USERS}', 'users_similar': f'retrieve/{vector_files.USERS_SIMILAR}'}
_USERS_COMPARED = 16


class Argument(NamedTuple):
    """An argument of the program.

    Attributes:
      name: of a parameter as 'encoder/embedding', of a table of vectors, or `HISTORY` or `USER`.
      file: that holds it, inside the bundle; None where it is the question.
      shape: `BATCH` in it is the number of histories.
      dtype: name of its type.
    """

    name: str
    file: str | None
    shape: tuple[int | str, ...]
    dtype: str


def flat(params: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """A tree of parameters by names as 'encoder/embedding', sorted."""
    found: dict[str, Any] = {}
    for key in sorted(params):
        value = params[key]
        found |= flat(value, f'{prefix}{key}/') if isinstance(value, Mapping) else {f'{prefix}{key}': value}
    return found


def nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flat`."""
    tree: dict[str, Any] = {}
    for name, value in params.items():
        *folders, key = name.split('/')
        place = tree
        for folder in folders:
            place = place.setdefault(folder, {})
        place[key] = value
    return tree


def ranking(spec: ModelSpec, params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that rank, without those that the method's own loss alone reads."""
    return {name: value for name, value in params.items() if name not in spec.facts.training_modules}


def arguments(known: Assets, weights: str) -> list[Argument]:
    """What the program takes, in order: parameters by name, vectors, histories and, where gates read users, the users.

    Args:
      known: the model.
      weights: name of the file of its parameters.
    """
    spec = known.spec
    found = [Argument(name, weights, value.shape, value.dtype.name) for name, value in
             flat(ranking(spec, known.params)).items()]
    tables = {**_TABLES, 'items': vector_files.own_items(known.stages).relative_to(known.stages).as_posix()}
    for name in _read_tables(spec):
        table = getattr(known.vectors, name)
        found.append(Argument(name, tables[name], table.shape, jax.dtypes.canonicalize_dtype(table.dtype).name))
    found.append(Argument(HISTORY, None, (BATCH, spec.max_length), 'int32'))
    return [*found, Argument(USER, None, (BATCH,), 'int32')] if spec.ranks_with_user_vectors else found


def _read_tables(spec: ModelSpec) -> list[str]:
    """Tables that are read when items are ranked."""
    return [*spec.facts.ranks_with, *['users', 'users_similar'] * spec.ranks_with_user_vectors]


def require_scores(known: Assets) -> None:
    """Refuses a model whose scores are no function of a history and an item.

    Raises:
      UserError: its gate is normalised over all that may be recommended.
    """
    if known.spec.gated and known.spec.gate == 'softmax':
        raise UserError(f'{known.source}: its gate is softmax, whose scores depend on what else may be recommended, so '
                        'that there is no program from histories to scores; export a run with '
                        'model.gate=calibrated, paper or none')


def exported(known: Assets) -> export.Exported:
    """The program: `arguments` -> float32 [b, m], scores of items 1..m, what was viewed included.

    Histories are int32 [b, L], item ids, oldest first from column 0 and 0 behind, each with at least one item; L is the
    longest that the model reads. Users are rows of the users' tables, int32 [b].
    """
    size, = export.symbolic_shape(BATCH, constraints=[f'{BATCH} >= 1'])
    given = arguments(known, '')
    shapes = [jax.ShapeDtypeStruct(tuple(size if each == BATCH else each for each in argument.shape), argument.dtype)
              for argument in given]
    program = jax.jit(_scorer(known.spec, [argument.name for argument in given]))
    with _unnamed_sources(), jax.default_matmul_precision('highest'):
        return export.export(program, platforms=PLATFORMS)(*shapes)


@contextlib.contextmanager
def _unnamed_sources() -> Iterator[None]:
    """Programs that are made inside do not name the files of this machine that they come from."""
    name = 'jax_traceback_in_locations_limit'
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _scorer(spec: ModelSpec, names: Sequence[str]) -> Callable[..., jax.Array]:
    model = Recommender(spec)

    def scorer(*given: jax.Array) -> jax.Array:
        by_name = dict(zip(names, given, strict=True))
        history, frozen = by_name.pop(HISTORY), None
        users = by_name.pop(USER, None)
        read = {name: by_name.pop(name) for name in _read_tables(spec)}
        if read:
            no_users = jnp.zeros((1, spec.llm_width))
            frozen = FrozenVectors(read.get('users', no_users), read.get('users_similar', no_users), read['items'],
                                   read.get('items_similar', read['items']))
        if users is None:
            users = jnp.zeros(history.shape[0], jnp.int32)
        return _scores(model, nested(by_name), frozen, history, users)

    return scorer


def _scores(model: Recommender, params: Any, frozen: FrozenVectors |
            None, history: jax.Array, users: jax.Array) -> jax.Array:
    """[b, m]; the work on the items is done in each call."""
    count = jnp.asarray(model.spec.num_items, jnp.int32)

    def of_items(model: Recommender) -> tuple[jax.Array, Any]:
        features = model.catalogue(frozen, jnp.arange(1, model.spec.num_items + 1))
        if model.spec.items_depend_on_user:
            return jnp.zeros((model.spec.num_items, 0)), features
        return model.encoder.represent(model.encoder.pair_features(NO_GATES, features)), ()

    of_all: Any = model.apply({'params': params}, method=of_items)
    items, features = of_all
    arrays = scoring.Arrays(params, frozen, items, features, count)
    states, context = scoring.states(model, arrays, history, users)
    if not model.spec.items_depend_on_user:
        return states @ items.T

    def of_users(model: Recommender) -> jax.Array:
        gated = model.gated_encoder.crossed_scores(context, features)
        query, offset = model.encoder.fold(states)

        def of_user(user: tuple[jax.Array, jax.Array]) -> jax.Array:
            found: jax.Array = model.encoder.pair_features(Context(gate_scores=user[1]), features) @ user[0]
            return found

        # One after the other: the hidden layers of all pairs would not fit. Blocks of users need a size that is known.
        return jax.lax.map(of_user, (query, gated)) + offset[:, None]

    found: Any = model.apply({'params': params}, method=of_users)
    return jnp.asarray(found)


def read(path: pathlib.Path) -> export.Exported:
    """The program of a file.

    Raises:
      UserError: this JAX does not read it.
    """
    try:
        return export.deserialize(bytearray(path.read_bytes()))
    except Exception as error:  # as many kinds as there are ways to be wrong
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f'{path}: is not read by JAX {jax.__version__} ({why}); export the bundle anew (its weights '
                        'can be read all the same)') from error


def largest_difference(known: Assets, program: export.Exported) -> tuple[float, int]:
    """How far the program's scores are from the model's, over some users of the data set.

    Args:
      known: the model.
      program: as `read` gives it.

    Returns:
      the largest absolute difference as a share of the largest score (of 1, where that is less), and how many users.

    Raises:
      UserError: the program takes something else than the model has.
    """
    there = np.flatnonzero(known.interactions.lengths > 0)
    chosen = there[evenly_spread(len(there), _USERS_COMPARED)].astype(np.int32)
    histories = [np.asarray(known.interactions.full_sequence(int(user)), np.int32) for user in chosen]
    asked = [Request(history, np.zeros(0, np.int32), int(user))
             for history, user in zip(histories, chosen, strict=True)]
    with jax.default_matmul_precision('highest'):
        wanted = Engine(known).scores(asked)
    history = np.zeros((len(chosen), known.spec.max_length), np.int32)
    for row, request in enumerate(asked):
        newest = request.history[-known.spec.max_length:]
        history[row, :len(newest)] = newest
    stored = [*flat(ranking(known.spec, known.params)).values(), *(getattr(known.vectors, name) for name in
                                                       _read_tables(known.spec))]
    question = [history, chosen] if known.spec.ranks_with_user_vectors else [history]
    try:
        found = np.asarray(jax.jit(program.call)(*stored, *question))
    except (TypeError, ValueError) as error:
        raise UserError(f'{known.source}: its program does not take what the model has '
                        f'({str(error).splitlines()[0]}); export the bundle anew') from error
    if found.shape != wanted.shape or not np.isfinite(found).all():
        raise UserError(f'{known.source}: its program gives scores {list(found.shape)} that are not those of '
                        f'{wanted.shape[1]} items; export the bundle anew')
    return float(np.abs(found - wanted).max() / max(1.0, np.abs(wanted).max())), len(chosen)

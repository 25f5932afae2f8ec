"""Checkpoints, one an epoch; the newest and the best stay. The only file that knows Orbax."""

import contextlib
import dataclasses
import hashlib
import json
import logging
import pathlib
import shutil
from collections.abc import Iterator, Mapping
from typing import Any, Self

import jax
import numpy as np
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp

from grasp_jax.common.errors import UserError
from grasp_jax.distributed import processes
from grasp_jax.distributed.sharding import state_shapes
from grasp_jax.training.state import TrainState
from grasp_jax.training.state_digest import digest, digest_on_host
from grasp_jax.training.state_packing import FlatState, flat_shapes, pack, unpack

LOG = logging.getLogger(__name__)
# The newest two, so that one that was cut short leaves one to go on from; the best two, for it may be the best as well.
_NEWEST, _BEST = 2, 2
_FORM = 'small arrays as one'  # of what is saved; states in another form are refused
# Signs of a failure to read that may pass; anything else is bytes that are not what was saved.
_PASSING = ('permission', 'resource_exhausted', 'out of memory', 'unavailable', 'deadline', 'cancelled', 'aborted',
            'input/output error', 'stale file', 'too many open files', 'timed out')
_POLICIES = ocp.training.preservation_policies


@dataclasses.dataclass(frozen=True)
class Best:
    """The epoch (from 0) with the best validation value so far, and that value."""

    epoch: int
    value: float


class Damaged(UserError):
    """A checkpoint is not what was saved."""


class _States:
    """States of one run by number. Use as a context manager: leaving waits for the last save."""

    noted: dict[str, type | tuple[type, ...]] = {}  # what is saved beside a state at least

    def __init__(self, folder: pathlib.Path, keep: Any):
        self._folder = folder
        self._saving: tuple[int, Any] | None = None  # the number of the last save and what Orbax says of it
        self._look_through()
        self._checkpointer = ocp.training.Checkpointer(
            folder.resolve(), preservation_policy=keep, cleanup_tmp_directories=True,
            # Every one, also where the save before is still being written.
            save_decision_policy=ocp.training.save_decision_policies.FixedIntervalPolicy(1))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._wait()
        finally:
            self._checkpointer.close()

    def _wait(self) -> None:
        """Waits for the last save. Orbax keeps a thread with its open files for each one that is not waited for."""
        saving, self._saving = self._saving, None
        if saving is not None:
            number, response = saving
            with self._writing(number):
                response.result()

    @contextlib.contextmanager
    def _writing(self, number: int) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # libraries raise many kinds of errors when a disk is full
            with contextlib.suppress(Exception):  # it says so twice
                self._checkpointer.wait()
            raise UserError(f'{self._folder / str(number)} cannot be written ({_line(error)}); what was saved before '
                            'is whole; make room, or see who may write there, and run again') from error

    def _metrics(self) -> dict[int, Any]:
        """What was saved beside each state."""
        return {checkpoint.step: checkpoint.metrics or {} for checkpoint in self._checkpointer.checkpoints}

    def _save(self, number: int, state: TrainState, metrics: dict[str, Any]) -> None:
        self._wait()
        # A copy: the next step gives the state's own buffers back while this one is still being written.
        copy = pack(state)
        with self._writing(number):
            self._saving = number, self._checkpointer.save_async(number, copy._asdict(), metrics={
                **metrics, 'digest': int(digest(state, copy)), 'arrays': _arrays(state)})

    def _load(self, number: int, what: str, like: TrainState, mesh: Mesh) -> TrainState:
        where = f'{self._folder}: {what}'
        known, arrays = self._metrics()[number], _arrays(like)
        if known.get('arrays', arrays) != arrays:  # none before they were noted, as the digest
            raise UserError(f'{where} holds a state of other arrays than this run has, of another version of the '
                            f'program or another config; choose another --workdir or delete {self._folder.parent}')
        failure: UserError | None = None
        try:
            shapes = state_shapes(like, mesh)
            saved = self._checkpointer.load(number, flat_shapes(shapes, mesh)._asdict())
            state = unpack(FlatState(**saved), shapes)
        except Exception as error:  # libraries raise many kinds of errors on changed bytes
            failure = _why(where, error)
        if not processes.all_say(failure is None):
            if not processes.all_say(failure is None or isinstance(failure, Damaged)):  # with somebody it may pass
                failure = failure if failure and not isinstance(failure, Damaged) else UserError(
                    f'{where} cannot be read by another process; nothing was moved, run again when it can')
            raise failure or Damaged(f'{where} is damaged (so another process says)')
        if 'digest' in known and known['digest'] != digest_on_host(state):
            raise Damaged(f'{where} is damaged (its numbers are others than were saved)')
        return state

    def _put_aside(self, number: int) -> pathlib.Path:
        """Moves a damaged state out of the way, for people to look at; the same number will be saved again."""
        aside = _aside(self._folder / str(number))
        if processes.is_writer():
            _move(self._folder / str(number), aside)
        processes.meet(f'{aside} is moved')
        self._checkpointer.reload()
        return aside

    def _look_through(self) -> None:
        """Puts aside states of unknown origin; Orbax would not open a folder that has one."""
        if processes.is_writer():
            for state in self._folder.glob('*'):
                if state.name.isdigit() and not _is_noted(state, self.noted):
                    LOG.warning('%s: what was noted of this state is damaged or gone; it is kept in %s', state,
                                _aside(state))
                    _move(state, _aside(state))
        processes.meet(f'{self._folder} is looked through')


class Checkpoints(_States):
    """The state after each epoch: the newest ones and the best."""

    noted = {'epoch': int, 'value': (int, float)}

    def __init__(self, folder: pathlib.Path):
        """Opens or creates `folder`."""
        super().__init__(folder, _POLICIES.AnyPreservationPolicy([
            _POLICIES.LatestN(_NEWEST), _POLICIES.BestN(get_metric_fn=_merit, n=_BEST)]))

    def save(self, epoch: int, state: TrainState, value: float) -> None:
        """Saves the state after `epoch` with its validation value; returns before it is on disk."""
        self._save(epoch, state, {'value': float(value), 'epoch': epoch})

    def resume(self, like: TrainState, mesh: Mesh) -> tuple[int, TrainState] | None:
        """The newest epoch whose checkpoint is whole, and its state; None where there is none.

        One that is damaged is said aloud and put aside, and the one before is tried. Arguments and errors as in `load`.
        """
        for epoch in sorted(self._metrics(), reverse=True):
            try:
                return epoch, self.load(epoch, like, mesh)
            except Damaged as error:
                LOG.warning('%s; going on from the one before, it is kept in %s', error, self._put_aside(epoch))
        return None

    def best(self) -> Best | None:
        """The best epoch so far (the earlier one of equals), None where there is none."""
        metrics = [each for each in self._metrics().values() if each]
        if not metrics:
            return None
        found = max(metrics, key=_merit)
        return Best(int(found['epoch']), float(found['value']))

    def load(self, epoch: int, like: TrainState, mesh: Mesh) -> TrainState:
        """Restores the state of an epoch onto a mesh, which need not be the one that it was saved from.

        Args:
          epoch: a saved epoch.
          like: shapes and dtypes (from `jax.eval_shape`).
          mesh: where the arrays go.

        Raises:
          UserError: the checkpoint is damaged (`Damaged`) or cannot be read now.
        """
        return self._load(epoch, f'the checkpoint of epoch {epoch + 1}', like, mesh)


class Interrupted(_States):
    """The state in the middle of an epoch, where a run was asked to stop."""

    noted = {'epoch': int, 'losses': list}

    def __init__(self, folder: pathlib.Path):
        """Opens or creates `folder`."""
        super().__init__(folder, _POLICIES.LatestN(1))

    def save(self, epoch: int, state: TrainState, losses: np.ndarray, seconds: float) -> None:
        """Saves the state after some steps of `epoch` with their losses and the time they took; returns before it is
        on disk."""
        number = int(state.step)
        known = list(self._metrics())
        if number not in known:
            for later in known:  # those before stay until this one is complete
                if later > number:
                    self._checkpointer.delete(later)
            self._save(number, state, {'epoch': epoch, 'seconds': seconds, 'losses': [float(loss) for loss in losses]})

    def resume(self, epoch: int, like: TrainState, mesh: Mesh) -> tuple[TrainState, np.ndarray, float] | None:
        """The state inside `epoch`, float32 losses of the steps before it and their seconds; None where there is none.

        Arguments and errors as in `Checkpoints.load`, but one that is damaged is passed over.
        """
        for number, metrics in sorted(self._metrics().items(), reverse=True):
            if metrics.get('epoch') != epoch:
                continue  # left from an epoch that was finished later
            try:
                state = self._load(number, f'the state inside epoch {epoch + 1}', like, mesh)
            except Damaged as error:
                LOG.warning('%s; going on from what was before, it is kept in %s', error, self._put_aside(number))
                continue
            return state, np.asarray(metrics['losses'], np.float32), float(metrics.get('seconds', 0.0))
        return None


def _arrays(state: TrainState) -> str:
    """What tells states apart that one program cannot read for another: names, shapes and types of all arrays."""
    found = [_FORM, *(f'{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}'
             for path, leaf in jax.tree_util.tree_leaves_with_path(state))]
    return hashlib.sha256('\n'.join(found).encode()).hexdigest()[:16]


def _is_noted(state: pathlib.Path, names: Mapping[str, type | tuple[type, ...]]) -> bool:
    try:
        found = json.loads((state / 'metrics' / 'metrics').read_text(encoding='utf-8'))
        return all(isinstance(found[name], kind) for name, kind in names.items())
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return False


def _aside(state: pathlib.Path) -> pathlib.Path:
    return state.parent.parent / f'damaged_{state.parent.name}' / state.name


def _move(state: pathlib.Path, aside: pathlib.Path) -> None:
    aside.parent.mkdir(exist_ok=True)
    shutil.rmtree(aside, ignore_errors=True)
    state.rename(aside)


def _why(where: str, error: Exception) -> UserError:
    """What a failure to read means: bytes that are not what was saved, or something that may pass."""
    chain: list[BaseException] = [error]  # Orbax wraps the error that came first
    while (before := chain[-1].__cause__ or chain[-1].__context__) is not None and before not in chain:
        chain.append(before)
    for each in chain:
        refused = isinstance(each, MemoryError | OSError) and not isinstance(each, FileNotFoundError)
        if refused or any(sign in str(each).lower() for sign in _PASSING):
            return UserError(f'{where} cannot be read ({_line(each)}); nothing was moved, run again when it can')
    return Damaged(f'{where} is damaged ({_line(chain[-1])})')


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]


def _merit(metrics: Any) -> tuple[float, int]:
    return metrics['value'], -metrics['epoch']

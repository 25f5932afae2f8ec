"""The model that answers now, and how another takes its place while requests go on."""

import asyncio
import contextlib
import ctypes
import gc
import logging
import pathlib
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from grasp_jax.common.errors import UserError
from grasp_jax.serving import assets
from grasp_jax.serving.http import problems
from grasp_jax.serving.http.limits import Limits
from grasp_jax.serving.http.metrics import Metrics
from grasp_jax.serving.http.problems import Problem
from grasp_jax.serving.http.scorer import Scorer
from grasp_jax.serving.http.served import Served, compiled, opened
from grasp_jax.serving.recommender import NewItems

LOG = logging.getLogger(__name__)
Found = TypeVar('Found')


class Shelf:
    """Holds the model."""

    def __init__(self, workdir: pathlib.Path, models: pathlib.Path, seed: int | None, limits: Limits,
                 metrics: Metrics, scorer: Scorer):
        """Holds nothing yet.

        Args:
          workdir: the folder that is served.
          models: the folder below which others may be loaded.
          seed: whose parameters of `workdir`; None: the first that is finished.
          limits, metrics, scorer: of the service.
        """
        self._workdir, self._models, self._seed = workdir, models, seed
        self._limits, self._metrics, self._scorer = limits, metrics, scorer
        self._current: Served | None = None
        self._changing = asyncio.Lock()
        self._loader: threading.Thread | None = None

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded, wanted or not."""
        return self._loader is not None and self._loader.is_alive()

    @property
    def ready(self) -> bool:
        """Whether there is a model to ask."""
        return self._current is not None

    @property
    def current(self) -> Served:
        """The model that answers.

        Raises:
          Problem: it is not ready yet.
        """
        if self._current is None:
            raise problems.starting()
        return self._current

    async def start(self, known: assets.Assets) -> None:
        """Makes the first model ready.

        Args:
          known: the opened folder.

        Raises:
          UserError: it cannot be served.
        """
        async with self._changing:
            self._put(await self._aside(lambda: compiled(Served(known, self._limits))))
            await self._aside(_tidy)

    async def reload(self, path: str | None) -> Served:
        """Puts another model in the place of the one that answers, which goes on until then.

        Args:
          path: a folder below the folder of models; None: the one that was served from the start.

        Returns:
          the new one.

        Raises:
          Problem: another change is under way, the folder may not be served or cannot be; the model stays.
        """
        if self._changing.locked():
            raise Problem(409, 'the model is being changed already; ask again when that is done')
        async with self._changing:
            folder, seed, added = self._allowed(path), None if path else self._seed, self.current.added
            try:
                found = await self._aside(lambda: opened(folder, seed, self._limits, added))
            except Exception as error:
                self._metrics.reloaded(False)
                if not isinstance(error, (UserError, OSError)):  # damaged, unreadable, gone, a name too long
                    LOG.exception('reload of %s failed', folder)
                    raise problems.unexpected() from None
                LOG.warning('reload refused: %s', error)
                raise Problem(409, 'that folder cannot be served, and the model stays as it was; the log of the '
                              'service says why') from None
            self._put(found)
            self._metrics.reloaded(True)
            await self._aside(_tidy)
            return found

    def allowed(self, path: str | None) -> Served:
        """Whether `reload` may load a folder, which need not be there yet.

        Args:
          path: as there.

        Returns:
          the model that answers, and goes on.

        Raises:
          Problem: it may not, or no model is ready yet.
        """
        self._allowed(path)
        return self.current

    async def add(self, rows: Sequence[Mapping[str, Any]]) -> tuple[NewItems, Served]:
        """Adds items to the model that answers.

        Args:
          rows: ids and attributes.

        Returns:
          what was added, and the model.

        Raises:
          Problem: another change is under way, there is no room, or an item cannot be added; then none is.
        """
        if self._changing.locked():
            raise Problem(503, 'the model is being changed; ask again in a moment')
        async with self._changing:
            served = self.current
            if len(rows) > served.room:
                raise Problem(409, f'there is room for {served.room} more items; load a model that knows the others')
            try:
                ready = await self._aside(lambda: served.model.prepare_items(rows))
            except UserError as error:
                raise Problem(422, self._without_paths(str(error))) from None
            await self._scorer.call(lambda: served.take(rows, ready))
            self._metrics.serves(served.version, served.seed, served.items)
            for sentence in ready.warnings:
                LOG.warning('%s', sentence)
            return ready, served

    def _put(self, found: Served) -> None:
        self._current = found
        self._metrics.serves(found.version, found.seed, found.items)

    async def _aside(self, work: Callable[[], Found]) -> Found:
        """What `work` returns, called in a thread of its own, which ends with the process."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()

        def run() -> None:
            try:
                result, error = work(), None
            except BaseException as raised:
                result, error = None, raised
            with contextlib.suppress(RuntimeError):  # the loop has ended, and no request waits
                loop.call_soon_threadsafe(lambda: _settle(future, result, error))

        self._loader = threading.Thread(target=run, name='loader', daemon=True)
        self._loader.start()
        return await future

    def _allowed(self, path: str | None) -> pathlib.Path:
        """The folder that is meant; links lead where they lead.

        Raises:
          Problem: it is not below the folder of models.
        """
        if path is None:
            return self._workdir
        try:
            folder = (self._models / path).resolve()
            inside = folder.is_relative_to(self._models.resolve()) and folder != self._models.resolve()
        except (OSError, ValueError, RuntimeError):  # a zero byte, a name too long, links in a circle
            inside = False
        if not inside:
            raise Problem(403, 'only folders below the folder of --models may be loaded')
        return folder

    def _without_paths(self, sentence: str) -> str:
        near = (self._workdir, self._models, *self.current.folders)
        if any(str(folder) in sentence for each in near for folder in (each, each.resolve())):
            LOG.warning('items refused: %s', sentence)
            return 'these items cannot be added; the log of the service says why'
        return sentence


def _settle(future: asyncio.Future, result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


def _tidy() -> None:
    """Gives the memory of the model before back to the system; what lives long is not looked at again."""
    gc.collect()
    gc.freeze()
    try:
        ctypes.CDLL('libc.so.6').malloc_trim(0)
    except (OSError, AttributeError):  # another libc
        pass

"""Requests to a server of OpenAI's interface, many at once, until each has an answer.

The official client repeats what its server asks to repeat (429, 5xx, lost connections); what it does not cover (broken
bodies, a server that stays away longer) is repeated here.
"""

import asyncio
import dataclasses
import functools
import json
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any, NoReturn, TypeVar

import ml_collections

from grasp_jax import errors
from grasp_jax.errors import UserError
from grasp_jax.knowledge.language_model import LanguageModel

LOG = logging.getLogger(__name__)
Job = TypeVar('Job')
CLIENT_RETRIES = 4  # of the official client, a few seconds in all
_PAUSES = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)  # seconds, ours


@dataclasses.dataclass(frozen=True)
class Limits:
    """How a server may be used; 0 is no limit.

    Attributes:
      concurrency: requests under way at once.
      requests_per_minute, tokens_per_minute: as the server allows.
      timeout: seconds that an answer may take.
      tries: of one prompt.
      max_usd: dollars that the answers in the store may have cost.
      max_requests: requests of this run.
    """

    concurrency: int
    requests_per_minute: int
    tokens_per_minute: int
    timeout: float
    tries: int
    max_usd: float
    max_requests: int


def limits_from(config: ml_collections.ConfigDict) -> Limits:
    """The limits of the `llm` section.

    Raises:
      UserError: one makes no sense.
    """
    found = Limits(**{field.name: config.llm[field.name] for field in dataclasses.fields(Limits)})
    for name, value in dataclasses.asdict(found).items():
        lowest = 1 if name in ('concurrency', 'tries') else 0
        if not value >= lowest or name == 'timeout' and not value:
            allowed = 'above 0' if name == 'timeout' else f'{lowest} or more'
            raise UserError(f'--config.llm.{name}={value}: must be {allowed}')
    return found


class Refused(Exception):
    """The server answers that it will never answer this request."""


class Stopped(Exception):
    """Nothing was sent any more."""


class Broken(Exception):
    """A body that is no answer; the client does not look."""


class Server:
    """One server.

    Attributes:
      model: who is asked there.
      limits: how it may be used.
      stopped: why no new request goes out; empty while they do.
      signal: that stopped it, 0 where none did.
    """

    def __init__(self, model: LanguageModel, limits: Limits):
        """`model` and `limits` as above.

        Raises:
          UserError: the client is not installed, its key is missing, or a cap needs a price that is not known.
        """
        if limits.max_usd and model.price is None:
            raise UserError(f'--config.llm.max_usd={limits.max_usd}: the price of {model.name!r} is not known; add it '
                            f"to config.llm.prices, as \"(('{model.name}', 0.15, 0.60),)\"")
        self.model, self.limits, self.stopped, self.signal = model, limits, '', 0
        self._openai, self._options = _openai(), model.client_options()
        self._client: Any = None
        self._pace: _Pace | None = None
        self._halted: asyncio.Event | None = None  # set by a signal
        self._warned = False

    def work(self, job: Callable[[Job], Awaitable[None]], feed: Iterator[Job]) -> None:
        """Works off a feed, `limits.concurrency` jobs at once, until it ends or `stopped`; a signal stops it too.

        Jobs that are under way are finished. Whatever a job raises stops the others and is raised at the end.
        """
        failure = asyncio.run(self._work(job, feed))
        if failure is not None:
            raise failure

    async def _work(self, job: Callable[[Job], Awaitable[None]], feed: Iterator[Job]) -> BaseException | None:
        self._pace, self._halted = _Pace(self.limits), asyncio.Event()
        loop, halted = asyncio.get_running_loop(), self._halted
        workers: list[asyncio.Task[None]] = []

        async def one() -> None:
            for some in feed:
                if self.stopped:
                    return
                try:
                    await job(some)
                except Stopped:
                    return
                except BaseException:
                    self.stopped = self.stopped or 'failed'
                    raise

        def stop(number: int) -> None:
            if self.signal:
                for worker in workers:
                    worker.cancel()
            self.signal = number
            halted.set()
            self.stopped = self.stopped or 'stopped by a signal'
            LOG.info('stopping: waiting for answers that are paid for already; a second signal does not wait')

        caught = [number for number in (signal.SIGINT, signal.SIGTERM)
                  if _can_catch(loop, number, functools.partial(stop, number))]
        try:
            async with self._openai.AsyncOpenAI(**self._options, max_retries=CLIENT_RETRIES,
                                                timeout=self.limits.timeout) as self._client:
                workers += [loop.create_task(one()) for _ in range(self.limits.concurrency)]
                await asyncio.gather(*workers, return_exceptions=True)
        finally:
            for number in caught:
                loop.remove_signal_handler(number)
        failed = (worker.exception() for worker in workers if not worker.cancelled())
        return next((error for error in failed if error is not None), None)

    def give_up(self, why: str) -> NoReturn:
        """Ends what was `stopped`.

        Raises:
          errors.Stopped, KeyboardInterrupt: a signal did it, SIGTERM or SIGINT.
          UserError: something else did.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt(why)
        if self.signal:
            raise errors.Stopped(why)
        raise UserError(why)

    async def ask(self, request: Callable[[Any], Awaitable[Any]], tokens: int) -> Any:
        """What `request(client)` returns, whatever it takes to get it.

        Args:
          request: one call of the client; raises `Broken` where the body is no answer.
          tokens: that it will take at most.

        Raises:
          Refused: the server will never answer it.
          Stopped: a stop came before it was sent.
          UserError: the server cannot be used, or stays away.
        """
        openai, name = self._openai, self.model.name
        assert self._pace is not None, 'inside `work` only'
        for pause in (*_PAUSES, None):
            if self._pace.limited:
                await self._unless_halted(self._pace.wait(tokens))
            if self.stopped:
                raise Stopped
            try:
                return await request(self._client)
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                raise UserError(f'the server of {name!r} refuses ({error.status_code}): {_line(error)}; check '
                                f'--config.llm.model, base_url and ${self.model.key_variable}') from error
            except openai.APIStatusError as error:
                if error.status_code == 402 or getattr(error, 'code', None) == 'insufficient_quota':
                    raise UserError(f'the server of {name!r}: {_line(error)}; answers are kept') from error
                if error.status_code < 500 and error.status_code not in (408, 409, 429):
                    raise Refused(f'error {error.status_code}: {_line(error)}') from error
                reason = f'error {error.status_code}'
            except (openai.APIError, json.JSONDecodeError, UnicodeDecodeError, Broken) as error:
                reason = type(error).__name__
            where = self.model.base_url or 'OpenAI'
            if pause is None:
                raise UserError(f'the server of {name!r} ({where}) keeps failing ({reason}); what was answered is '
                                'kept, the same command goes on')
            if not self._warned:
                LOG.warning('the server of %r (%s) fails: %s; trying again for some minutes', name, where, reason)
            self._warned = True
            await self._unless_halted(asyncio.sleep(pause * random.uniform(0.1, 1.0)))
        raise AssertionError('not reached')

    async def _unless_halted(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Waits, but not on after a signal."""
        assert self._halted is not None, 'inside `work` only'
        tasks = [asyncio.ensure_future(each) for each in (waiting, self._halted.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()  # or what it raised
        finally:
            for task in tasks:
                task.cancel()


class _Pace:
    """Waits until a request may go out.

    Attributes:
      limited: whether it ever has to.
    """

    def __init__(self, limits: Limits):
        from aiolimiter import AsyncLimiter  # comes with the extra
        self._requests = AsyncLimiter(limits.requests_per_minute, 60) if limits.requests_per_minute else None
        self._tokens = AsyncLimiter(limits.tokens_per_minute, 60) if limits.tokens_per_minute else None
        self.limited = bool(self._requests or self._tokens)

    async def wait(self, tokens: int) -> None:
        if self._requests:
            await self._requests.acquire()
        if self._tokens:
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))


def _openai() -> Any:
    try:
        import aiolimiter  # noqa: F401 (so that what is missing is said before anything is asked)
        import openai
    except ImportError as error:
        raise UserError(f'language models need their extra ({error}): pip install "grasp_jax[llm]"') from error
    return openai


def _line(error: Any) -> str:
    return ' '.join(str(getattr(error, 'message', error)).split())[:200]


def _can_catch(loop: asyncio.AbstractEventLoop, number: int, stop: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, stop)
    except (RuntimeError, ValueError, NotImplementedError):  # not the main thread, or no Unix
        return False
    return True

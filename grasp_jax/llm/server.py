"""Requests to a server of OpenAI's interface, many at once, until each has an answer.

The official client repeats nothing: it would do so unseen, and a request whose answer is lost may have been paid for.
"""

import asyncio
import dataclasses
import functools
import json
import logging
import random
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import Any, NamedTuple, NoReturn, TypeVar

import ml_collections

from grasp_jax.common import errors
from grasp_jax.common.errors import UserError
from grasp_jax.config.rules import Rule, number, positive, require
from grasp_jax.llm.language_model import NO_KEY, LanguageModel
from grasp_jax.llm.rate_limit import RateLimiter
from grasp_jax.llm.validation import one_line

LOG = logging.getLogger(__name__)
Job = TypeVar('Job')
_PAUSES = (0.1, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 15.0, 15.0, 30.0, 30.0, 60.0, 60.0)  # seconds, between repetitions
_LONGEST_WISH = 60.0  # seconds that are waited because a server asks for it
_TIMEOUTS = 2  # repetitions of a request whose answer took too long
_LOST = (0.0, 1.0, 5.0, 15.0, 30.0)  # seconds before each, of one whose answer was lost in any way
_NEVER_SENT = ('ConnectError', 'ConnectTimeout', 'PoolTimeout')  # of the client's transport


@dataclasses.dataclass(frozen=True)
class Limits:
    """How a server may be used; 0 is no limit.

    Attributes:
      concurrency: requests under way at once.
      requests_per_minute, tokens_per_minute: as the server allows.
      timeout: seconds that an answer may take.
      max_attempts: of one prompt.
      max_usd: dollars that the answers in the store may have cost.
      max_requests: requests of this run.
    """

    concurrency: int
    requests_per_minute: int
    tokens_per_minute: int
    timeout: float
    max_attempts: int
    max_usd: float
    max_requests: int


def _from(lowest: int, *names: str) -> list[Rule]:
    return [number(f'llm.{name}', lambda value: value >= lowest, f'{lowest} or more') for name in names]


LIMIT_RULES: tuple[Rule, ...] = (
    *_from(1, 'concurrency'), *_from(0, 'requests_per_minute', 'tokens_per_minute'), positive('llm.timeout'),
    *_from(1, 'max_attempts'), *_from(0, 'max_usd', 'max_requests'))


def limits_from(config: ml_collections.ConfigDict) -> Limits:
    """The limits of the `llm` section.

    Raises:
      UserError: one makes no sense.
    """
    require(LIMIT_RULES, config)
    return Limits(**{field.name: config.llm[field.name] for field in dataclasses.fields(Limits)})


class Refused(Exception):
    """The server answers that it will never answer this request."""


class RequestsHalted(Exception):
    """Nothing was sent any more."""


class Broken(Exception):
    """A body that is no answer; the client does not look. Says what is wrong with it."""


def broken(answer: Any) -> Broken:
    """With what a server says of itself in a body of status 200, if anything."""
    return Broken(one_line(getattr(answer, 'error', None)) or 'a body that is no answer')


class _Failure(NamedTuple):
    reason: str
    lost: bool = False  # whether it was sent, and may have been paid for
    late: bool = False
    wish: float = 0.0  # seconds that the server asks to wait


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
            raise UserError(f'llm.max_usd={limits.max_usd}: the price of {model.name!r} is not known; add it '
                            f"to llm.prices, as \"(('{model.name}', 0.15, 0.60),)\"")
        self.model, self.limits, self.stopped, self.signal = model, limits, '', 0
        self._openai, self._options = _openai(), model.client_options()
        self._client: Any = None
        self._pace: RateLimiter | None = None
        self._halted: asyncio.Event | None = None  # set by a signal
        self._warned = False

    def work(self, job: Callable[[Job], Awaitable[None]], feed: Iterator[Job]) -> None:
        """Works off a feed, `limits.concurrency` jobs at once, until it ends or `stopped`; a signal stops it too.

        Jobs that are under way are finished. An error in a job stops the others and is raised at the end.
        """
        failure = asyncio.run(self._work(job, feed))
        if failure is not None:
            raise failure

    async def _work(self, job: Callable[[Job], Awaitable[None]], feed: Iterator[Job]) -> BaseException | None:
        self._pace, self._halted = RateLimiter(self.limits.requests_per_minute,
                                               self.limits.tokens_per_minute), asyncio.Event()
        loop, halted = asyncio.get_running_loop(), self._halted
        workers: list[asyncio.Task[None]] = []

        async def one() -> None:
            for some in feed:
                if self.stopped:
                    return
                try:
                    await job(some)
                except RequestsHalted:
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
            async with self._openai.AsyncOpenAI(**self._options, max_retries=0,
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
          errors.RunInterrupted, KeyboardInterrupt: a signal did it, SIGTERM or SIGINT.
          UserError: something else did.
        """
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt(why)
        if self.signal:
            raise errors.RunInterrupted(why)
        raise UserError(why)

    async def ask(self, request: Callable[[Any], Awaitable[Any]], tokens: int,
                  lost: Callable[[], Awaitable[None]]) -> Any:
        """What `request(client)` returns, after as many tries as that takes.

        Args:
          request: one call of the client; raises `Broken` where the body is no answer.
          tokens: that it will take at most.
          lost: is told of each time that it was sent and no answer came, which may cost as much as one.

        Raises:
          Refused: the server will never answer it.
          RequestsHalted: a stop came before it was sent.
          UserError: the server cannot be used, stays away, or is too slow.
        """
        assert self._pace is not None, 'inside `work` only'
        late = gone = 0
        for pause in (*_PAUSES, None):
            if self._pace.limited:
                await self._unless_halted(self._pace.wait(tokens))
            if self.stopped:
                raise RequestsHalted
            try:
                return await request(self._client)
            except asyncio.CancelledError:  # by a second signal: it may be paid for all the same
                await lost()
                raise
            except (self._openai.APIError, json.JSONDecodeError, UnicodeDecodeError, RecursionError, Broken) as error:
                failure = self._failure(error)
            late, gone = late + failure.late, gone + failure.lost
            if failure.lost:
                await lost()
            if pause is None or late > _TIMEOUTS or gone > len(_LOST):
                self._fail(failure)
            self._warn(failure)
            if not self.stopped:
                wait = max(failure.wish, pause * random.uniform(0.1, 1.0), _LOST[gone - 1] if failure.lost else 0.0)
                await self._unless_halted(asyncio.sleep(wait))
        raise AssertionError('not reached')

    def _failure(self, error: Exception) -> _Failure:
        """What went wrong, where asking again may help.

        Raises:
          Refused, UserError: it will not.
        """
        openai, name = self._openai, self.model.name
        if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError)):
            raise UserError(f'the server of {name!r} refuses ({error.status_code}): {self._line(error)}; check '
                            f'llm.model, base_url and ${self.model.api_key_env}') from error
        if isinstance(error, openai.APIStatusError):
            if error.status_code == 402 or getattr(error, 'code', None) == 'insufficient_quota':
                raise UserError(f'the server of {name!r}: {self._line(error)}; answers are kept') from error
            if error.status_code < 500 and error.status_code not in (408, 409, 429):
                raise Refused(f'error {error.status_code}: {self._line(error)}') from error
            return _Failure(f'error {error.status_code}', wish=_wish(error.response.headers))
        sent = type(error.__cause__).__name__ not in _NEVER_SENT
        reason = self._line(error) if isinstance(error, Broken) else type(error).__name__
        return _Failure(reason, sent, sent and isinstance(error, openai.APITimeoutError))

    def _fail(self, failure: _Failure) -> NoReturn:
        remedy = (f'; answers take longer than llm.timeout={self.limits.timeout:g} seconds: raise it, or '
                  'lower llm.concurrency' if failure.late else '')
        raise UserError(f'the server of {self.model.name!r} ({self._where()}) keeps failing ({failure.reason}); what '
                        f'was answered is kept, the same command goes on{remedy}')

    def _warn(self, failure: _Failure) -> None:
        if not self._warned:
            LOG.warning('the server of %r (%s) fails: %s; trying again for a while', self.model.name,
                        self._where(), failure.reason)
        self._warned = True

    def _line(self, error: Any) -> str:
        """What the server says of an error, without the key, which some repeat."""
        text, key = one_line(error), self._options['api_key']
        return (text if key == NO_KEY else text.replace(key, '***'))[:200]

    def _where(self) -> str:
        return self.model.base_url or 'OpenAI'

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


def _openai() -> Any:
    try:
        import aiolimiter  # noqa: F401 (so that what is missing is said before anything is asked)
        import openai
    except ImportError as error:
        raise UserError(f'language models need their extra ({error}): pip install -e ".[llm]"') from error
    return openai


def _wish(headers: Mapping[str, str]) -> float:
    """Seconds that a server asks to wait, 0 where it does not say."""
    try:
        seconds = (float(headers['retry-after-ms']) / 1000 if 'retry-after-ms' in headers
                   else float(headers.get('retry-after', 0)))
    except ValueError:  # a date
        return 0.0
    return min(seconds, _LONGEST_WISH) if seconds > 0 else 0.0


def _can_catch(loop: asyncio.AbstractEventLoop, number: int, stop: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, stop)
    except (RuntimeError, ValueError, NotImplementedError):  # not the main thread, or no Unix
        return False
    return True

"""Asks a language model many things at once; every answer is kept the moment it arrives.

The official client repeats what its server asks to repeat (429, 5xx, lost connections); what it does not cover (broken
bodies, a server that stays away longer) is repeated here. An answer that is empty, cut off or a refusal is asked for
again, up to `Limits.tries` times in all runs together; after that the prompt stays unanswered and its caller falls
back to a text of its own.
"""

import asyncio
import dataclasses
import json
import logging
import random
import re
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import ml_collections
from tqdm import tqdm

from grasp_jax.errors import UserError
from grasp_jax.knowledge.estimate import Tokens, rough_of
from grasp_jax.knowledge.language_model import LanguageModel
from grasp_jax.knowledge.responses import Responses, Usage

LOG = logging.getLogger(__name__)
CLIENT_RETRIES = 4  # of the official client, a few seconds in all
_PAUSES = (2.0, 5.0, 10.0, 20.0, 40.0, 60.0)  # seconds, ours
_AT_ONCE = 500  # prompts looked up in the store together
_REFUSAL = re.compile(r"^\W*(i['’]?m sorry|i am sorry|sorry,|i can(['’]?t|not) |as an ai\b)", re.IGNORECASE)


class Prompt(NamedTuple):
    """One question.

    Attributes:
      about: whom, for lists of what went wrong.
      key: under which its answer is kept.
      messages: what is sent.
    """

    about: str
    key: str
    messages: list[dict[str, str]]


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
        if value < lowest or name == 'timeout' and not value:
            allowed = 'above 0' if name == 'timeout' else f'{lowest} or more'
            raise UserError(f'--config.llm.{name}={value}: must be {allowed}')
    return found


def pending(prompts: Iterable[Prompt], store: Responses, tries: int) -> Iterator[Prompt]:
    """Those that have no answer and may be asked again; equal prompts once."""
    asked: set[str] = set()
    for some in _chunks(prompts):
        keys = [prompt.key for prompt in some]
        answered, rejected = store.texts(keys), store.rejections(keys)
        for prompt in some:
            count, final, _ = rejected.get(prompt.key, (0, False, ''))
            if prompt.key not in answered and prompt.key not in asked and count < tries and not final:
                asked.add(prompt.key)
                yield prompt


def judge(text: str | None, finish: str | None, refusal: str | None, keep_after: str) -> str:
    """Why an answer is not accepted; empty where it is."""
    if refusal or finish == 'content_filter' or text and _REFUSAL.match(text):
        return 'refused'
    if not text or not text.strip():
        return 'empty'
    if finish == 'length':
        return 'cut off'
    if keep_after and not text.rpartition(keep_after)[2].strip() or keep_after and keep_after not in text:
        return f'without {keep_after!r}'
    return ''


class Generator:
    """One pass over prompts.

    Attributes:
      sent: requests of this run, the client's own repetitions not counted.
    """

    def __init__(self, model: LanguageModel, store: Responses, limits: Limits, keep_after: str = ''):
        """`keep_after` is a mark that an answer must have (see `domains`).

        Raises:
          UserError: the client is not installed, its key is missing, or a cap needs a price that is not known.
        """
        if limits.max_usd and model.price is None:
            raise UserError(f'--config.llm.max_usd={limits.max_usd}: the price of {model.name!r} is not known; add it '
                            f"to config.llm.prices, as ('{model.name}', 0.15, 0.60)")
        self._model, self._store, self._limits, self._keep_after = model, store, limits, keep_after
        self._spent = model.cost(store.totals(model.name).usage)
        self._tokens = Tokens.learned(store.totals(model.name))
        self._under_way = 0.0  # dollars that answers under way will cost at most
        self._stopped = ''
        self._failure: BaseException | None = None
        self.sent = 0

    def run(self, prompts: Callable[[], Iterable[Prompt]], what: str, total: int) -> None:
        """Asks whatever has no answer yet.

        Args:
          prompts: gives all prompts, the same ones each time.
          what: name of the bar.
          total: how many prompts there are.

        Raises:
          UserError: a limit is reached, the server cannot be used, or a signal came; what was answered is kept and
            the same call goes on from there.
        """
        left = sum(1 for _ in pending(prompts(), self._store, self._limits.tries))
        if not left:
            return
        with tqdm(total=total, initial=total - left, desc=what, unit='prompt', mininterval=0.5) as bar:
            asyncio.run(self._all(pending(prompts(), self._store, self._limits.tries), bar))
        left = sum(1 for _ in pending(prompts(), self._store, self._limits.tries))
        if self._failure is not None:
            raise self._failure
        if self._stopped and left:
            raise UserError(f'{what}: {self._stopped}; {total - left:,} of {total:,} prompts are settled, '
                            f'{self._price()}; the same command goes on with the rest')

    def _price(self) -> str:
        return 'price not known' if self._model.price is None else f'${self._spent:,.4f} so far'

    async def _all(self, feed: Iterator[Prompt], bar: Any) -> None:
        openai, pace = _openai(), _Pace(self._limits)
        loop = asyncio.get_running_loop()
        workers: list[asyncio.Task[None]] = []

        def stop() -> None:
            if self._stopped:
                for worker in workers:
                    worker.cancel()
            self._stopped = self._stopped or 'stopped by a signal'
            LOG.info('stopping: waiting for answers that are paid for already; a second signal does not wait')

        caught = [number for number in (signal.SIGINT, signal.SIGTERM) if _can_catch(loop, number, stop)]
        try:
            async with openai.AsyncOpenAI(**self._model.client_options(), max_retries=CLIENT_RETRIES,
                                          timeout=self._limits.timeout) as client:
                workers += [loop.create_task(self._work(client, feed, pace, bar))
                            for _ in range(self._limits.concurrency)]
                await asyncio.gather(*workers, return_exceptions=True)
        finally:
            for number in caught:
                loop.remove_signal_handler(number)
        failed = [worker.exception() for worker in workers if not worker.cancelled()]
        self._failure = next((error for error in failed if error is not None), None)

    async def _work(self, client: Any, feed: Iterator[Prompt], pace: '_Pace', bar: Any) -> None:
        for prompt in feed:
            reserved = self._reserve(prompt)
            if self._stopped:
                return
            try:
                await self._settle(client, prompt, pace)
            except BaseException:
                self._stopped = self._stopped or 'failed'
                raise
            finally:
                self._under_way -= reserved
            bar.update()
            bar.set_postfix_str(self._price(), refresh=False)

    def _reserve(self, prompt: Prompt) -> float:
        """Dollars that a prompt may cost, set aside; stops the run where a cap has no room for them."""
        if self._limits.max_requests and self.sent >= self._limits.max_requests:
            self._stopped = self._stopped or f'--config.llm.max_requests={self._limits.max_requests} is reached'
        most = self._model.cost(Usage(self._tokens.of(prompt.messages), self._model.max_tokens))
        if self._limits.max_usd and self._spent + self._under_way + most > self._limits.max_usd:
            self._stopped = self._stopped or f'--config.llm.max_usd={self._limits.max_usd} leaves no room for more'
        if self._stopped:
            return 0.0
        self.sent += 1
        self._under_way += most
        return most

    async def _settle(self, client: Any, prompt: Prompt, pace: '_Pace') -> None:
        """Asks until there is an answer or no try is left."""
        count = self._store.rejections([prompt.key]).get(prompt.key, (0, False, ''))[0]
        model = self._model
        for _ in range(count, self._limits.tries):
            begin = time.monotonic()
            reply = await self._ask(client, model, prompt, pace)
            self._spent += self._model.cost(reply.usage)
            if not reply.reason:
                self._store.put(prompt.key, self._model.name, self._model.body(prompt.messages), reply.text,
                                reply.usage, rough_of(prompt.messages), time.monotonic() - begin)
                return
            self._store.reject(prompt.key, self._model.name, reply.reason, reply.text, reply.usage, reply.final)
            if reply.final or self._stopped:
                return
            if reply.reason == 'cut off':
                model = model.with_room(2)

    async def _ask(self, client: Any, model: LanguageModel, prompt: Prompt, pace: '_Pace') -> '_Reply':
        """One answer, whatever it takes to get one from the server."""
        openai = _openai()
        for pause in (*_PAUSES, None):
            await pace.wait(self._tokens.of(prompt.messages) + model.max_tokens)
            try:
                body = model.body(prompt.messages)
                return self._read(await client.chat.completions.create(**_known(body), extra_body=_unknown(body)))
            except (openai.AuthenticationError, openai.PermissionDeniedError, openai.NotFoundError) as error:
                raise UserError(f'the server of {model.name!r} refuses ({error.status_code}): {_line(error)}; check '
                                f'--config.llm.model, base_url and ${model.key_variable}') from error
            except openai.APIStatusError as error:
                if getattr(error, 'code', None) == 'insufficient_quota':
                    raise UserError(f'the server of {model.name!r}: {_line(error)}; answers are kept') from error
                if error.status_code < 500 and error.status_code not in (408, 409, 429):
                    return _Reply('', f'error {error.status_code}: {_line(error)}', Usage(), final=True)
                reason = f'error {error.status_code}'
            except (openai.APIError, json.JSONDecodeError, UnicodeDecodeError, _Broken) as error:
                reason = type(error).__name__
            if pause is None:
                raise UserError(f'the server of {model.name!r} keeps failing ({reason}); what was answered is kept, '
                                'the same command goes on')
            if self._stopped:
                raise UserError(f'stopped while the server of {model.name!r} was failing ({reason}); what was answered '
                                'is kept, the same command goes on')
            await asyncio.sleep(pause * random.uniform(0.1, 1.0))
        raise AssertionError('not reached')

    def _read(self, answer: Any) -> '_Reply':
        try:
            choice, counted = answer.choices[0], answer.usage
            text, refusal = choice.message.content, getattr(choice.message, 'refusal', None)
            usage = Usage(counted.prompt_tokens or 0, counted.completion_tokens or 0) if counted else Usage()
        except (AttributeError, IndexError, TypeError) as error:
            raise _Broken from error  # a body that is no answer; the client does not look
        return _Reply(text or '', judge(text, choice.finish_reason, refusal, self._keep_after), usage)


class _Broken(Exception):
    """A body that is no answer."""


class _Reply(NamedTuple):
    text: str
    reason: str  # why it is not accepted; empty where it is
    usage: Usage
    final: bool = False


class _Pace:
    """Waits until a request may go out."""

    def __init__(self, limits: Limits):
        from aiolimiter import AsyncLimiter  # comes with the extra
        self._requests = AsyncLimiter(limits.requests_per_minute, 60) if limits.requests_per_minute else None
        self._tokens = AsyncLimiter(limits.tokens_per_minute, 60) if limits.tokens_per_minute else None

    async def wait(self, tokens: int) -> None:
        if self._requests:
            await self._requests.acquire()
        if self._tokens:
            await self._tokens.acquire(min(tokens, self._tokens.max_rate))


def _openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise UserError(f'language models need their extra ({error}): pip install "grasp_jax[llm]"') from error
    return openai


_STANDARD = ('model', 'messages', 'temperature', 'seed', 'max_tokens', 'max_completion_tokens', 'top_p')


def _known(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key in _STANDARD}


def _unknown(body: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key not in _STANDARD}


def _line(error: Any) -> str:
    return ' '.join(str(getattr(error, 'message', error)).split())[:200]


def _can_catch(loop: asyncio.AbstractEventLoop, number: int, stop: Callable[[], None]) -> bool:
    try:
        loop.add_signal_handler(number, stop)
    except (RuntimeError, ValueError, NotImplementedError):  # not the main thread, or no Unix
        return False
    return True


def _chunks(prompts: Iterable[Prompt]) -> Iterator[list[Prompt]]:
    some: list[Prompt] = []
    for prompt in prompts:
        some.append(prompt)
        if len(some) == _AT_ONCE:
            yield some
            some = []
    if some:
        yield some

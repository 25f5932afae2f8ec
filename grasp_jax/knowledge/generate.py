"""Asks a language model many things at once; every answer is kept the moment it arrives.

An answer that is empty, cut off or a refusal is asked for again, up to `Limits.tries` times in all runs together; after
that the prompt stays unanswered and its caller falls back to a text of its own.
"""

import asyncio
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from tqdm import tqdm

from grasp_jax.errors import UserError
from grasp_jax.knowledge.database import TOGETHER, in_chunks
from grasp_jax.knowledge.estimate import Tokens, rough_of
from grasp_jax.knowledge.language_model import LanguageModel
from grasp_jax.knowledge.responses import NOTHING, Responses, Usage
from grasp_jax.knowledge.server import Broken, Limits, Refused, Server

# Entries of a request that the client has a parameter for.
_STANDARD = ('model', 'messages', 'temperature', 'seed', 'max_tokens', 'max_completion_tokens', 'top_p')
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


def pending(prompts: Iterable[Prompt], store: Responses, tries: int) -> Iterator[Prompt]:
    """Those that have no answer and may be asked again; equal prompts once."""
    asked: set[str] = set()
    for some in in_chunks(prompts, TOGETHER):
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
        """`keep_after` is a mark that an answer must have (see `domains`)."""
        self._model, self._store, self._limits, self._keep_after = model, store, limits, keep_after
        totals = store.totals(model.name)
        self._spent, self._tokens = model.cost(totals.usage), Tokens.learned(totals)
        self._under_way = 0.0  # dollars that answers under way will cost at most
        self._asking = 0  # prompts under way
        self._bar: Any = None
        self.sent = 0

    def run(self, prompts: Callable[[], Iterable[Prompt]], what: str, total: int) -> None:
        """Asks whatever has no answer yet.

        Args:
          prompts: gives all prompts, the same ones each time.
          what: name of the bar.
          total: how many prompts there are.

        Raises:
          UserError: the client is not installed, its key is missing, a cap needs a price that is not known, a limit is
            reached, the server cannot be used, or a signal came; what was answered is kept and the same call goes on
            from there.
        """
        left = self._count(prompts)
        if not left:
            return
        self._server = Server(self._model, self._limits)
        with tqdm(total=total, initial=total - left, desc=what, unit='prompt', mininterval=0.5) as self._bar:
            self._server.work(self._one, pending(prompts(), self._store, self._limits.tries))
        if self._server.stopped and (left := self._count(prompts)):
            raise UserError(f'{what}: {self._server.stopped}; {total - left:,} of {total:,} prompts are settled, '
                            f'{self._price()}; the same command goes on with the rest')

    def _count(self, prompts: Callable[[], Iterable[Prompt]]) -> int:
        return sum(1 for _ in pending(prompts(), self._store, self._limits.tries))

    def _price(self) -> str:
        return 'price not known' if self._model.price is None else f'${self._spent:,.4f} so far'

    async def _one(self, prompt: Prompt) -> None:
        most = self._model.cost(Usage(self._tokens.of(prompt.messages), self._model.max_tokens))
        while self._no_room(most) and self._asking and not self._server.stopped:
            await asyncio.sleep(0.02)  # most answers cost less than was set aside for them
        self._server.stopped = self._server.stopped or self._no_room(most)
        if self._server.stopped:
            return
        self.sent += 1
        self._under_way += most
        self._asking += 1
        try:
            await self._settle(prompt)
        finally:
            self._under_way -= most
            self._asking -= 1
        self._bar.update()
        self._bar.set_postfix_str(self._price(), refresh=False)

    def _no_room(self, most: float) -> str:
        """Which limit a further prompt of `most` dollars would pass; empty where none."""
        limits = self._limits
        if limits.max_requests and self.sent >= limits.max_requests:
            return f'--config.llm.max_requests={limits.max_requests} is reached'
        if limits.max_usd and self._spent + self._under_way + most > limits.max_usd:
            return f'--config.llm.max_usd={limits.max_usd} leaves no room for more, raise it to go on'
        return ''

    async def _settle(self, prompt: Prompt) -> None:
        """Asks until there is an answer or no try is left."""
        count = self._store.rejections([prompt.key]).get(prompt.key, (0, False, ''))[0]
        model = self._model
        for _ in range(count, self._limits.tries):
            begin = time.monotonic()
            reply = await self._ask(model, prompt)
            self._spent += self._model.cost(reply.usage)
            if not reply.reason:
                self._store.put(prompt.key, self._model.name, self._model.body(prompt.messages), reply.text,
                                reply.usage, rough_of(prompt.messages), time.monotonic() - begin)
                return
            self._store.reject(prompt.key, self._model.name, reply.reason, reply.text, reply.usage, reply.final)
            if reply.final or self._server.stopped:
                return
            if reply.reason == 'cut off':
                model = model.with_room(2)

    async def _ask(self, model: LanguageModel, prompt: Prompt) -> '_Reply':
        body = model.body(prompt.messages)
        known = {key: value for key, value in body.items() if key in _STANDARD}
        more = {key: value for key, value in body.items() if key not in _STANDARD}

        async def request(client: Any) -> '_Reply':
            return self._read(await client.chat.completions.create(**known, extra_body=more))

        try:
            reply: _Reply = await self._server.ask(request, self._tokens.of(prompt.messages) + model.max_tokens)
        except Refused as error:
            return _Reply('', str(error), NOTHING, final=True)
        return reply

    def _read(self, answer: Any) -> '_Reply':
        try:
            choice, counted = answer.choices[0], answer.usage
            text, refusal = choice.message.content, getattr(choice.message, 'refusal', None)
            usage = Usage(counted.prompt_tokens or 0, counted.completion_tokens or 0) if counted else NOTHING
        except (AttributeError, IndexError, TypeError) as error:
            raise Broken from error
        return _Reply(text or '', judge(text, choice.finish_reason, refusal, self._keep_after), usage)


class _Reply(NamedTuple):
    text: str
    reason: str  # why it is not accepted; empty where it is
    usage: Usage
    final: bool = False

"""Asks a language model many things at once; every answer is kept the moment it arrives.

An answer that is empty, cut off or a refusal is asked for again, up to `Limits.max_attempts` times in all runs;
after that the prompt stays unanswered and its caller falls back to a text of its own.
"""

import asyncio
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.common.sqlite import TOGETHER, in_chunks
from grasp_jax.llm.answer_store import CUT_OFF, NONE, NOTHING, AnswerStore, Usage
from grasp_jax.llm.budget import Budget
from grasp_jax.llm.estimate import ENOUGH, Tokens, count_of, counted, rough, rough_of
from grasp_jax.llm.language_model import LanguageModel
from grasp_jax.llm.server import Limits, Refused, RequestsHalted, Server, broken
from grasp_jax.llm.validation import rejection_reason, text_of

_ALL = 20  # so many final refusals before a run's first answer are not about the prompts
# Entries of a request that the client has a parameter for.
_STANDARD = ('model', 'messages', 'temperature', 'seed', 'max_tokens', 'max_completion_tokens', 'top_p')


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


def pending(prompts: Iterable[Prompt], store: AnswerStore, tries: int,
            seen: set[str] | None = None) -> Iterator[Prompt]:
    """Those that have no answer and may be asked again; equal prompts once.

    Args:
      prompts: all of them.
      store: of the answers.
      tries: of one prompt.
      seen: gets the keys of all prompts where it is given, so that equal ones can be counted.

    Raises:
      UserError: the store is damaged.
    """
    asked: set[str] = set()
    for some in in_chunks(prompts, TOGETHER):
        keys = [prompt.key for prompt in some]
        if seen is not None:
            seen.update(keys)
        answered, rejected = store.texts(keys), store.rejections(keys)
        for prompt in some:
            before = rejected.get(prompt.key, NONE)
            if prompt.key not in answered and prompt.key not in asked and before.tries < tries and not before.final:
                asked.add(prompt.key)
                yield prompt


class PromptRunner:
    """One pass over prompts."""

    def __init__(self, model: LanguageModel, store: AnswerStore, limits: Limits, keep_after: str = ''):
        """`keep_after` is a mark that an answer must have (see `domains`)."""
        self._model, self._store, self._limits, self._keep_after = model, store, limits, keep_after
        self._tokens = Tokens()
        self._answered, self._learn_at = 0, ENOUGH
        self._known = False  # whether this model has ever answered
        self._trusted = False  # whether it has in this run
        self._before: list[dict[str, str]] = []  # messages that it has answered, asked with the same settings
        self._held: list[tuple[Prompt, _Reply]] = []  # final refusals while it is not trusted
        self._asking = 0  # prompts that may still get an answer
        self._budget: Budget | None = None
        self._spent_before = 0.0  # dollars, in earlier runs
        self._bar: Any = None

    @property
    def sent(self) -> int:
        """Requests of this run, as `Budget` counts them."""
        return self._budget.sent if self._budget else 0

    @property
    def usd(self) -> float:
        """Dollars of this run, as far as the price is known."""
        return self._budget.spent - self._spent_before if self._budget else 0.0

    def run(self, prompts: Callable[[], Iterable[Prompt]], what: str) -> None:
        """Asks every prompt that has no answer yet.

        Another process that would ask for answers of the same store waits, so that none is paid for
        twice and a cap is one for both.

        Args:
          prompts: gives all prompts, the same ones each time.
          what: name of the bar.

        Raises:
          UserError: the client is not installed, its key is missing, a cap needs a price that is not known, a limit is
            reached, the server cannot be used or refuses every prompt; what was answered is kept and the same
            call goes on from there.
          RequestsHalted, KeyboardInterrupt: a signal came; the same.
        """
        if next(pending(prompts(), self._store, self._limits.max_attempts), None) is None:
            return
        with artefacts.lock(self._store.path.parent, f'.{self._store.path.name}.asking'):
            self._run(prompts, what)

    def _run(self, prompts: Callable[[], Iterable[Prompt]], what: str) -> None:
        (total, left), totals = self._count(prompts), self._store.totals(self._model.name)
        if not left:  # another process asked while this one waited
            return
        self._tokens, self._known = Tokens.learned(totals), totals.answers > 0
        last = self._store.last_request(self._model.name)
        self._before = last['messages'] if last == self._model.body(last.get('messages', [])) else []
        self._server = Server(self._model, self._limits)
        self._spent_before = self._model.cost(totals.usage)
        self._budget = Budget(self._server, self._spent_before)
        with Bar(total=total, initial=total - left, desc=what, unit='prompt', mininterval=0.5) as self._bar:
            self._server.work(self._one, pending(prompts(), self._store, self._limits.max_attempts))
            if self._held and self._before and not self._server.stopped:
                self._server.work(lambda _: self._ask_again(), iter([None]))
        left = self._count(prompts)[1] if self._server.stopped else 0
        if left or self._server.signal:  # a signal ends more than the questions
            self._server.give_up(f'{what}: {self._server.stopped}; {total - left:,} of {total:,} prompts are settled, '
                                 f'{self._price()}; the same command goes on with the rest')
        if self._held and not self._known:
            raise self._refuses_all()
        self._trust()

    def _count(self, prompts: Callable[[], Iterable[Prompt]]) -> tuple[int, int]:
        """How many different prompts there are, and how many of them are left."""
        seen: set[str] = set()
        left = sum(1 for _ in pending(prompts(), self._store, self._limits.max_attempts, seen))
        return len(seen), left

    def _price(self) -> str:
        assert self._budget is not None, 'inside `run` only'
        return 'price not known' if self._model.price is None else f'${self._budget.spent:,.4f} so far'

    async def _one(self, prompt: Prompt) -> None:
        self._asking += 1
        try:
            refusal = await self._until_answered(prompt)
        finally:
            self._asking -= 1
        if refusal is not None:
            await self._refused(prompt, refusal)
        self._bar.update()
        self._bar.set_postfix_str(self._price(), refresh=False)

    async def _until_answered(self, prompt: Prompt) -> '_Reply | None':
        """Asks until there is an answer or no try is left; returns a refusal that is final."""
        before = self._store.rejections([prompt.key]).get(prompt.key, NONE)
        cut_off = before.cut_off
        for _ in range(before.tries, self._limits.max_attempts):
            begin = time.monotonic()
            reply = await self._pay_for(self._model.with_room(2 ** cut_off), prompt.messages)
            if reply.final:
                return reply
            if not reply.reason:
                self._keep(prompt, reply, time.monotonic() - begin)
                return None
            self._reject(prompt, reply)
            cut_off += reply.reason == CUT_OFF
        return None

    def _keep(self, prompt: Prompt, reply: '_Reply', seconds: float) -> None:
        estimated = rough_of(prompt.messages) if reply.counted else 0.0
        self._store.put(prompt.key, self._model.name, self._model.body(prompt.messages), reply.text, reply.usage,
                        estimated, seconds)
        self._trust()
        self._learn()

    def _learn(self) -> None:
        """The server's counts correct the estimate of what a prompt takes, looked up ever more rarely."""
        self._answered += 1
        if self._answered == self._learn_at:
            self._learn_at *= 4
            self._tokens = Tokens.learned(self._store.totals(self._model.name))

    def _reject(self, prompt: Prompt, reply: '_Reply') -> None:
        self._store.reject(prompt.key, self._model.name, reply.reason, reply.text, reply.usage, reply.final)

    async def _refused(self, prompt: Prompt, reply: '_Reply') -> None:
        """Keeps a final refusal, which is about the prompt, once it is known not to be about all prompts."""
        if self._trusted:
            self._reject(prompt, reply)
            return
        self._held.append((prompt, reply))
        while len(self._held) >= _ALL and self._asking and not self._server.stopped:
            await asyncio.sleep(0.02)  # an answer that is under way may still come, and lets them all go
        if len(self._held) >= _ALL and not self._server.stopped:
            await self._ask_again()

    async def _ask_again(self) -> None:
        """Asks what was answered before: where it still is, the refusals held are about the prompts.

        Raises:
          UserError: it is refused too, or nothing was answered before.
        """
        self._asking += 1
        try:
            reply = await self._pay_for(self._model, self._before) if self._before else None
            if reply is None or reply.final:
                raise self._refuses_all()
        finally:
            self._asking -= 1
        self._store.charge(self._model.name, reply.usage, 'asked again')
        self._trust()

    def _trust(self) -> None:
        self._trusted = True
        for prompt, reply in self._held:
            self._reject(prompt, reply)
        self._held.clear()

    def _refuses_all(self) -> UserError:
        reason = self._held[-1][1].reason
        return UserError(f'the server of {self._model.name!r} refuses every prompt ({reason}); see to the '
                         'settings of the section llm, nothing of this is kept')

    async def _pay_for(self, model: LanguageModel, messages: list[dict[str, str]]) -> '_Reply':
        """As `_ask`, within the caps.

        Raises:
          RequestsHalted: they leave no room, or a stop came.
        """
        assert self._budget is not None, 'inside `run` only'
        most = Usage(self._tokens.of(messages), model.max_tokens)
        async with self._budget.request(model.cost(most)) as may_go:
            if not may_go:
                raise RequestsHalted
            reply = await self._ask(model, messages, most)
            self._budget.spent += model.cost(reply.usage)
        return reply

    async def _ask(self, model: LanguageModel, messages: list[dict[str, str]], most: Usage) -> '_Reply':
        """One answer, which takes `most` tokens at most, or a refusal that is final."""
        body = model.body(messages)
        known = {key: value for key, value in body.items() if key in _STANDARD}
        more = {key: value for key, value in body.items() if key not in _STANDARD}

        async def request(client: Any) -> '_Reply':
            return self._read(await client.chat.completions.create(**known, extra_body=more), most)

        async def lost() -> None:
            assert self._budget is not None, 'inside `run` only'
            self._store.charge(model.name, most, 'no answer came')
            await self._budget.lost(model.cost(most))

        try:
            reply: _Reply = await self._server.ask(request, sum(most), lost)
        except Refused as error:
            return _Reply('', str(error), NOTHING, final=True)
        return reply

    def _read(self, answer: Any, most: Usage) -> '_Reply':
        try:
            choice, usage = answer.choices[0], answer.usage
            text, refusal = text_of(choice.message.content), getattr(choice.message, 'refusal', None)
            length = most.completion if choice.finish_reason == 'length' else rough(text)
            used = counted(usage, most.prompt, length)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise broken(answer) from error
        reason = rejection_reason(text, choice.finish_reason, refusal, self._keep_after)
        return _Reply(text, reason, used, counted=count_of(getattr(usage, 'prompt_tokens', None)) > 0)


class _Reply(NamedTuple):
    text: str
    reason: str  # why it is not accepted; empty where it is
    usage: Usage
    final: bool = False
    counted: bool = True  # whether the server did

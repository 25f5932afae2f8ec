"""What a run would ask a language model, and what that would take, without asking anything."""

import dataclasses
import pathlib
from collections.abc import Iterator

import ml_collections

from grasp_jax.llm import prompt_runner, server
from grasp_jax.llm.answer_store import AnswerStore, Usage
from grasp_jax.llm.estimate import Tokens
from grasp_jax.llm.prompt_runner import Prompt
from grasp_jax.llm.server import Limits
from grasp_jax.texts.llm_texts import STORE, PromptSet


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What is left to be asked.

    Attributes:
      prompts: in all.
      different: of them, equal ones counted once; the rest is about these.
      answered: those that have an answer, or that will get the filled template.
      tokens: of what is left; those of answers are means of the answers so far, or the most that is allowed.
      measured: whether the counts of earlier answers went into it.
      usd: price, None where it is not known.
      spent: dollars so far, None where the price is not known.
      hours: None where nothing tells how fast the server is.
    """

    prompts: int
    different: int
    answered: int
    tokens: Usage
    measured: bool
    usd: float | None
    spent: float | None
    hours: float | None


def estimate(asked: PromptSet, config: ml_collections.ConfigDict, store: pathlib.Path) -> Estimate:
    """Counts what is left.

    Raises:
      UserError: a setting is wrong.
    """
    limits = server.limits_from(config)
    with AnswerStore(store / STORE) as responses:
        totals = responses.totals(asked.model.name)
        known = Tokens.learned(totals)
        left = tokens = 0
        seen: set[str] = set()
        for prompt in prompt_runner.pending(asked.prompts(), responses, limits.max_attempts, seen):
            left += 1
            tokens += known.of(prompt.messages)
    answer = asked.model.max_tokens if known.answer is None else known.answer
    usage = Usage(tokens, round(left * answer))
    priced = asked.model.price is not None
    return Estimate(len(asked), len(seen), len(seen) - left, usage, known.answer is not None,
                    asked.model.cost(usage) if priced else None, asked.model.cost(totals.usage) if priced else None,
                    _hours(left, usage, limits, known.seconds))


def _hours(left: int, usage: Usage, limits: Limits, seconds: float | None) -> float | None:
    minutes = [left / limits.requests_per_minute] if limits.requests_per_minute else []
    minutes += [sum(usage) / limits.tokens_per_minute] if limits.tokens_per_minute else []
    minutes += [left * seconds / limits.concurrency / 60] if seconds is not None else []
    return max(minutes) / 60 if minutes else None


def as_text(found: Estimate, model: str) -> str:
    """The estimate for people."""
    share = found.answered / max(found.different, 1)
    basis = 'by the counts of earlier answers' if found.measured else 'by a rule of thumb; answers as long as allowed'
    price = 'not known (llm.prices)' if found.usd is None else f'${found.usd:,.2f}, ${found.spent:,.2f} so far'
    hours = 'not known before the server has answered' if found.hours is None else f'{found.hours:,.2f}'
    return '\n'.join([
        f'model             {model}',
        f'prompts           {found.prompts:,}',
        f'equal to others   {found.prompts - found.different:,}',
        f'settled already   {found.answered:,} ({share:.1%})',
        f'left to ask       {found.different - found.answered:,}',
        f'tokens            {found.tokens.prompt:,} of prompts, {found.tokens.completion:,} of answers ({basis})',
        f'price             {price}',
        f'hours             {hours}'])


def examples(asked: PromptSet, count: int) -> Iterator[str]:
    """The first prompts about items and about users, as they would be sent."""
    for part in (dataclasses.replace(asked, users=()), dataclasses.replace(asked, items=())):
        for prompt, _ in zip(part.prompts(), range(count), strict=False):
            yield _shown(prompt)


def _shown(prompt: Prompt) -> str:
    lines = [f'--- {prompt.about} ---', *(f'[{message["role"]}] {message["content"]}' for message in prompt.messages)]
    return '\n'.join(lines)

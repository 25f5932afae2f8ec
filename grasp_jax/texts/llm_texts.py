"""Texts that a language model writes about items and users: prompts, answers, and the filled template where there is
none."""

import dataclasses
import json
import logging
import math
import pathlib
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections

from grasp_jax.common.sqlite import TOGETHER, in_chunks
from grasp_jax.data.dataset import Dataset
from grasp_jax.llm import language_model, prompt_runner, server
from grasp_jax.llm.answer_store import NONE, AnswerStore
from grasp_jax.llm.described import description_in
from grasp_jax.llm.language_model import LanguageModel
from grasp_jax.llm.prompt_runner import Prompt
from grasp_jax.llm.validation import rejection_reason
from grasp_jax.texts import domains, prompts

LOG = logging.getLogger(__name__)
STORE = 'responses.sqlite'
FALLBACKS = 'fallbacks.jsonl'
_ALIKE = 0.1  # share of answers that another question got as well


@dataclasses.dataclass(frozen=True)
class PromptSet:
    """What a model is asked about a data set.

    Attributes:
      model: who is asked.
      domain: how.
      items, users: ids and filled templates, in table order.
    """

    model: LanguageModel
    domain: domains.Domain
    items: Sequence[tuple[str, str]]
    users: Sequence[tuple[str, str]]

    def __len__(self) -> int:
        return len(self.items) + len(self.users)

    def prompt(self, number: int) -> Prompt:
        """One of them: those about items come first, then those about users."""
        ahead = len(self.items)
        kind, ask = ('item', prompts.item_messages) if number < ahead else ('user', prompts.user_messages)
        identity, text = self.items[number] if number < ahead else self.users[number - ahead]
        messages = ask(text, self.domain)
        return Prompt(f'{kind} {identity}', self.model.key(messages, self.domain.version), messages)

    def prompts(self) -> Iterator[Prompt]:
        """All, in that order."""
        return map(self.prompt, range(len(self)))

    def spread(self) -> Iterator[Prompt]:
        """All, items and users mixed: the first answers then tell what the rest will take."""
        total = len(self)
        step = next(step for step in range(max(1, round(0.618 * total)), total + 2) if math.gcd(step, total) == 1)
        return (self.prompt(number * step % total) for number in range(total))


def build_prompts(dataset: Dataset, item_texts: Sequence[str], user_texts: Sequence[str],
                  config: ml_collections.ConfigDict) -> PromptSet:
    """The questions about a data set whose filled templates are given.

    Raises:
      UserError: a setting is wrong.
    """
    return PromptSet(language_model.from_config(config), domains.load(config.text.domain),
                     list(zip(dataset.item_ids, item_texts, strict=True)),
                     list(zip(dataset.user_ids, user_texts, strict=True)))


def write(asked: PromptSet, config: ml_collections.ConfigDict, store: pathlib.Path,
          folder: pathlib.Path) -> tuple[list[str], list[str], dict[str, Any]]:
    """Has every text without an answer yet written, and collects all texts.

    Args:
      asked: the questions.
      config: the full config; reads `llm`.
      store: file of the answers.
      folder: gets the list of the entities whose text is the filled template, `fallbacks.jsonl`.

    Returns:
      m item texts, n user texts, and facts.

    Raises:
      UserError, RunInterrupted, KeyboardInterrupt: as `prompt_runner.PromptRunner.run`; what was answered is kept.
    """
    limits = server.limits_from(config)
    with AnswerStore(store) as responses:
        generator = prompt_runner.PromptRunner(asked.model, responses, limits, asked.domain.keep_after)
        generator.run(asked.spread, 'describe')
        texts, why = collect(asked, responses)
        totals = responses.totals(asked.model.name)
    with (folder / FALLBACKS).open('w', encoding='utf-8') as file:
        for about, reason in why:
            file.write(json.dumps({'about': about, 'reason': reason}, ensure_ascii=False) + '\n')
    reasons = Counter(reason for _, reason in why)
    if why:
        LOG.warning('%s of %s texts are filled templates, as the model gave no answer that is accepted (%s); the list '
                    'is in %s', f'{len(why):,}', f'{len(asked):,}',
                    ', '.join(f'{reason[:60]}: {count:,}' for reason, count in reasons.most_common(5)), FALLBACKS)
    answers = {'items': texts[:len(asked.items)], 'users': texts[len(asked.items):]}
    equal = {name: _equal_answers(of_all, answers[name], name)
             for name, of_all in (('items', asked.items), ('users', asked.users))}
    facts = {'writer': asked.model.name, 'revision': asked.model.revision, 'prompts': len(asked),
             'sent': generator.sent, 'fallbacks': len(why),
             'fallback_reasons': dict(reasons), 'equal_item_answers': equal['items'],
             'equal_user_answers': equal['users'],
             'prompt_tokens': totals.usage.prompt, 'completion_tokens': totals.usage.completion,
             'usd': _dollars(asked.model, asked.model.cost(totals.usage)),
             'usd_of_this_run': _dollars(asked.model, generator.usd)}
    return answers['items'], answers['users'], facts


def _equal_answers(asked: Sequence[tuple[str, str]], texts: Sequence[str], name: str) -> int:
    """How many different questions have the text of another one as well; warned of from `_ALIKE` on."""
    text_of = dict(zip((template for _, template in asked), texts, strict=True))
    counts = Counter(text_of.values())
    found = sum(count for count in counts.values() if count > 1)
    if found >= _ALIKE * max(len(text_of), 1):
        said, most = counts.most_common(1)[0]
        LOG.warning('the model says the same of different %s: %s of %s (%.0f%%) have the text of another one, %s of '
                    'them %r; such texts tell them apart no more, so use another model or wording', name,
                    f'{found:,}', f'{len(text_of):,}', 100 * found / len(text_of), f'{most:,}', said[:80])
    return found


def _dollars(model: LanguageModel, found: float) -> float | None:
    return None if model.price is None else round(found, 4)


def collect(asked: PromptSet, responses: AnswerStore) -> tuple[list[str], list[tuple[str, str]]]:
    """All texts, items first; and whom the filled template stands for, with the reason."""
    templates = [text for _, text in (*asked.items, *asked.users)]
    texts: list[str] = []
    why: list[tuple[str, str]] = []
    for some in in_chunks(asked.prompts(), TOGETHER):
        keys = [prompt.key for prompt in some]
        answers, rejections = responses.texts(keys), responses.rejections(keys)
        for prompt in some:
            answer = answers.get(prompt.key)
            if answer is None:
                why.append((prompt.about, rejections.get(prompt.key, NONE).reason or 'not asked'))
                texts.append(templates[len(texts)])
            else:
                texts.append(description_in(answer, asked.domain.keep_after))
                reason = rejection_reason(texts[-1], None, None, '')  # of answers that an older version took
                if reason:
                    why.append((prompt.about, reason))
                    texts[-1] = templates[len(texts) - 1]
    return texts, why

"""Vectors from a server of OpenAI's interface (`/v1/embeddings`), straight into the store.

Plain floats are asked for: the client would ask for base64 by itself, which not all servers know.
"""

import base64
import binascii
import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections
import numpy as np

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.data.dataset import Dataset
from grasp_jax.llm import estimate, language_model
from grasp_jax.llm.answer_store import Usage
from grasp_jax.llm.budget import Budget
from grasp_jax.llm.server import Broken, Refused, RequestsHalted, Server, broken, limits_from
from grasp_jax.vectors.encoders.base import Encoder, Texts, Vectors, kept, register
from grasp_jax.vectors.vector_store import VectorStore

_SHORTEST = 100  # characters; a text that is refused at this length is not refused for its length
# Entries of config.llm.extra that shape written answers alone; servers of embeddings refuse what they do not know.
_OF_ANSWERS = frozenset((
    'temperature', 'seed', 'top_p', 'top_k', 'min_p', 'stop', 'presence_penalty', 'frequency_penalty',
    'repetition_penalty', 'length_penalty', 'logit_bias', 'logprobs', 'top_logprobs', 'response_format', 'tools',
    'tool_choice', 'reasoning', 'reasoning_effort', 'thinking', 'enable_thinking', 'verbosity', 'chat_template_kwargs',
    'guided_json', 'guided_regex', 'guided_choice', 'stop_token_ids', 'ignore_eos', 'min_tokens', 'best_of',
    'parallel_tool_calls', 'modalities', 'num_predict', 'think'))


@register
class OpenAIEncoder(Encoder):
    """A model behind a server."""

    kind, needs_server, is_model = 'openai', True, True

    @property
    def words(self) -> str:
        """Names the model."""
        return f'the embedding model {self.settings.model}'

    def encode(self, item_texts: Texts, user_texts: Texts, dataset: Dataset | None = None) -> Vectors:
        """Asks the server for what it has not embedded before."""
        embedder = _Embedder(self.config)
        found = kept(self.answers, self._identity(), item_texts, user_texts, self.settings.batch_size, embedder)
        facts = {'model': self.settings.model, 'tokens': embedder.tokens, 'usd': embedder.price(),
                 'texts_cut': embedder.cut}
        return dataclasses.replace(found, facts={**facts, **found.facts})

    def check(self) -> None:
        """Looks whether the model is named.

        Raises:
          UserError: it is not.
        """
        if not self.settings.model:
            raise UserError('encode.model is missing: give the name by which the server knows the model')

    def fingerprint(self) -> dict[str, Any]:
        """With what is asked of the model."""
        own = self._identity()
        return super().fingerprint() | {key: own[key] for key in ('dimensions', 'revision', 'extra') if key in own}

    def _identity(self) -> dict[str, Any]:
        """What tells its vectors from others."""
        extra = extra_of(self.config)
        return {'kind': 'openai', 'model': self.settings.model, 'revision': self.config.llm.revision,
                'dimensions': self.settings.dimensions, **({'extra': extra} if extra else {})}


class _Embedder:
    """Embeds blocks of texts.

    Attributes:
      tokens: of this run, as the server counted them, else as they were estimated.
      cut: texts of which only a part fits the model.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        """Reads `encode.model`, `encode.dimensions` and the `llm` section, whose `extra` is sent but for what shapes
        written answers alone.

        Raises:
          UserError: a setting is wrong, the client is not installed, or its key is missing.
        """
        section = config.encode
        self._model = language_model.from_config(config, section.model)
        self._server = Server(self._model, limits_from(config))
        self._budget = Budget(self._server)  # of one run, until there is a store
        self._more = {'dimensions': section.dimensions} if section.dimensions else {}
        self._extra = extra_of(config)
        self.tokens = self.cut = 0
        self._counted = 0  # tokens of what was embedded, as the server counted them
        self._expected = 0.0  # and as they were estimated

    def price(self) -> float | None:
        """Dollars of this run's tokens so far, None where the price is not known."""
        return None if self._model.price is None else self._dollars(self.tokens)

    def _dollars(self, tokens: float) -> float:
        return self._model.cost(Usage(round(tokens)))

    def __call__(self, store: VectorStore, blocks: Iterator[Sequence[str]], count: int) -> None:
        """Embeds all blocks.

        Raises:
          UserError: the server cannot be used, or a limit is reached; what it made is kept.
          RequestsHalted, KeyboardInterrupt: a signal came; the same.
        """
        self._budget = Budget(self._server, self._dollars(store.spent()))
        with Bar(total=count, desc='encode', unit='request', mininterval=0.5) as bar:
            async def one(block: Sequence[str]) -> None:
                await self._embed(store, block)
                bar.update()
                if self.price() is not None:
                    bar.set_postfix_str(f'${self.price():,.4f}', refresh=False)

            self._server.work(one, blocks)
        if self._server.stopped:
            self._server.give_up(f'encode: {self._server.stopped}; what was embedded is kept, the same command goes on')

    def _estimate(self, texts: Sequence[str]) -> int:
        """Tokens of texts, corrected by what the server counted before."""
        scale = self._counted / self._expected if self._expected else 1.0
        return math.ceil(scale * _rough(texts))

    async def _embed(self, store: VectorStore, texts: Sequence[str]) -> None:
        """Keeps the vectors of texts as they come; a block that is refused is halved, down to half a text."""
        half = len(texts) // 2
        try:
            found = await self._ask(store, texts)
        except Refused as error:
            if half:
                await self._embed(store, texts[:half])
                await self._embed(store, texts[half:])
                return
            found = await self._beginning(store, texts[0], error)
        store.add(texts, *found)

    async def _beginning(self, store: VectorStore, text: str, error: Refused) -> tuple[np.ndarray, int]:
        """As `_ask`, for as much of a text as the server takes; `error` says why it did not take all."""
        self.cut += 1
        while len(text) > _SHORTEST:
            text = text[:len(text) // 2]
            try:
                return await self._ask(store, [text])
            except Refused as again:
                error = again
        raise UserError(f'the server of {self._model.name!r} refuses {text[:60]!r} ({error})') from error

    async def _ask(self, store: VectorStore, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        """Unit vectors [len(texts), E], and the tokens that they took."""
        tokens = self._estimate(texts)

        async def request(client: Any) -> tuple[np.ndarray, int]:
            try:
                answer = await client.embeddings.create(
                    model=self._model.name, input=list(texts), encoding_format='float', **self._more,
                    extra_body=self._extra or None)
            except ValueError as error:  # of a body that the client cannot read
                raise Broken(str(error)) from error
            return self._read(answer, texts)

        async def lost() -> None:
            store.charge(tokens)
            self.tokens += tokens
            await self._budget.lost(self._dollars(tokens))

        async with self._budget.request(self._dollars(tokens)) as may_go:
            if not may_go:
                raise RequestsHalted
            found: tuple[np.ndarray, int] = await self._server.ask(request, tokens, lost)
            self.tokens += found[1]
            self._budget.spent += self._dollars(found[1])
        return found

    def _read(self, answer: Any, texts: Sequence[str]) -> tuple[np.ndarray, int]:
        try:
            by_number = sorted(answer.data, key=lambda one: one.index)
            found = np.array([_numbers(one.embedding) for one in by_number], np.float32)
            tokens = estimate.counted(answer.usage, self._estimate(texts), 0).prompt
        except (AttributeError, TypeError, ValueError, OverflowError) as error:
            raise broken(answer) from error
        if [one.index for one in by_number] != list(range(len(texts))):  # whose is which?
            raise Broken(f'its vectors are not numbered from 0 to {len(texts) - 1}')
        if found.ndim != 2 or len(found) != len(texts) or not found.shape[1] or not np.isfinite(found).all():
            raise broken(answer)
        if self._more and found.shape[1] != self._more['dimensions']:
            raise UserError(f'encode.dimensions={self._more["dimensions"]}: the server of '
                            f'{self._model.name!r} gives {found.shape[1]}; set it to 0')
        if estimate.count_of(getattr(answer.usage, 'prompt_tokens', None)):
            self._counted += tokens
            self._expected += _rough(texts)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12), tokens


def extra_of(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """The entries of `llm.extra` that requests for vectors carry.

    Raises:
      UserError: an entry is set by the program.
    """
    extra = language_model.from_config(config, config.encode.model).extra
    if 'input' in extra:
        raise UserError("llm.extra: 'input' is set by the program; take it out")
    return {key: value for key, value in extra.items() if key not in _OF_ANSWERS}


def _numbers(embedding: Any) -> Any:
    """A vector as it stands in an answer: a list, or float32 in base64, which some send although floats are asked for.

    Raises:
      ValueError: it is neither.
    """
    if not isinstance(embedding, str):
        return embedding
    try:
        return np.frombuffer(base64.b64decode(embedding, validate=True), '<f4')
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def _rough(texts: Sequence[str]) -> float:
    return sum(map(estimate.rough, texts))

"""Vectors from a server of OpenAI's interface (`/v1/embeddings`), straight into the store."""

from collections.abc import Iterator, Sequence
from typing import Any

import ml_collections
import numpy as np
from tqdm import tqdm

from grasp_jax.errors import UserError
from grasp_jax.knowledge import estimate, language_model
from grasp_jax.knowledge.budget import Budget
from grasp_jax.knowledge.responses import Usage
from grasp_jax.knowledge.server import Broken, Refused, Server, limits_from
from grasp_jax.knowledge.vector_store import VectorStore

_SHORTEST = 100  # characters; a text that is refused at this length is not refused for its length


class OpenAIEncoder:
    """Embeds blocks of texts.

    Attributes:
      tokens: that the server counted.
      cut: texts of which only a part fits the model.
    """

    def __init__(self, config: ml_collections.ConfigDict):
        """Reads `encode.model`, `encode.dimensions` and the `llm` section.

        Raises:
          UserError: a setting is wrong, the client is not installed, or its key is missing.
        """
        section = config.encode
        if not section.model:
            raise UserError('--config.encode.model is missing: give the name by which the server knows the model')
        self._model = language_model.from_config(config, section.model)
        self._server = Server(self._model, limits_from(config))
        self._budget = Budget(self._server)
        self._more = {'dimensions': section.dimensions} if section.dimensions else {}
        self.tokens = self.cut = 0
        self._expected = 0.0  # tokens of what was embedded, as they were estimated

    @staticmethod
    def identity(config: ml_collections.ConfigDict) -> dict[str, Any]:
        """What tells these vectors from others."""
        return {'kind': 'openai', 'model': config.encode.model, 'revision': config.llm.revision,
                'dimensions': config.encode.dimensions}

    def price(self) -> float | None:
        """Dollars of the tokens so far, None where the price is not known."""
        return None if self._model.price is None else self._dollars(self.tokens)

    def _dollars(self, tokens: float) -> float:
        return self._model.cost(Usage(round(tokens)))

    def __call__(self, store: VectorStore, blocks: Iterator[Sequence[str]], count: int) -> None:
        """Embeds all blocks.

        Raises:
          UserError: the server cannot be used, or a limit is reached; what it made is kept.
          Stopped, KeyboardInterrupt: a signal came; the same.
        """
        with tqdm(total=count, desc='encode', unit='request', mininterval=0.5) as bar:
            async def one(block: Sequence[str]) -> None:
                expected = sum(map(estimate.rough, block))
                async with self._budget.request(self._dollars(expected * self._scale())) as may_go:
                    if may_go:
                        store.add(block, await self._embed(block))
                        self._expected += expected
                        bar.update()
                if self.price() is not None:
                    bar.set_postfix_str(f'${self.price():,.4f}', refresh=False)

            self._server.work(one, blocks)
        if self._server.stopped:
            self._server.give_up(f'encode: {self._server.stopped}; what was embedded is kept, the same command goes on')

    def _scale(self) -> float:
        """The server's tokens for each that was estimated."""
        return self.tokens / self._expected if self._expected and self.tokens else 1.0

    async def _embed(self, texts: Sequence[str]) -> np.ndarray:
        """Unit vectors [len(texts), E]; a block that is refused is halved, down to half a text."""
        tokens = round(sum(map(estimate.rough, texts)))

        async def request(client: Any) -> np.ndarray:
            return self._read(await client.embeddings.create(model=self._model.name, input=list(texts), **self._more),
                              len(texts))

        try:
            found: np.ndarray = await self._server.ask(request, tokens)
            return found
        except Refused as error:
            if len(texts) > 1:
                half = len(texts) // 2
                return np.concatenate([await self._embed(texts[:half]), await self._embed(texts[half:])])
            if len(texts[0]) <= _SHORTEST:
                raise UserError(f'the server of {self._model.name!r} refuses {texts[0][:60]!r} ({error})') from error
            self.cut += 1
            return await self._embed([texts[0][:len(texts[0]) // 2]])

    def _read(self, answer: Any, count: int) -> np.ndarray:
        try:
            by_number = sorted(answer.data, key=lambda one: one.index)
            found = np.array([one.embedding for one in by_number], np.float32)
            tokens = answer.usage.prompt_tokens if answer.usage else 0
        except (AttributeError, TypeError, ValueError) as error:
            raise Broken from error
        if found.ndim != 2 or len(found) != count or not found.shape[1] or not np.isfinite(found).all():
            raise Broken
        if self._more and found.shape[1] != self._more['dimensions']:
            raise UserError(f'--config.encode.dimensions={self._more["dimensions"]}: the server of '
                            f'{self._model.name!r} gives {found.shape[1]}; set it to 0')
        self.tokens += tokens or 0
        self._budget.spent = self._dollars(self.tokens)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)

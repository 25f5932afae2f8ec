"""Which language model is asked, with what settings, at what price."""

import dataclasses
import json
import math
import os
import re
import urllib.parse
from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.llm.answer_store import Usage, request_key

OPENAI = 'https://api.openai.com/v1'
NO_KEY = 'none'  # what servers get that need none
Messages = Sequence[dict[str, str]]
# Keys begin with a prefix like `sk-`, whose hyphen no variable has; capitals as the custom is.
_VARIABLE = re.compile(r'[A-Z_][A-Z0-9_]*')


@dataclasses.dataclass(frozen=True)
class LanguageModel:
    """The part of the `llm` section that shapes an answer and its price.

    Attributes:
      name, revision: of the model.
      base_url: of the server; empty for OpenAI's.
      api_key_env: name of the environment variable with the server's key.
      temperature, seed: of sampling; below 0: not sent.
      max_tokens: of an answer.
      extra: more entries of a request's body.
      price: US dollars per million tokens of prompts and of answers; None where it is not known.
    """

    name: str
    revision: str
    base_url: str
    api_key_env: str
    temperature: float
    seed: int
    max_tokens: int
    extra: dict[str, Any]
    price: tuple[float, float] | None

    def sampling(self) -> dict[str, Any]:
        """What a request says besides model and messages."""
        found: dict[str, Any] = {'temperature': self.temperature, 'seed': self.seed}
        found = {key: value for key, value in found.items() if value >= 0}
        # OpenAI's newer models know only the longer name, other servers often only the shorter one.
        found['max_tokens' if self.base_url else 'max_completion_tokens'] = self.max_tokens
        return {**found, **self.extra}

    def body(self, messages: Messages) -> dict[str, Any]:
        """A request as servers and batch files take it."""
        return {'model': self.name, 'messages': list(messages), **self.sampling()}

    def with_room(self, times: int) -> 'LanguageModel':
        """The same model, with longer answers."""
        return dataclasses.replace(self, max_tokens=self.max_tokens * times)

    def key(self, messages: Messages, version: int) -> str:
        """Under which an answer is kept; where the server stands does not matter."""
        sampling = dataclasses.replace(self, base_url='-').sampling()
        return request_key(self.name, self.revision, messages, sampling, version)

    def cost(self, usage: Usage) -> float:
        """US dollars; 0 where the price is not known."""
        prompt, completion = self.price or (0.0, 0.0)
        return (usage.prompt * prompt + usage.completion * completion) / 1e6

    def client_options(self) -> dict[str, Any]:
        """Address and key for the official client.

        Raises:
          UserError: OpenAI's server is asked without a key.
        """
        key = os.environ.get(self.api_key_env, '').strip()
        if not key.isascii() or not key.isprintable():
            raise UserError(f'the environment variable {self.api_key_env} holds characters that no key has; set it '
                            'anew')
        if not key and not self.base_url:
            raise UserError(f'no key for the language model: set the environment variable {self.api_key_env}, or '
                            'llm.base_url for a server that needs none')
        # The address always: the client would take another one from the environment, and send the key there.
        return {'api_key': key or NO_KEY, 'base_url': self.base_url or OPENAI}


def from_config(config: ml_collections.ConfigDict, name: str | None = None) -> LanguageModel:
    """The model of the `llm` section, or another model of the same server.

    Raises:
      UserError: a setting is wrong.
    """
    section = config.llm
    name = section.model if name is None else name
    if not name:
        raise UserError('llm.model is missing: give the name by which the server knows the model')
    try:
        address = urllib.parse.urlsplit(section.base_url)
        usable = not section.base_url or (
            address.scheme in ('http', 'https') and address.hostname and address.hostname.encode('idna')
            and address.port != 0 and section.base_url.isprintable())
    except ValueError:  # brackets that do not close, a port that is no number, no name of a host
        usable = False
    if not usable:
        raise UserError(f'llm.base_url={section.base_url!r}: give an address like http://localhost:8000/v1')
    try:
        (name + section.revision).encode()
    except UnicodeEncodeError as error:
        raise UserError(f'llm.model, revision: {name!r}, {section.revision!r} hold characters that no file '
                        'can hold') from error
    try:
        extra = json.loads(section.extra, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        extra = None
    if not isinstance(extra, dict):
        raise UserError(f'llm.extra={section.extra!r}: give a JSON object, as \'{{"top_p": 0.9}}\'')
    reserved = extra.keys() & {'model', 'messages', 'n', 'stream', 'max_tokens', 'max_completion_tokens'}
    if reserved:
        raise UserError(f'llm.extra: {min(reserved)!r} is set by the program; use the other settings of '
                        'the section llm')
    if not _VARIABLE.fullmatch(section.api_key_env):
        raise UserError('llm.api_key_env: give the name of the environment variable that holds the key, as '
                        'OPENAI_API_KEY, never the key itself')
    if address.username or address.password or address.query or address.fragment:
        raise UserError('llm.base_url: give the address without name, password or anything behind ? or #, and '
                        f'the key in the environment variable {section.api_key_env}')
    if section.max_tokens < 1:
        raise UserError(f'llm.max_tokens={section.max_tokens}: must be 1 or more')
    return LanguageModel(name, section.revision, section.base_url, section.api_key_env, section.temperature,
                         section.seed, section.max_tokens, extra, _prices(section.prices).get(name))


def _refuse_constant(name: str) -> None:
    raise ValueError(f'{name} is no JSON')


def _prices(entries: Any) -> dict[str, tuple[float, float]]:
    """Prices by model.

    Raises:
      UserError: an entry is not a name and two prices.
    """
    found = {}
    for entry in entries:
        model, *prices = entry if isinstance(entry, (tuple, list)) and entry else (entry,)
        if not isinstance(model, str) or len(prices) != 2 or not all(
                isinstance(price, (int, float)) and 0 <= price < math.inf for price in prices):
            raise UserError(f"llm.prices: {entry!r} is no model with its price for prompts and for answers; "
                            "give all entries in one pair of brackets, as \"(('my-model', 0.15, 0.60),)\"")
        found[model] = (float(prices[0]), float(prices[1]))
    return found

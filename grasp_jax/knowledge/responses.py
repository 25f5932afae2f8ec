"""Every answer of a language model in one sqlite file: nothing is paid for twice, and a kill loses nothing.

    sqlite3 responses.sqlite "select text from answers limit 5"

`answers` holds one row per accepted answer, committed one by one; `rejected` every answer that was paid for and not
accepted. Requests are kept as JSON. Keys of servers are never written.
"""

import hashlib
import json
import pathlib
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grasp_jax.errors import UserError
from grasp_jax.knowledge.database import connect, select_among

_SCHEMA = """
create table if not exists answers (
    key text primary key, model text not null, request text not null, text text not null,
    prompt_tokens integer not null, completion_tokens integer not null, estimated real not null, seconds real not null,
    at real not null);
create index if not exists answers_by_model on answers (model);
create table if not exists rejected (
    id integer primary key, key text not null, model text not null, reason text not null, text text not null,
    final integer not null, prompt_tokens integer not null, completion_tokens integer not null, at real not null);
create index if not exists rejected_by_key on rejected (key);
"""


class Usage(NamedTuple):
    """Tokens of one answer, as the server counts them (0 where it does not)."""

    prompt: int = 0
    completion: int = 0


NOTHING = Usage()


class Totals(NamedTuple):
    """What a model's answers amount to, in all runs together.

    Attributes:
      answers: accepted ones.
      rejected: others.
      usage: tokens of both.
      counted: accepted answers whose tokens a server counted; the rest is about these.
      usage_counted: their tokens.
      estimated: tokens of their prompts as they were estimated (`estimate.rough_of`).
      seconds: that they took.
    """

    answers: int
    rejected: int
    usage: Usage
    counted: int
    usage_counted: Usage
    estimated: float
    seconds: float


def request_key(model: str, revision: str, messages: Sequence[Any], sampling: dict[str, Any], version: int) -> str:
    """Hex SHA-256 under which an answer is kept: over all that it depends on, and nothing else."""
    what = json.dumps([model, revision, list(messages), sampling, version], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(what.encode()).hexdigest()


class Responses:
    """The store; a context manager. Several processes may use one file at once."""

    def __init__(self, path: pathlib.Path):
        """Opens or makes the file.

        Raises:
          UserError: it is no store.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = connect(path, _SCHEMA)
        except sqlite3.Error as error:
            raise UserError(f'{path}: is no store of answers ({error}); name another file') from error

    def __enter__(self) -> 'Responses':
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def put(self, key: str, model: str, request: Any, text: str, usage: Usage = NOTHING, estimated: float = 0.0,
            seconds: float = 0.0) -> None:
        """Keeps an accepted answer; the first one stays where there are two."""
        self._database.execute('insert or ignore into answers values (?, ?, ?, ?, ?, ?, ?, ?, ?)', (
            key, model, json.dumps(request, ensure_ascii=False), text, *usage, estimated, seconds, time.time()))

    def reject(self, key: str, model: str, reason: str, text: str, usage: Usage = NOTHING, final: bool = False) -> None:
        """Keeps an answer that was not accepted; `final`: asking again would not help."""
        self._database.execute(
            'insert into rejected (key, model, reason, text, final, prompt_tokens, completion_tokens, at) '
            'values (?, ?, ?, ?, ?, ?, ?, ?)', (key, model, reason, text, int(final), *usage, time.time()))

    def was_rejected(self, key: str, text: str) -> bool:
        """Whether this very answer was rejected before."""
        query = 'select count(*) from rejected where key = ? and text = ?'
        return bool(self._database.execute(query, (key, text)).fetchone()[0])

    def texts(self, keys: Iterable[str]) -> dict[str, str]:
        """The accepted answers among `keys`."""
        return dict(select_among(self._database, 'select key, text from answers where key in ({})', keys))

    def rejections(self, keys: Iterable[str]) -> dict[str, tuple[int, bool, str]]:
        """Of those among `keys` that were rejected: how often, whether finally, and the last reason."""
        query = 'select key, reason, final from rejected where key in ({}) order by id'
        rows = select_among(self._database, query, keys)
        found: dict[str, tuple[int, bool, str]] = {}
        for key, reason, final in rows:
            count, before, _ = found.get(key, (0, False, ''))
            found[key] = (count + 1, before or bool(final), reason)
        return found

    def totals(self, model: str) -> Totals:
        """What was answered by a model so far, in every run."""
        count = 'count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)'
        more = 'coalesce(sum(estimated), 0), coalesce(sum(seconds), 0)'
        answers, *tokens = self._one(f'select {count} from answers where model = ?', model)
        rejected, *others = self._one(f'select {count} from rejected where model = ?', model)
        counted, prompt, completion, estimated, seconds = self._one(
            f'select {count}, {more} from answers where model = ? and prompt_tokens > 0 and estimated > 0', model)
        usage = Usage(*(one + other for one, other in zip(tokens, others, strict=True)))
        return Totals(answers, rejected, usage, counted, Usage(prompt, completion), estimated, seconds)

    def _one(self, query: str, model: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._database.execute(query, (model,)).fetchone()
        return found

    def is_sound(self) -> bool:
        """Whether sqlite finds the file whole."""
        return bool(self._database.execute('pragma integrity_check').fetchone() == ('ok',))

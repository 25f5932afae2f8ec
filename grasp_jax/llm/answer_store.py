"""Every answer of a language model in one sqlite file: nothing is paid for twice, and a kill loses nothing.

    sqlite3 responses.sqlite "select text from answers limit 5"

`answers` holds one row per accepted answer, committed one by one; `rejected` every answer that was paid for and not
accepted. Requests are kept as JSON. Keys of servers are never written.
"""

import contextlib
import hashlib
import json
import pathlib
import sqlite3
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from grasp_jax.common.errors import UserError
from grasp_jax.common.sqlite import connect, reading, select_among, writing

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
create table if not exists lines_read (digest blob primary key);
"""


class Usage(NamedTuple):
    """Tokens of one answer, as the server counts them, else as they are estimated."""

    prompt: int = 0
    completion: int = 0


NOTHING = Usage()


class Rejections(NamedTuple):
    """What became of the answers of one prompt that were not accepted.

    Attributes:
      tries: how many.
      final: whether asking again would not help.
      reason: of the last.
      cut_off: those that were longer than was allowed.
    """

    tries: int = 0
    final: bool = False
    reason: str = ''
    cut_off: int = 0


NONE = Rejections()
CUT_OFF = 'cut off'


class Totals(NamedTuple):
    """What a model's answers amount to, in all runs together.

    Attributes:
      answers: accepted ones.
      rejected: others.
      usage: tokens of both.
      counted: accepted answers whose tokens a server counted.
      usage_counted: their tokens.
      estimated: tokens of their prompts as they were estimated (`estimate.rough_of`).
      timed: accepted answers whose time is known; of those that came as files it is not.
      seconds: that these took.
    """

    answers: int
    rejected: int
    usage: Usage
    counted: int
    usage_counted: Usage
    estimated: float
    timed: int
    seconds: float


def request_key(model: str, revision: str, messages: Sequence[Any], sampling: dict[str, Any], version: int) -> str:
    """Hex SHA-256 under which an answer is kept: over all that it depends on, and nothing else."""
    what = json.dumps([model, revision, list(messages), sampling, version], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(what.encode()).hexdigest()


class AnswerStore:
    """The store; a context manager. Several processes may use one file at once.

    Attributes:
      path: the file.
    """

    def __init__(self, path: pathlib.Path):
        """Opens or makes the file.

        Raises:
          UserError: it is no store.
        """
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = connect(path, _SCHEMA)
        except sqlite3.Error as error:
            raise UserError(f'{path}: is no store of answers ({error}); name another file') from error

    def __enter__(self) -> 'AnswerStore':
        return self

    def __exit__(self, *_: object) -> None:
        self._database.close()

    def put(self, key: str, model: str, request: Any, text: str, usage: Usage = NOTHING, estimated: float = 0.0,
            seconds: float = 0.0) -> None:
        """Keeps an accepted answer; the first one stays where there are two.

        Args:
          key: under which it is found again.
          model: who answered.
          request: the body that was sent (JSON).
          text: of the answer.
          usage: its tokens.
          estimated: tokens of the prompt as they were estimated; 0 where `usage` is an estimate too.
          seconds: that it took; 0 where it is not known.

        Raises:
          UserError: the file cannot be written.
        """
        with writing(self._database, self.path):
            self._database.execute('insert or ignore into answers values (?, ?, ?, ?, ?, ?, ?, ?, ?)', (
                key, model, json.dumps(request, ensure_ascii=False), text, *usage, estimated, seconds, time.time()))

    def reject(self, key: str, model: str, reason: str, text: str, usage: Usage = NOTHING, final: bool = False,
               line: str = '') -> None:
        """Keeps an answer that was not accepted.

        Args:
          key, model, text, usage: as in `put`.
          reason: why not.
          final: whether asking again would not help.
          line: of a file that it stands in, which counts once however often it is read.

        Raises:
          UserError: the file cannot be written.
        """
        with writing(self._database, self.path):
            if line:
                digest = hashlib.sha256(line.strip().encode()).digest()
                new = self._database.execute('insert or ignore into lines_read values (?)', (digest,)).rowcount
                if not new:
                    return
            self._database.execute(
                'insert into rejected (key, model, reason, text, final, prompt_tokens, completion_tokens, at) '
                'values (?, ?, ?, ?, ?, ?, ?, ?)', (key, model, reason, text, int(final), *usage, time.time()))

    def charge(self, model: str, usage: Usage, why: str) -> None:
        """Keeps what a request may have cost that gave no answer to keep: it is spent, and no try of a prompt.

        Raises:
          UserError: the file cannot be written.
        """
        self.reject('', model, why, '', usage)

    def texts(self, keys: Iterable[str]) -> dict[str, str]:
        """The accepted answers among `keys`.

        Raises:
          UserError: the file is damaged.
        """
        with self._reading():
            return dict(select_among(self._database, 'select key, text from answers where key in ({})', keys))

    def rejections(self, keys: Iterable[str]) -> dict[str, Rejections]:
        """Of those among `keys` that were rejected, how.

        Raises:
          UserError: the file is damaged.
        """
        query = 'select key, reason, final from rejected where key in ({}) order by id'
        found: dict[str, Rejections] = {}
        with self._reading():
            rows = select_among(self._database, query, keys)
        for key, reason, final in rows:
            before = found.get(key, NONE)
            found[key] = Rejections(before.tries + 1, before.final or bool(final), reason,
                                    before.cut_off + (reason == CUT_OFF))
        return found

    def totals(self, model: str) -> Totals:
        """What was answered by a model so far, in every run.

        Raises:
          UserError: the file is damaged.
        """
        count = 'count(*), coalesce(sum(prompt_tokens), 0), coalesce(sum(completion_tokens), 0)'
        timing = 'coalesce(sum(seconds > 0), 0), coalesce(sum(seconds), 0)'
        with self._reading():
            answers, *tokens, timed, seconds = self._one(
                f'select {count}, {timing} from answers where model = ?', model)
            rejected, *others = self._one(f'select {count} from rejected where model = ?', model)
            counted, prompt, completion, estimated = self._one(
                f'select {count}, coalesce(sum(estimated), 0) from answers where model = ? and prompt_tokens > 0 '
                'and estimated > 0', model)
        usage = Usage(*(one + other for one, other in zip(tokens, others, strict=True)))
        return Totals(answers, rejected, usage, counted, Usage(prompt, completion), estimated, timed, seconds)

    def last_request(self, model: str) -> dict[str, Any]:
        """The body that the last accepted answer of a model was asked with; empty where there is none.

        Raises:
          UserError: the file is damaged.
        """
        query = 'select request from answers where model = ? order by rowid desc limit 1'
        with self._reading():
            row = self._database.execute(query, (model,)).fetchone()
            found: dict[str, Any] = json.loads(row[0]) if row else {}
        return found

    def _one(self, query: str, model: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._database.execute(query, (model,)).fetchone()
        return found

    def _reading(self) -> contextlib.AbstractContextManager[None]:
        return reading(self.path, 'put a sound copy in its place, or name another llm.store')

    def is_sound(self) -> bool:
        """Whether sqlite finds the file whole."""
        return bool(self._database.execute('pragma integrity_check').fetchone() == ('ok',))

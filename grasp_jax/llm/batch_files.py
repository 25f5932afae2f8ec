"""Prompts as files for an engine that works offline, and its answers back.

The files are those of OpenAI's Batch API, one request a line, which `vllm run-batch` reads as well; `custom_id` is the
key under which the answer is kept, so that answers may come back in any order, in any number of files, more than once.
"""

import json
import pathlib
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar
from grasp_jax.common.sqlite import in_chunks
from grasp_jax.llm.answer_store import NONE, AnswerStore, Usage
from grasp_jax.llm.estimate import count_of, rough_of
from grasp_jax.llm.language_model import LanguageModel
from grasp_jax.llm.prompt_runner import Prompt
from grasp_jax.llm.validation import one_line, rejection_reason, text_of

URL = '/v1/chat/completions'
REQUESTS = 'requests_*.jsonl'


def export(prompts: Iterable[Prompt], model: LanguageModel, store: AnswerStore, folder: pathlib.Path,
           requests_per_file: int) -> tuple[list[pathlib.Path], int]:
    """Writes `requests_00000.jsonl`, `requests_00001.jsonl`, ...

    Args:
      prompts: those without an answer.
      model: who is to answer.
      store: of the answers so far; a prompt whose answer was cut off gets more room.
      folder: gets the files; must have none yet.
      requests_per_file: OpenAI takes up to 50,000.

    Returns:
      the files, and how many requests they hold.

    Raises:
      UserError: the folder has files of an earlier export.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.glob(REQUESTS)):
        raise UserError(f'{folder}: holds requests already; delete them or name another folder')
    files: list[pathlib.Path] = []
    count = 0
    for some in in_chunks(prompts, requests_per_file):
        files.append(folder / f'requests_{len(files):05d}.jsonl')
        count += len(some)
        before = store.rejections([prompt.key for prompt in some])
        with files[-1].open('w', encoding='utf-8') as file:
            for prompt in some:
                roomy = model.with_room(2 ** before.get(prompt.key, NONE).cut_off)
                line = {'custom_id': prompt.key, 'method': 'POST', 'url': URL, 'body': roomy.body(prompt.messages)}
                file.write(json.dumps(line, ensure_ascii=False) + '\n')
    return files, count


class Imported(NamedTuple):
    """What came back.

    Attributes:
      accepted: answers that were new.
      known: answers that the store had.
      strangers: lines whose id belongs to no prompt of this run.
      rejected: reasons, counted.
    """

    accepted: int
    known: int
    strangers: int
    rejected: Counter[str]


def load(files: Sequence[pathlib.Path], prompts: Iterable[Prompt], model: LanguageModel, store: AnswerStore,
         keep_after: str) -> Imported:
    """Puts answers into the store.

    Args:
      files: what the engine wrote.
      prompts: all of this run.
      model: who answered.
      store: gets the answers.
      keep_after: a mark that an answer must have.

    Raises:
      UserError: a file cannot be read, or a line of it is no answer.
    """
    known = {prompt.key: prompt for prompt in prompts}
    accepted = before = strangers = 0
    rejected: Counter[str] = Counter()
    for path in files:
        try:
            lines = path.open(encoding='utf-8-sig', errors='replace')  # an odd character, not a lost answer
        except OSError as error:
            raise UserError(f'{path}: cannot be read ({error.strerror})') from error
        with lines:
            for number, line in enumerate(Bar(lines, desc=path.name, unit='answer', delay=1), start=1):
                if not line.strip():
                    continue
                key, text, reason, usage = _read(line, f'{path}, line {number}', keep_after)
                prompt = known.get(key)
                if prompt is None:
                    strangers += 1
                elif store.texts([key]):
                    before += 1
                elif reason:
                    rejected[reason] += 1
                    if not reason.startswith('error'):  # a request that failed was not answered
                        store.reject(key, model.name, reason, text, usage, line=line)
                else:
                    accepted += 1
                    store.put(key, model.name, model.body(prompt.messages), text, usage, rough_of(prompt.messages))
    return Imported(accepted, before, strangers, rejected)


def _read(line: str, where: str, keep_after: str) -> tuple[str, str, str, Usage]:
    """Key, text, why it is not accepted, tokens."""
    try:
        found = json.loads(line)
        if 'url' in found and 'response' not in found:
            raise ValueError('it is a request')
        key, response = str(found['custom_id']), found.get('response')
        # OpenAI wraps the answer in `body`; others write it as it is.
        answer = (response or {}).get('body', response) or {}
        status = (response or {}).get('status_code')
        if found.get('error') or 'choices' not in answer or isinstance(status, int) and status >= 400:
            detail = found.get('error') or answer.get('error') or 'no answer'
            return key, '', f'error: {one_line(detail)[:100]}', Usage()
        choice, counted = answer['choices'][0], answer.get('usage') or {}
        message, finish = choice['message'], choice.get('finish_reason')
        text = text_of(message.get('content'))
        usage = Usage(count_of(counted.get('prompt_tokens')), count_of(counted.get('completion_tokens')))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise UserError(f'{where}: is no answer of a batch ({error}); take the line out') from error
    return key, text, rejection_reason(text, finish, message.get('refusal'), keep_after), usage

"""The stage `describe`: a text for every item and every user, audited, as JSON lines."""

import hashlib
import itertools
import json
import logging
import pathlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.common.lazy import json_lines
from grasp_jax.common.progress import Bar
from grasp_jax.config import old_keys
from grasp_jax.config.rules import among, not_negative, require
from grasp_jax.data.dataset import Dataset
from grasp_jax.texts import answer_columns, audit, domains, llm_texts, prompts

LOG = logging.getLogger(__name__)
ITEMS = 'item_texts.jsonl'
USERS = 'user_texts.jsonl'
ITEMS_SENT, USERS_SENT = 'item_prompts.jsonl', 'user_prompts.jsonl'  # filled templates that a language model was sent
TEXT_RULES = (
    among('text.source', ('template', 'model'), '{name}={value!r}: choose template or model'),
    among('text.history', ('train', 'all'), '{name}={value!r}: choose train or all'),
    not_negative('text.held_out'))


def describe(dataset: Dataset, config: ml_collections.ConfigDict, folder: pathlib.Path,
             answers: pathlib.Path | None = None, encoded: bool = True) -> dict[str, Any]:
    """Writes `item_texts.jsonl` and `user_texts.jsonl`: one `{"id": ..., "text": ...}` a line, rows in table order.

    The texts are the filled templates, or what a language model writes when it is sent them.

    Args:
      dataset: the prepared data set.
      config: the full config; reads `text`, and `llm` where a model writes.
      folder: where the files go.
      answers: folder of what language models answered.
      encoded: whether vectors are made of the texts; False where they were made elsewhere.

    Returns:
      Facts: counts, the template's version, the share of items without each template field, texts that were cut.

    Raises:
      UserError: a setting is wrong, a text leaks a held-out item, or the language model's server cannot be used.
    """
    by_model = config.text.source == 'model'
    files = (ITEMS_SENT, USERS_SENT) if by_model else (ITEMS, USERS)
    ids = (dataset.item_ids, dataset.user_ids)
    cut = [_write(folder / file, names, *texts) for file, names, *texts in zip(
        files, ids, templates(dataset, config), templates(dataset, config, _NO_LIMIT), strict=True)]
    items, users = (_read(folder / file) for file in files)
    spec = domains.load(config.text.domain)
    if encoded and 1 < len(items) and all(text == items[0] for text in items):
        raise UserError(f'{dataset.name}: all item texts are the same ({items[0][:80]!r}), so they say nothing; check '
                        'the ids of data.items_file, or use model.method=none')
    if config.text.audit:
        named = audit.texts_of(dataset, users, config, encoded)
    else:
        named = answer_columns.look(prompts.without(dataset, config.text.leave_out), spec)
        answer_columns.say(named, refuse=False)
    unknown = _share_unknown(dataset, spec)
    if unknown['title'] > 0.5:
        columns = {name for attributes in itertools.islice(dataset.item_attributes, 1000) for name in attributes}
        LOG.warning('%s: %.0f%% of the items have no title, so that texts of users call them %s and the audit cannot '
                    'look for them; name a column of the items title (there are: %s)', dataset.name,
                    100 * unknown['title'], prompts.UNKNOWN, ', '.join(sorted(columns)))
    facts = {
        'items': len(items), 'users': len(users), 'domain': config.text.domain,
        'audited': bool(config.text.audit), 'template_version': spec.version,
        'share_unknown': unknown, 'items_cut': cut[0], 'users_cut': cut[1],
        'users_without_items': int((dataset.interactions.input_lengths('train') == 0).sum()),
        'columns_that_name_held_out_items': [{**one._asdict(), 'share': round(one.share, 4),
                                              'chance': round(one.chance, 4)} for one in named],
        'equal_item_texts': _equal(items),
    }
    if encoded:
        _say_equal(dataset, items, facts['equal_item_texts'], spec, config)
    if by_model:
        assert answers is not None, 'a language model writes into a store'
        asked = llm_texts.build_prompts(dataset, items, users, config)
        *written, more = llm_texts.write(asked, config, answers / llm_texts.STORE, folder)
        for file, names, texts in zip((ITEMS, USERS), ids, written, strict=True):
            _write(folder / file, names, texts)
        facts |= more
        if 1 < len(written[0]) and len(set(written[0])) == 1:
            raise UserError(f'{dataset.name}: the language model says the same of all items ({written[0][0][:80]!r}), '
                            'which tells nothing of them; use another model or wording, or '
                            'text.source=template')
    return facts


def templates(dataset: Dataset, config: ml_collections.ConfigDict,
              max_chars: int | None = None) -> tuple[Sequence[str], Sequence[str]]:
    """The filled templates of all items and all users, cut to `max_chars` (None: as the config says).

    Raises:
      UserError: a setting is wrong.
    """
    require(TEXT_RULES, config)
    settings, dataset = config.text, prompts.without(dataset, config.text.leave_out)
    length = settings.max_chars if max_chars is None else max_chars
    return (prompts.item_texts(dataset, settings.domain, length),
            prompts.user_texts(dataset, settings.domain, length, settings.history, settings.held_out))


def stage_settings(config: ml_collections.ConfigDict) -> dict[str, Any]:
    """All that the texts depend on, the data set aside."""
    found = config.text.to_dict()
    if not found['leave_out']:  # as before there was such a setting
        del found['leave_out']
    if found.pop('source') == 'model':
        found['llm'] = old_keys.first_named('llm', {key: config.llm[key] for key in (
            'model', 'revision', 'temperature', 'seed', 'max_tokens', 'extra', 'max_attempts')})
    if config.text.domain not in domains.NAMES:
        found['domain_file'] = artefacts.file_checksum(domains.path_of(config.text.domain))
    return {**found, 'version': domains.load(config.text.domain).version}


def load_sent(folder: pathlib.Path) -> Sequence[str]:
    """The user texts that the audit is about: what a language model was sent, or the texts themselves.

    Raises:
      UserError: as `load_texts`.
    """
    sent = folder / USERS_SENT
    return _read(sent if sent.exists() else folder / USERS)


def load_texts(folder: pathlib.Path) -> tuple[Sequence[str], Sequence[str]]:
    """Reads the texts of the stage `describe`.

    Args:
      folder: the folder that it filled.

    Returns:
      m item texts and n user texts, in table order.

    Raises:
      UserError: a file is missing, a line is not a record, or a text is empty.
    """
    return _read(folder / ITEMS), _read(folder / USERS)


_NO_LIMIT = 1 << 40
_ALIKE = 1 / 3  # share of items without a text of their own, from which on it is said


def _equal(texts: Sequence[str]) -> int:
    """How many texts another entity has as well."""
    counts = Counter(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in texts)
    return sum(count for count in counts.values() if count > 1)


def _say_equal(dataset: Dataset, items: Sequence[str], equal: int, spec: prompts.Domain,
               config: ml_collections.ConfigDict) -> None:
    """Warns where many items have no text of their own."""
    if equal < _ALIKE * max(len(items), 1) or not equal:
        return
    nothing = prompts.cut(prompts.item_text({}, spec), config.text.max_chars)
    unknown = sum(text == nothing for text in items)
    LOG.warning('%s: %s of %s items (%.0f%%) have the text of another one as well, of %s nothing is known; such texts '
                'tell them apart no more: check the ids of data.items_file, or give more columns',
                dataset.name, f'{equal:,}', f'{len(items):,}', 100 * equal / len(items), f'{unknown:,}')


def _share_unknown(dataset: Dataset, spec: prompts.Domain) -> dict[str, float]:
    names = {'title', *(name for _, name in spec.fields + spec.sentences)}
    missing = dict.fromkeys(sorted(names), 0)
    for attributes in dataset.item_attributes:
        for name in names:
            missing[name] += not prompts.clean(attributes.get(name))
    return {name: count / max(len(dataset.item_attributes), 1) for name, count in missing.items()}


def _write(path: pathlib.Path, ids: Sequence[str], texts: Sequence[str], whole: Sequence[str] | None = None) -> int:
    """Writes texts as they come; returns how many differ from their `full_sequence`."""
    cut = 0
    bar = Bar(total=len(ids), desc=f'write {path.name}', unit='text', mininterval=1, delay=1)
    with path.open('w', encoding='utf-8') as file, bar:
        for row, (identity, text) in enumerate(zip(ids, texts, strict=True)):
            file.write(json.dumps({'id': identity, 'text': text}, ensure_ascii=False) + '\n')
            cut += whole is not None and whole[row] != text
            bar.update()
    return cut


def _read(path: pathlib.Path) -> Sequence[str]:
    """Texts, looked through once and read when they are asked for."""
    try:
        with path.open(encoding='utf-8') as file:
            for number, line in enumerate(file, start=1):
                _text(line, f'{path}, line {number}')
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f'{path}: cannot be read ({error}); delete its folder and run again') from error
    return json_lines(path, lambda record: str(record['text']))


def _text(line: str, where: str) -> None:
    try:
        record = json.loads(line)
        identity, text = record['id'], record['text']
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f'{where}: is not a record with id and text; delete its folder and run again') from error
    if not isinstance(text, str) or not text.strip():
        raise UserError(f'{where}: the text of {identity!r} is empty; write one, or delete the folder and run again')

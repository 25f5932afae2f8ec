"""The part of a language model's answer that describes: without thoughts, fences and the JSON around it."""

import json
import re
from typing import Any

_THOUGHT = r'(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection|analysis|scratchpad|(?:inner_)?monologue)'
# What models write around what they think: <think>, [THINK], <seed:think>, <|begin_of_thought|>, ◁think▷.
_OPEN = rf'(?:<(?:\w+:)?{_THOUGHT}(?:\s[^<>]*)?>|\[think\]|<\|begin_of_{_THOUGHT}\|>|◁{_THOUGHT}▷)'
_CLOSE = rf'(?:</(?:\w+:)?{_THOUGHT}\s*>|\[/think\]|<\|end_of_{_THOUGHT}\|>|◁/{_THOUGHT}▷)'
_MARK = re.compile(rf'(?P<open>{_OPEN})|(?P<close>{_CLOSE})', re.IGNORECASE)
_CHANNEL = re.compile(r'<\|channel\|>\s*(\w+)[^<]*<\|message\|>(.*?)(?=<\|(?:end|return|start|call|channel)\|>|\Z)',
                      re.DOTALL)
_BARE_CHANNELS = re.compile(r'\Aanalysis.*?assistantfinal', re.DOTALL)  # the same, without its marks
# Marks of an answer itself, whose inside is it.
_WRAPPING = re.compile(r'</?(?:answer|response|output|final(?:_answer)?|solution|description)>'
                       r'|<\|(?:begin|end)_of_(?:solution|text)\|>|<\|(?:im_end|eot_id|end|return|endoftext)\|>',
                       re.IGNORECASE)
_LANGUAGES = r'(?:json|jsonc|text|txt|plain|plaintext|markdown|md|html|xml|yaml|yml|toml|csv|python|py)'
_FENCE_LINE = re.compile(r'^[ \t]*(?:`{3,}|~{3,})[ \t]*[\w+.#-]*[ \t]*$', re.MULTILINE)
_FENCE = re.compile(rf'(?:`{{3,}}|~{{3,}})(?:{_LANGUAGES}\b)?', re.IGNORECASE)


def description_in(answer: str, keep_after: str = '') -> str:
    """What of an answer becomes a text, on one line; empty where nothing describes.

    Args:
      answer: as it came.
      keep_after: a mark of which only what follows the last one counts (empty: all).
    """
    text = _without_thoughts(answer)
    if keep_after:
        text = text.rpartition(keep_after)[2]
    text = _WRAPPING.sub(' ', text)
    text = _FENCE.sub('', _FENCE_LINE.sub('', text)).strip()
    return ' '.join(_without_json(text).split())


def _without_thoughts(text: str) -> str:
    """A text less what stands between marks of thoughts, also where they are nested or one of the two is missing: the
    first mark is then the beginning of the text, the last one its end."""
    channels = _CHANNEL.findall(text)
    if channels:
        return ' '.join(said for name, said in channels if name == 'final')
    text = _BARE_CHANNELS.sub('', text)
    depth, place = 0, 0
    kept: list[str] = []
    for mark in _MARK.finditer(text):
        if mark['close']:
            if not depth:
                kept.clear()  # the server took the first mark away
            depth = max(depth - 1, 0)
        else:
            if not depth:
                kept.append(text[place:mark.start()])
            depth += 1
        place = mark.end()
    return ' '.join(kept if depth else [*kept, text[place:]])


def _without_json(text: str) -> str:
    """The words of a JSON object, list or text; anything else as it is."""
    if text[:1] not in ('{', '[', '"'):
        return text
    try:
        return _words(json.loads(text, strict=False))
    except (ValueError, RecursionError):
        return text


def _words(value: Any) -> str:
    if isinstance(value, dict):
        if len(value) == 1:
            return _words(*value.values())
        parts = [f'{key}: {said}' for key, said in ((key, _words(each)) for key, each in value.items()) if said]
        return '; '.join(parts)
    if isinstance(value, list):
        return '; '.join(filter(None, map(_words, value)))
    return '' if value is None or isinstance(value, bool) else str(value)

"""What is an answer, and what is none."""

import re
from typing import Any

from grasp_jax.common.json_lines import without_halves
from grasp_jax.llm.answer_store import CUT_OFF
from grasp_jax.llm.described import description_in

# Capitals tell "I can't say" from a product that is called "I Can't Wait".
_REFUSAL = re.compile(r"""\W*(?:
    [Ii](?:['’]?m|\ am)\ (?:\w+\ )?sorry\b |
    [Ii]\ apologi[sz]e\b |
    (?:My\ )?[Aa]pologies\W+(?:but|for|I|as)\b |
    [Ss]orry\W+(?:but|this|that|there|unable|not\ able|as\ an\ AI)\b |
    [Ss]orry\W+(?:I|[Ww]e)(?:['’]\w+)?\ [a-z] |
    [Ss]orry,\ (?:can|no\b|your\ request) |
    (?:Unfortunately,?\ )?[Ii]\ (?:can(?:['’]?t|\ ?not)|won['’]?t|will\ not|must\ decline|have\ to\ decline|
        don['’]?t\ have|do\ not\ have)\ (?!believe|wait|resist|live\ without|get\ enough) |
    [Ii](?:['’]?m|\ am)\ (?:unable|not\ able)\ to\b |
    (?:Unfortunately,?\ )?[Tt]here\ is\ (?:not\ enough|no|insufficient)\ information\b |
    [Aa]s\ an?\ (?:AI\ (?:large\ )?(?:language\ )?|(?:large\ )?language\ )model\b |
    [Aa]s\ an\ AI(?:\ assistant)?,?\ (?:I|my)\b |
    [Aa]s\ an\ AI\ [^,.!?]{1,60},\ (?:I|my)\b |
    Lo\ siento,?\ (?:pero|no)\b | Je\ suis\ désolée?\b | Désolée?,\ (?:je|mais)\b |
    Es\ tut\ mir\ (?:sehr\ )?leid\b |
    (?:很|非常)?抱歉[，,、！。] | 对不起[，,！。] | 申し訳(?:ありません|ございません|ないですが) )""", re.VERBOSE)
_PLACEHOLDER = re.compile(r'\W*(?:n/?a|none|null|nan|unknown|undefined|no (?:description|answer|information)'
                          r'(?: is)?(?: available| given| provided)?)?\W*', re.IGNORECASE)
EMPTY, REFUSED = 'empty', 'refused'


def rejection_reason(text: str | None, finish: str | None, refusal: str | None, keep_after: str) -> str:
    """Why an answer is not accepted; empty where it is. What counts is the part of it that would become a text."""
    kept = description_in(text or '', keep_after)
    if refusal or finish == 'content_filter' or text and _REFUSAL.match(text) or _REFUSAL.match(kept):
        return REFUSED
    if finish == 'length':  # maybe before the first word, where a model thinks ahead of it
        return CUT_OFF
    if not text or not text.strip():
        return EMPTY
    if keep_after and (keep_after not in text or not kept):
        return f'without {keep_after!r}'
    return EMPTY if _PLACEHOLDER.fullmatch(kept) else ''


def one_line(error: Any) -> str:
    """What a server says of an error, an object with a message or anything else, in one line that a file can hold;
    empty where it says nothing."""
    said = error.get('message', error) if isinstance(error, dict) else getattr(error, 'message', error)
    return ' '.join(without_halves(str(said or '')).split())


def text_of(content: Any) -> str:
    """The text of an answer's content: a text, a list of parts of which some are texts, or nothing.

    Raises:
      TypeError, KeyError: it is something else.
    """
    if isinstance(content, list):
        parts = [part if isinstance(part, dict) else vars(part) for part in content]
        content = ''.join(part['text'] or '' for part in parts if part.get('type') in ('text', 'output_text'))
    if content is not None and not isinstance(content, str):
        raise TypeError('its content is no text')
    return without_halves(content or '')

"""What the pages of shops leave in texts: entities are read, tags, scripts and style sheets taken away."""

import html
import html.entities
import logging
import pathlib
import re
from typing import Any

LOG = logging.getLogger(__name__)

_ENTITY = re.compile(r'&(?:#\d{1,7};|#[xX][0-9a-fA-F]{1,6};|[A-Za-z][A-Za-z0-9]{1,31};'
                     r'|(?:amp|quot|lt|gt|nbsp|apos|#39|#34|#x27)(?![\w;=]))')
_BLOCK = re.compile(r'<!--.*?(?:-->|$)|<(script|style)\b[^<>]*>.*?(?:</\1\s*>|$)', re.IGNORECASE | re.DOTALL)
_NAMES = ('a abbr acronym address article aside audio b base big blockquote body br button caption center cite '
          'code col colgroup dd del details dfn div dl dt em embed fieldset figcaption figure font footer form '
          'frame frameset h1 h2 h3 h4 h5 h6 head header hr html i iframe img input ins kbd label legend li link '
          'main map mark meta nav noscript object ol optgroup option p param pre q s samp script section select '
          'small source span strike strong style sub summary sup svg table tbody td textarea tfoot th thead time '
          'title tr tt u ul var video wbr')
_TAG = re.compile(rf'</?(?:{"|".join(_NAMES.split())}|[a-z]:\w+)(?:\s[^<>]*)?/?>'
                  r'|<!(?:doctype\b[^<>]*>|\[[^][<>]*\]-*>?)', re.IGNORECASE)
# Scripts and style sheets whose tags are gone, as in the titles and prices of public dumps.
_SCRIPT = re.compile(r'\bvar\s+[\w$]+\s*=[^=].*;|\bfunction\s*[\w$]*\s*\([^()]*\)\s*\{|\bgetTime\(\)'
                     r'|\b(?:document|window)\.[\w$]+\s*[(=.]|\bP\.when\(|\$\(document\)', re.DOTALL)
_PART = (r'(?:[.#][A-Za-z][\w-]*|\*|\b(?:a|b|body|div|dl|dt|dd|em|form|font|h[1-6]|hr|html|img|input|li|ol|p|pre|small|'
         r'span|strong|sub|sup|table|tbody|td|tfoot|th|thead|tr|ul)\b)(?:(?:[.#]|::?)[\w-]+|\[[^]]*\])*')
_STYLE = re.compile(rf'(?:@[\w-]+(?:\s+[\w-]+)?|{_PART}(?:\s*[,>+~\s]\s*{_PART})*)\s*'
                    r'\{\s*(?:/\*.*?\*/\s*)?[\w-]+\s*:[^{}]*(?:\{[^{}]*)*(?:\}|$)', re.DOTALL)
_TIMES = 3  # texts that were encoded over and over


def plain(text: str) -> str:
    """A text without what belongs to the page it stood on; a text that has nothing of it comes back as it is."""
    if '&' not in text and '<' not in text:
        return text
    found = text
    for _ in range(_TIMES):
        decoded = _ENTITY.sub(_decoded, found)
        if decoded == found:
            break
        found = decoded
    without = _TAG.sub(' ', _BLOCK.sub(' ', found))
    return found if without == found else ' '.join(without.split())


def is_code(text: str) -> bool:
    """Whether a text holds a script or a style sheet, so that it is no title."""
    return bool(_SCRIPT.search(text) or '{' in text and _STYLE.search(text))


def without_code(text: str) -> str:
    """A text without scripts and style sheets whose tags are gone; of a script all is cut up to its last statement."""
    found = _STYLE.sub(' ', text) if '{' in text else text
    start = _SCRIPT.search(found)
    if start:
        end = max(found.rfind(mark) for mark in ';}') + 1
        found = f'{found[:start.start()]} {found[max(end, start.end()):]}'
    return text if found == text else ' '.join(found.split())


def clean(attributes: dict[str, dict[str, Any]], path: pathlib.Path) -> dict[str, dict[str, Any]]:
    """Attributes by id with plain texts; a title that is code is left out, which is said once.

    Args:
      attributes: of each id, JSON values.
      path: where they stand, for the message.
    """
    found: dict[str, dict[str, Any]] = {}
    code: list[tuple[str, str]] = []
    for identity, values in attributes.items():
        kept = {name: _plain_value(value) for name, value in values.items()}
        title = kept.get('title')
        if isinstance(title, str) and is_code(title):
            code.append((identity, title))
            kept['title'] = ''
        found[identity] = {name: value for name, value in zip(kept, map(_without_code, kept.values()), strict=True)
                           if value not in ('', [], {})}
    if code:
        LOG.warning('%s: the titles of %d items are scripts or style sheets of a page, as %r of %r, and are taken as '
                    'missing; write the titles themselves', path, len(code), code[0][1][:60], code[0][0])
    return found


def _decoded(match: re.Match[str]) -> str:
    text = match[0]
    named = text[1] != '#'
    if named and f'{text[1:].rstrip(";")};' not in html.entities.html5:
        return text
    return html.unescape(text if text.endswith(';') else f'{text};')


def _plain_value(value: Any) -> Any:
    if isinstance(value, str):
        return plain(value)
    if isinstance(value, list):
        return [part for part in map(_plain_value, value) if part != '']
    return {key: _plain_value(part) for key, part in value.items()} if isinstance(value, dict) else value


def _without_code(value: Any) -> Any:
    if isinstance(value, str):
        return without_code(value)
    return [part for part in map(_without_code, value) if part != ''] if isinstance(value, list) else value

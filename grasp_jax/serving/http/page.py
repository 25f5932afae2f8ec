"""The page for people: one file that loads nothing from elsewhere."""

import base64
import hashlib
import pathlib
import re

from fastapi.responses import Response

_FILE = pathlib.Path(__file__).with_name('page.html')


def policy(text: str) -> str:
    """The Content-Security-Policy under which only the scripts and styles inside a page run."""
    def hashes(tag: str) -> str:
        found = re.findall(f'<{tag}>(.*?)</{tag}>', text, re.DOTALL)
        return ' '.join(f"'sha256-{base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()}'"
                        for part in found)

    return (f"default-src 'none'; script-src {hashes('script')}; style-src {hashes('style')}; connect-src 'self'; "
            "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")


_TEXT = _FILE.read_text(encoding='utf-8')
_HEADERS = {'content-security-policy': policy(_TEXT), 'x-content-type-options': 'nosniff',
            'referrer-policy': 'no-referrer', 'cache-control': 'no-cache'}


async def answer() -> Response:
    """The page."""
    return Response(_TEXT.encode(), headers=_HEADERS, media_type='text/html; charset=utf-8')

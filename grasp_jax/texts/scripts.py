"""Writing without spaces, and writing whose marks a splitter at letters would break: what stands for words there.

Words of Chinese, Japanese, Thai, Khmer, Lao, Burmese or Tibetan follow each other without a space: pieces of a few
characters stand for them. Hindi, Tamil, Bengali and their kin have spaces, but write vowels as marks on letters.
"""

import re
import unicodedata
from collections.abc import Iterator

MARK = '#'  # before each piece, so that none is taken for a word of letters
_HAN = ('\u2e80-\u2fdf\u3005-\u3007\u3040-\u312f\u31a0-\u31bf\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf'
        '\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U0003134f')  # with kana, bopomofo and Yi
_SOUTH_EAST = ('\u0e00-\u0e3e\u0e40-\u0eff\u0f00-\u0f0a\u0f0c\u0f0e-\u109f\u1780-\u17ff\u1950-\u19ff\u1a20-\u1aaf'
               '\u1b00-\u1b7f\ua980-\ua9ff\uaa60-\uaadf')  # but the baht and the point between Tibetan syllables
_MARKED = '\u0780-\u07bf\u0900-\u0963\u0966-\u0dff\uabc0-\uabff\u200c\u200d'  # but the full stops of Hindi
_ANY = re.compile(f'[{_HAN}{_SOUTH_EAST}{_MARKED}]'.replace('\u200c\u200d', ''))
_RUN = re.compile(f'(?P<han>[{_HAN}]+)|(?P<south_east>[{_SOUTH_EAST}]+)|(?P<marked>[{_MARKED}]+)')
_LENGTHS = {'han': (1, 2), 'south_east': (3, 4)}  # of pieces


def needs_pieces(text: str) -> bool:
    """Whether a text has such writing anywhere."""
    return _ANY.search(text) is not None


def split(text: str) -> tuple[str, list[str]]:
    """What is left of a text for a splitter at letters, and the pieces or words of all other writing in it."""
    text = unicodedata.normalize('NFKC', text).casefold()
    return _RUN.sub(' ', text), list(_pieces(text))


def is_spaceless(character: str) -> bool:
    """Whether words of its writing follow each other without a space."""
    run = _RUN.match(character)
    return run is not None and run.lastgroup != 'marked'


def _pieces(text: str) -> Iterator[str]:
    before, end = '', -1
    for run in _RUN.finditer(text):
        found = run.group().strip('\u200c\u200d')  # joiners, which emoji have too
        if not found:
            continue
        if run.lastgroup == 'marked':  # a word, and the pair of it and the one before
            yield MARK + found
            if before and text[end:run.start()].isspace():
                yield f'{MARK}{before} {found}'
            before, end = found, run.end()
            continue
        lengths = _LENGTHS[str(run.lastgroup)]
        if len(found) < lengths[0]:
            yield MARK + found
        for length in lengths:
            for start in range(len(found) - length + 1):
                yield MARK + found[start:start + length]

"""The documents are in plain words."""

import json
import re

import pytest

from tests.conftest import ROOT

GLOSSARY = ROOT / 'docs' / 'concepts' / 'glossary.md'
PAGES = [*ROOT.glob('*.md'), *(ROOT / 'docs').rglob('*.md'), *(ROOT / 'docs').rglob('*.ipynb')]


def banned():
    return re.search(r'<!-- banned: (.*?) -->', GLOSSARY.read_text(encoding='utf-8'))[1].split(', ')


def prose(text):
    """A page without code, quoted messages, comments and links' targets; paragraphs of one line."""
    text = re.sub(r'```.*?```', '', text, flags=re.DOTALL)
    text = re.sub(r'`[^`]*`|<!--.*?-->|\]\([^)]*\)', ' ', text, flags=re.DOTALL)
    return re.sub(r'\s+', ' ', text)


def words_of(page):
    text = page.read_text(encoding='utf-8')
    if page.suffix == '.ipynb':
        text = '\n\n'.join(''.join(cell['source']) for cell in json.loads(text)['cells']
                           if cell['cell_type'] == 'markdown')
    return prose(text)


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_no_page_has_a_word_that_the_glossary_bans(page):
    found = re.findall(rf'\b(?:{"|".join(banned())})\b', words_of(page), re.IGNORECASE)
    assert not found


def sentences(text):
    """Sentences of the paragraphs and lists of a page, without tables and headings; code counts as one word."""
    text = re.sub(r'```.*?```|<!--.*?-->', '', text, flags=re.DOTALL)
    text = re.sub(r'^ *(\||#|--8<--|!\[|===|\?\?\?).*$', '', text, flags=re.MULTILINE)
    for block in re.split(r'\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )', text):
        block = re.sub(r'`[^`]*`', 'CODE', re.sub(r'\]\([^)]*\)', ']', ' '.join(block.split())))
        yield from re.split(r'(?<=[.:?!;)])[\s*]+(?=[A-Z*\[(0-9"])', block)


@pytest.mark.parametrize('page', [page for page in PAGES if page.suffix == '.md' and page.name != 'CHANGELOG.md'
                                  and not {'tables', 'tuning'} & set(page.parts)],
                         ids=lambda page: page.relative_to(ROOT).as_posix())
def test_sentences_are_short(page):
    """At most 25 words, where a colon or a semicolon ends a sentence."""
    words = {sentence: len(re.findall(r"[A-Za-z][\w'’-]*", sentence))
             for sentence in sentences(page.read_text(encoding='utf-8'))}
    assert not [sentence for sentence, number in words.items() if number > 25]


def test_sentences_are_seen():
    page = 'A b.\n\n- C `d e`\n  f: G h.\n- I.\n\n| j | k |\n'
    assert [sentence for sentence in sentences(page) if sentence] == ['A b.', '- C CODE f:', 'G h.', '- I.']


def test_banned_words_are_seen():
    assert len(banned()) > 8
    assert 'so many' in prose('it has so\nmany of them') and 'nobody' not in prose('`nobody` [x](nobody.md)')


def test_the_readme_is_short():
    text = (ROOT / 'README.md').read_text(encoding='utf-8')
    assert len(text.splitlines()) <= 150 and len(text.split()) <= 900


def test_the_glossary_has_one_row_for_a_word():
    words = re.findall(r'^\| \*\*(.*?)\*\*', GLOSSARY.read_text(encoding='utf-8'), re.MULTILINE)
    assert len(words) >= 30 and words == sorted(words, key=str.lower)

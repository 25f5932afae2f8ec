"""Entities, tags and scripts of pages in texts."""

import pathlib

import pytest

from grasp_jax.data import plain_text


@pytest.mark.parametrize(('text', 'expected'), [
    ('Tom &amp; Jerry', 'Tom & Jerry'), ('It&#39;s &#x2019;', 'It\'s \u2019'), ('a &amp;amp; b', 'a & b'),
    ('a &amp;quot;b&amp;quot;', 'a "b"'), ('&frac12; inch&trade;', '\u00bd inch\u2122'), ('A &amp B', 'A & B'),
    ('<b>Bold</b> pen<br/>red', 'Bold pen red'), ('&lt;i&gt;x&lt;/i&gt;', 'x'),
    ('<script type="a">var x = "<b>";</script>Pen', 'Pen'), ('<style>.a{b:c}</style> Pen', 'Pen'),
    ('<![endif]Pen<![if gte mso 9]> </w:Always> red', 'Pen red'),
    ('Pen <!-- price --> red', 'Pen red'), ('Pen <script>var a', 'Pen'),
    # What only looks so stays, to the letter.
    ('AT&T', 'AT&T'), ('R&D; more', 'R&D; more'), ('Q&A;', 'Q&A;'), ('I <3 you', 'I <3 you'),
    ('a < b > c', 'a < b > c'),
    ('x&copy=1&reg', 'x&copy=1&reg'), ('<UNK>  two  spaces', '<UNK>  two  spaces'), ('&unknown;', '&unknown;'),
    ('Barnes&Noble  ;', 'Barnes&Noble  ;'), ('', ''),
])
def test_plain(text, expected):
    assert plain_text.plain(text) == expected == plain_text.plain(expected)


@pytest.mark.parametrize(('text', 'code'), [
    ('var aPageStart = (new Date()).getTime();', True), ('(function(a) { return a; })()', True),
    ('.a-box-inner{background-color:#fff}', True), ('#id .b > p { color : red; }', True),
    ("P.when('A').execute(1)", True), ('window.ue_ihb = 1', True), ('document.getElementById("x")', True),
    ('JavaScript: The Definitive Guide', False), ('What is function() in Python?', False),
    ('Curly {braces} here', False),
    ('Sony VAR 12; black', False), ('Window. Door. (2 Pack)', False), ('C:\\{a: b}', False), ('var. tea; green', False),
    ('Table {set: 2}', False),
])
def test_code(text, code):
    assert plain_text.is_code(text) == code


def test_code_in_descriptions_goes_and_prose_stays():
    text = 'A pen. .a{color:red} It writes. (function(a) { b(); } Blue.'
    assert plain_text.without_code(text) == 'A pen. It writes. ( Blue.'
    text = ('It is true, vivid.caption { font-size: 10px; } ul.indent td { a: b } .x{/* c */ d:e} By hand: {pens: 2}. '
            '.y{f:g;.z{h:i}')
    assert plain_text.without_code(text) == 'It is true, vivid By hand: {pens: 2}.'
    assert plain_text.without_code('See a table: {a: b} or p {x}') == 'See a table: {a: b} or p {x}'
    assert plain_text.without_code('Two; three (four) {five}.') == 'Two; three (four) {five}.'


def test_attributes(caplog):
    found = plain_text.clean({
        'a': {'title': 'Salt &amp; Pepper', 'tags': ['x &lt; y', '<br>'], 'pages': 3, 'more': {'k': '&quot;'}},
        'b': {'title': 'window.x = 1', 'brand': 'B'}}, pathlib.Path('items.csv'))
    assert found == {'a': {'title': 'Salt & Pepper', 'tags': ['x < y'], 'pages': 3, 'more': {'k': '"'}},
                     'b': {'brand': 'B'}}
    assert "the titles of 1 items are scripts or style sheets of a page, as 'window.x = 1' of 'b'" in caplog.text

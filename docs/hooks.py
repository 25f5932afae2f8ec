"""Hooks of the site: pages that are made from the code, and links to files that are not on the site.

A page with a line like `<!-- settings -->` gets that part of `PARTS` when the site is built. The sources are parsed and
never imported, so the build needs neither JAX nor the package.
"""

import ast
import io
import pathlib
import re
import tokenize
from collections.abc import Iterator
from typing import Any, NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
SETTINGS = ROOT / 'grasp_jax/config/settings.py'
REPORT = ROOT / 'grasp_jax/evaluation/report.py'
COMMANDS = ('main', 'recommend', 'serve', 'export', 'daily', 'compare', 'tune', 'reproduce', 'reproduce.kept',
            'reproduce.cold_table', 'reproduce.page_tables', 'benchmark')
# What a researcher calls: the public names, and pure functions. Of a class the members that are shown.
API: dict[str, dict[str, list[str]]] = {
    'The trained model': {
        'grasp_jax.serving.recommender.Recommender': [
            'load', 'recommend', 'recommend_to_items', 'add_items', 'explain', 'history', 'measure_recall', 'item_ids',
            'titles'],
        'grasp_jax.common.errors.UserError': []},
    'Configs and runs': {
        'grasp_jax.config.settings.default': [], 'grasp_jax.config.settings.of_variant': [],
        'grasp_jax.config.settings.changed': [],
        'grasp_jax.pipeline.stages.run_pipeline': [], 'grasp_jax.evaluation.report.load_report': []},
    'Data': {
        'grasp_jax.data.table_files.read_table': [], 'grasp_jax.data.dataset.load': [],
        'grasp_jax.data.dataset.Dataset': [],
        'grasp_jax.data.interactions.Interactions': [
            'num_users', 'lengths', 'evaluated_users', 'targets', 'sequence', 'full_sequence', 'train_item_counts'],
        'grasp_jax.data.interactions.draw_negatives': [], 'grasp_jax.data.interactions.head_mask': [],
        'grasp_jax.data.filters.k_core': [], 'grasp_jax.data.filters.one_pass': [],
        'grasp_jax.data.synthetic.shop.make': []},
    'Texts, vectors and neighbours': {
        'grasp_jax.texts.prompts.item_text': [], 'grasp_jax.texts.prompts.user_text': [],
        'grasp_jax.vectors.encoders.encoder_of': [],
        **{f'grasp_jax.retrieval.neighbours.{name}': [] for name in ('neighbours', 'pool', 'recall')}},
    'Equations': {
        f'grasp_jax.models.equations.{name}': [] for name in (
            'Pair', 'attention', 'holistic_attention', 'MLP', 'item_representation', 'score', 'loss', 'plain_fusion')},
    'Attention': {
        f'grasp_jax.models.attention.{name}': [] for name in ('level_scores', 'gates', 'project', 'fuse')},
    'Methods': {f'grasp_jax.models.methods.{name}': [] for name in ('names', 'named', 'label')},
    'Losses': {
        f'grasp_jax.models.losses.{name}': [] for name in (
            'binary_cross_entropy', 'generalised_bce', 'sampled_softmax', 'full_softmax', 'log_sum_exp')},
    'Batches': {
        **{f'grasp_jax.batching.batches.{name}': [] for name in (
            'Sequences', 'first_fit', 'epoch_plan', 'pack_rows', 'same_user')},
        **{f'grasp_jax.batching.sampling.{name}': [] for name in ('draw_training_negatives', 'draw_cloze_mask')}},
    'Metrics': {
        **{f'grasp_jax.ranking.metrics.{name}': [] for name in ('ndcg', 'hit_rate', 'reciprocal_rank', 'summarise')},
        'grasp_jax.ranking.metrics.Ranks': ['values'],
        'grasp_jax.ranking.metrics.load_ranks': [], 'grasp_jax.ranking.metrics.summary': [],
        **{f'grasp_jax.evaluation.beyond_accuracy.{name}': [] for name in (
            'known_of', 'of_lists', 'gini', 'divergence')}},
    'Baselines': {
        **{f'grasp_jax.evaluation.baselines.{name}': [] for name in (
            'ranked', 'by_counts', 'by_content', 'by_graph')},
        **{f'grasp_jax.evaluation.item_tables.{name}': [] for name in ('similarities', 'transitions', 'graph')}},
    'Comparisons': {
        f'grasp_jax.evaluation.significance.{name}': [] for name in (
            'UserScores', 'user_scores', 'compare', 'compare_runs', 'mark', 'bootstrap_interval')},
}


class Setting(NamedTuple):
    """A setting of the program."""

    section: str
    name: str
    default: str
    comment: str


class Flag(NamedTuple):
    """A flag of a command."""

    name: str
    default: str
    help: str


def settings(source: str | None = None) -> Iterator[Setting]:
    """Every setting with its default and its comment, read off `grasp_jax/config/settings.py`."""
    source = SETTINGS.read_text(encoding='utf-8') if source is None else source
    remarks = {token.start[0]: (token.start[1], token.string.lstrip('# '))
               for token in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT}
    lines = source.splitlines()
    for function in ast.parse(source).body:
        if not isinstance(function, ast.FunctionDef) or not isinstance(function.body[-1], ast.Return):
            continue
        found = function.body[-1].value
        if isinstance(found, ast.Dict) and not any(isinstance(value, ast.Call) for value in found.values):
            yield from _entries(function.name.lstrip('_'), '', found, remarks, lines)


def _entries(section: str, prefix: str, found: ast.Dict, remarks: dict[int, tuple[int, str]],
             lines: list[str]) -> Iterator[Setting]:
    for key, value in zip(found.keys, found.values, strict=True):
        assert isinstance(key, ast.Constant)
        above, line = [], key.lineno - 1
        while line in remarks and not lines[line - 1][:remarks[line][0]].strip():
            above.insert(0, remarks[line][1])
            line -= 1
        beside = remarks.get(value.end_lineno or 0, (0, ''))[1]
        comment = ' '.join([*above, beside]).strip()
        if isinstance(value, ast.Dict):
            yield from (entry._replace(comment=entry.comment or comment)
                        for entry in _entries(section, f'{prefix}{key.value}.', value, remarks, lines))
        else:
            yield Setting(section, prefix + str(key.value), ast.unparse(value), comment)


def settings_page() -> str:
    """Tables of all settings, one for each section."""
    parts: list[str] = []
    section = ''
    for each in settings():
        if each.section != section:
            section = each.section
            parts.append(f'\n## {section}\n\n| `--config.{section}.` | default | what it does |\n|---|---|---|')
        parts.append(f'| `{each.name}` | `{_cell(each.default)}` | {_cell(each.comment)} |')
    return '\n'.join(parts)


def source_of(command: str) -> pathlib.Path:
    """The file behind `python -m grasp_jax.COMMAND`."""
    path = ROOT / 'grasp_jax' / command.replace('.', '/')
    return path / '__main__.py' if path.is_dir() else path.with_suffix('.py')


def flags(command: str) -> list[Flag]:
    """The flags that the source of a command defines."""
    found = []
    for call in ast.walk(ast.parse(source_of(command).read_text(encoding='utf-8'))):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        given = {word.arg: word.value for word in call.keywords}
        if call.func.attr.startswith('DEFINE_'):
            words = call.args[3] if call.func.attr == 'DEFINE_enum' else call.args[2]
            found.append((call.lineno, Flag(f'--{_text(call.args[0])}', _text(call.args[1]), _text(words))))
        elif call.func.attr == 'add_argument':
            default = _text(given['default']) if 'default' in given else ''
            found.append((call.lineno, Flag(_text(call.args[0]), default, _text(given.get('help')))))
    return [flag for _, flag in sorted(found, key=lambda each: each[0])]


def _text(node: ast.expr | None) -> str:
    """A constant as it is, anything else as it is written."""
    if node is None:
        return ''
    if isinstance(node, ast.Constant):
        return '' if node.value is None else str(node.value)
    return ast.unparse(node)


def commands_page() -> str:
    """Every command: what it says of itself, and its flags."""
    parts = []
    for command in COMMANDS:
        words = ast.get_docstring(ast.parse(source_of(command).read_text(encoding='utf-8'))) or ''
        parts.append(f'\n## grasp_jax.{command}\n\n{words}\n')
        if rows := flags(command):
            parts.append('| flag | default | what it does |\n|---|---|---|')
            parts.extend(f'| `{name}` | {f"`{_cell(default)}`" if default else ""} | {_cell(what)} |'
                         for name, default, what in rows)
    return '\n'.join(parts)


def report_page() -> str:
    """The keys of report.json, from the docstring of the code that writes them."""
    words = ast.get_docstring(ast.parse(REPORT.read_text(encoding='utf-8'))) or ''
    return words[words.index('| key |'):]


def api_page() -> str:
    """Directives that have the docstrings put in."""
    parts = []
    for title, names in API.items():
        parts.append(f'\n## {title}\n')
        parts.extend(f'::: {name}\n    options: {{members: {members or "false"}}}\n' for name, members in names.items())
    return '\n'.join(parts)


def _cell(words: str) -> str:
    return ' '.join(words.split()).replace('|', '\\|').replace('<', '&lt;')


def _of_the_top(name: str) -> str:
    """A page that lies beside the folder of documents."""
    return (ROOT / name).read_text(encoding='utf-8').replace('](docs/', '](')


PARTS = {'settings': settings_page, 'commands': commands_page, 'report.json': report_page, 'api': api_page,
         'contributing': lambda: _of_the_top('CONTRIBUTING.md'), 'changelog': lambda: _of_the_top('CHANGELOG.md')}


def filled(markdown: str) -> str:
    """A page with what is made from the code."""
    for name, made in PARTS.items():
        mark = f'<!-- {name} -->'
        markdown = markdown.replace(mark, made()) if mark in markdown else markdown
    return markdown


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Puts in what is made from the code; a link to a file that the site does not have becomes its words."""
    markdown = filled(markdown)
    folder = pathlib.Path(config['docs_dir'], page.file.src_uri).parent
    if page.file.src_uri.endswith('.ipynb'):
        return markdown

    def kept(found: re.Match[str]) -> str:
        target = (folder / found[2].partition('#')[0]).resolve()
        on_site = pathlib.Path(config['docs_dir']).resolve()
        there = target.is_relative_to(on_site) and files.get_file_from_path(target.relative_to(on_site).as_posix())
        if there and not there.inclusion.is_excluded():
            return found[0]
        assert target.exists(), f'{page.file.src_uri}: {found[2]} leads nowhere'
        return f'{found[1]} (`{target.relative_to(ROOT).as_posix()}`)' if '`' not in found[1] else found[1]

    return re.sub(r'(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)\s]+)\)', kept, markdown)


def on_page_content(html: str, page: Any, config: Any, files: Any) -> str:
    """Links of a notebook to pages of the site, which the conversion of notebooks leaves as they are."""
    if not page.file.src_uri.endswith('.ipynb'):
        return html

    def to_page(found: re.Match[str]) -> str:
        target = (pathlib.Path(config['docs_dir'], page.file.src_uri).parent / found[1]).resolve()
        there = files.get_file_from_path(target.relative_to(pathlib.Path(config['docs_dir']).resolve()).as_posix())
        assert there is not None, f'{page.file.src_uri}: {found[1]} leads nowhere'
        return f'href="{there.url_relative_to(page.file)}{found[2] or ""}"'

    return re.sub(r'href="([^":]+\.md)(#[^"]*)?"', to_page, html)

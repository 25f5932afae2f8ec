"""What the site makes from the code holds all that the code has."""

import ast
import importlib
import importlib.util
import inspect
import os
import subprocess
import sys

import pytest

from grasp_jax.config import default
from tests.conftest import ROOT

spec = importlib.util.spec_from_file_location('site_hooks', ROOT / 'docs' / 'hooks.py')
hooks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hooks)


def flat(section, prefix=''):
    for key, value in section.items():
        if hasattr(value, 'items'):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield prefix + key, value


def test_the_page_of_settings_has_every_setting_and_its_default():
    found = {(each.section, each.name): ast.literal_eval(each.default) for each in hooks.settings()}
    wanted = {(section, name): value for section, values in default('paper').items() for name, value in flat(values)}
    assert found == wanted


def test_a_comment_stands_at_its_setting():
    source = ("def _data():\n    return {\n        # above\n        'a': 1,  # beside\n"
              "        'b': {'c': 2},  # of all\n        'd': '# no comment',\n    }\n")
    assert [(each.name, each.comment) for each in hooks.settings(source)] == [
        ('a', 'above beside'), ('b.c', 'of all'), ('d', '')]
    comments = {f'{each.section}.{each.name}': each.comment for each in hooks.settings()}
    assert all(len(comment) > 5 for comment in comments.values()), 'every setting says what it does'
    assert comments['retrieve.method'].startswith('exact | scann')
    assert comments['data.split'].startswith('leave_one_out (each') and comments['data.split'].endswith('after).')


@pytest.mark.parametrize('command', hooks.COMMANDS)
def test_every_flag_of_a_command_is_on_its_page(command):
    source = hooks.source_of(command).read_text(encoding='utf-8')
    found = hooks.flags(command)
    assert len(found) == source.count('flags.DEFINE_') + source.count('.add_argument(')
    assert all(flag.help or command == 'reproduce.kept' for flag in found)


def test_flags_are_those_that_help_shows():
    environment = {**os.environ, 'COLUMNS': '1000'}
    shown = subprocess.run([sys.executable, '-m', 'grasp_jax.recommend', '--help'], env=environment, cwd=ROOT,
                           check=False, capture_output=True, text=True).stdout
    assert all(f'--{flag.name.strip("-")}' in shown or f'--[no]{flag.name.strip("-")}' in shown
               for flag in hooks.flags('recommend'))


def test_every_command_is_on_the_page():
    runnable = {path for path in (ROOT / 'grasp_jax').rglob('*.py')
                if "if __name__ == '__main__':" in path.read_text(encoding='utf-8')}
    assert runnable == {hooks.source_of(command) for command in hooks.COMMANDS}


def test_the_page_of_the_report_is_its_table():
    page = hooks.report_page()
    assert page.startswith('| key |') and '| `standing` |' in page and page.rstrip().endswith('|')


def public():
    """Every function, class and method that the page on Python shows."""
    for names in hooks.API.values():
        for name, members in names.items():
            module, _, last = name.rpartition('.')
            found = getattr(importlib.import_module(module), last)
            yield name, found
            yield from ((f'{name}.{member}', inspect.getattr_static(found, member)) for member in members)


def test_public_names_are_there_and_have_docstrings():
    found = dict(public())
    assert len(found) > 40 and all(inspect.getdoc(getattr(each, '__func__', each)) for each in found.values())


def test_public_names_have_examples():
    missing = [name for name, each in public()
               if 'Example:' not in (inspect.getdoc(getattr(each, '__func__', each)) or '')]
    assert not missing

"""Settings in messages: named by section and key in the library, as flags on the terminal."""

import ast
import logging
import pathlib
import re
import subprocess
import sys

import pytest

import grasp_jax
from grasp_jax.commands.flag_names import Formatter, as_flags
from grasp_jax.common.errors import UserError
from grasp_jax.config import default, settings
from grasp_jax.pipeline.checks import check_config

PACKAGE = pathlib.Path(grasp_jax.__file__).parent


@pytest.mark.parametrize(('said', 'shown'), [
    ('train.loss=5: choose bce', '--config.train.loss=5: choose bce'),
    ('lower train.learning_rate.', 'lower --config.train.learning_rate.'),
    ("train.vector_placement='host': model.gate='softmax' is",
     "--config.train.vector_placement='host': --config.model.gate='softmax' is"),
    ('(train.mesh), data.shop.seed=1; encode.corrupt.share=2',
     '(--config.train.mesh), --config.data.shop.seed=1; --config.encode.corrupt.share=2'),
    ('evaluate.ks="(1,10)"', '--config.evaluate.ks="(1,10)"')])
def test_a_setting_is_shown_as_its_flag(said, shown):
    assert as_flags(said) == as_flags(shown) == shown
    record = logging.LogRecord('grasp_jax', logging.WARNING, 'x.py', 1, '%s', (said,), None)
    assert Formatter('%(message)s').format(record) == shown


@pytest.mark.parametrize('text', [
    'runs/train.loss: is not there', 'train.loss.csv, row 3', 'train.loss/x.csv', 'my-train.loss', 'a.train.loss',
    'items.csv', 'train.losses', 'train.nothing=3', "there is no file 'train.loss'", '--changes={"train.loss": "bce"}',
    '--workdir=train.loss', 'C:\\train.loss', 'data.shop', 'train.loss-2', 'config.train.loss'])
def test_what_only_looks_like_a_setting_stays(text):
    assert as_flags(text) == text


def test_every_setting_has_a_name():
    def leaves(section):
        return sum(leaves(value) if isinstance(value, dict) else 1 for value in section.values())

    names = settings.names()
    assert len(names) == len(set(names)) == leaves(default().to_dict())
    assert all(as_flags(f'{name}=x') == f'--config.{name}=x' for name in names)
    config = default()
    assert all(config.get_ref(name.split('.')[0]) is not None for name in names)
    config.update_from_flattened_dict({'data.shop.seed': 1, 'train.loss': 'gbce'})  # of these names


@pytest.mark.slow
def test_the_library_names_the_setting_and_a_command_the_flag():
    config = default()
    config.train.loss = 'huber'
    with pytest.raises(ValueError, match=r"^train\.loss='huber': choose one of"):
        check_config(config)
    ended = subprocess.run([sys.executable, '-m', 'grasp_jax.main', '--config=configs/demo.py',
                            '--config.train.loss=huber'], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert ended.returncode == 2 and ended.stderr.startswith("error: --config.train.loss='huber': choose one of")


@pytest.mark.slow
def test_no_message_of_the_library_speaks_of_a_flag_of_the_config():
    """Messages are texts; docstrings are not looked at, nor what speaks to the terminal alone."""
    own = ('commands/', 'main.py', 'recommend.py', 'tune/report.py', 'evaluation/report_markdown.py')
    spoken = re.compile(rf'(?<!grasp_jax\.)config\.({"|".join(default())}|$)')
    speaking = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        name = str(path.relative_to(PACKAGE))
        if name.startswith(own):
            continue
        tree = ast.parse(path.read_text())
        docs = {id(node.body[0].value) for node in ast.walk(tree) if isinstance(
            node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and node.body and isinstance(node.body[0], ast.Expr)}
        found = [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Constant)
                 and isinstance(node.value, str) and id(node) not in docs and spoken.search(node.value)]
        if found:
            speaking[name] = found
    assert not speaking


def test_an_error_of_a_user_is_a_value_error():
    assert issubclass(UserError, ValueError)

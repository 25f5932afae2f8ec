"""Every example of a docstring runs, and prints what stands there."""

import ast
import doctest
import importlib
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pandas as pd
import pytest

from configs import demo
from grasp_jax.config import changed
from grasp_jax.pipeline.stages import run_pipeline
from tests.conftest import ROOT

# What the page on Python says an example begins with, beside the names of its module.
IMPORTED = {'np': np, 'jax': jax, 'jnp': jnp, 'pd': pd, 'pathlib': pathlib}


def docstrings(node, name):
    """Names, texts and lines of a module's docstrings that have an example."""
    text = ast.get_docstring(node)
    if text is not None and '>>> ' in text:
        yield name, text, node.body[0].lineno - 1
    for each in node.body:
        if isinstance(each, ast.FunctionDef | ast.ClassDef):
            yield from docstrings(each, f'{name}.{each.name}')


def examples(path):
    """The examples of a file, each as a test of its own."""
    name = '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    found = list(docstrings(ast.parse(path.read_text(encoding='utf-8')), name))
    names = {**vars(importlib.import_module(name)), **IMPORTED} if found else {}
    return [doctest.DocTestParser().get_doctest(text, names, label, str(path), line) for label, text, line in found]


TESTS = [test for path in sorted((ROOT / 'grasp_jax').rglob('*.py')) for test in examples(path)]


def run(tests):
    """Runs examples once; fails with what goes wrong, as doctest shows it."""
    shown = []
    for test in tests:
        doctest.DocTestRunner(verbose=False).run(test, out=shown.append)
    if shown:
        pytest.fail(''.join(shown), pytrace=False)


def needs_demo(test):
    return any('runs/demo' in each.source for each in test.examples)


@pytest.mark.slow
def test_examples_of_functions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tests = [test for test in TESTS if not needs_demo(test)]
    assert len(tests) > 40
    run(tests)


@pytest.fixture
def folder_of_the_demo(tmp_path, monkeypatch):
    """Works where `runs/demo` is that of the demo, with a smaller model that is trained for one epoch."""
    monkeypatch.chdir(tmp_path)
    run_pipeline(changed(demo.get_config(), {'train.max_epochs': 1, 'model.num_layers': 1}), pathlib.Path('runs/demo'))


@pytest.mark.slow
@pytest.mark.usefixtures('folder_of_the_demo')
def test_examples_of_a_run():
    tests = [test for test in TESTS if needs_demo(test)]
    assert len(tests) > 10
    run(tests)


def test_an_example_that_prints_something_else_fails():
    wrong = doctest.DocTestParser().get_doctest('>>> 1 + 1\n3\n', {}, 'wrong', None, 0)
    with pytest.raises(pytest.fail.Exception, match='Got:\n *2'):
        run([wrong])

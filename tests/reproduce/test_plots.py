"""Pictures hold what they say."""

import itertools

import numpy as np
import pytest

from grasp_jax.reproduce import grid, plots, results
from tests.evaluation.finished import run
from tests.evaluation.test_groups import from_sequences


@pytest.fixture
def shop():
    rng = np.random.default_rng(0)
    return from_sequences([rng.integers(1, 151, size) for size in rng.integers(3, 20, 60)], 150)


@pytest.fixture
def drawn(monkeypatch):
    """The pictures that are made."""
    figures = []
    monkeypatch.setattr(plots, 'save', lambda figure, path: figures.append(figure))
    return figures


@pytest.mark.slow
def test_the_leak_is_shown_on_validation_and_on_the_test(tmp_path, shop, drawn):
    cells = [cell for cell in grid.leaks() if cell.group in ('printed gate', 'hidden gate')][:6]
    tested = [run(tmp_path / cell.name, shop, seeds=(42, 43), best=0.1 + 0.1 * number)['runs'][0]['test']
              for number, cell in enumerate(cells)]
    text = results.write('leak', grid.leaks(), (42, 43), {}, tmp_path, tmp_path / 'leak').read_text()
    assert '6 of 15 rows are done' in text and 'whole-history text' in text
    panels = drawn[0].axes
    assert [len(axes.lines) for axes in panels] == [10, 2], 'a line and a diamond for each run'
    assert all(axes.xaxis_inverted() for axes in panels), 'time runs from left to right'
    lines = [line for axes in panels for line in axes.lines]
    for line, diamond, test in zip(lines[::2], lines[1::2], tested, strict=True):
        assert line.get_xdata() == pytest.approx([1, 1 / 2, 1 / 3]) and line.get_ydata() == pytest.approx([10, 20, 15])
        assert (diamond.get_xdata(), diamond.get_ydata()) == ([1 / 2], [100 * test['sampled']['NDCG@10']])
        assert diamond.get_color() == line.get_color()


@pytest.mark.slow
def test_figure_4_has_a_panel_for_each_metric_under_each_protocol(tmp_path, shop, drawn):
    cells = [cell for cell in grid.curves() if cell.label in ('k = 1', 'k = 10', 'width 16', 'width 64')]
    tests = {cell.label: run(tmp_path / cell.name, shop, best=0.1 + 0.2 * number)['test']
             for number, cell in enumerate(cells) if not (tmp_path / cell.name).exists()}
    tests['width 64'] = tests['k = 10']
    results.write('figure4', grid.curves(), (42,), {}, tmp_path, tmp_path / 'figure4')
    for axes, (protocol, labels, metric) in zip(drawn[0].axes, itertools.product(
            ('sampled', 'full'), (('k = 1', 'k = 10'), ('width 16', 'width 64')), ('NDCG@10', 'HR@10')), strict=True):
        assert axes.lines[0].get_ydata() == pytest.approx([100 * tests[label][protocol][metric] for label in labels])
        assert axes.get_title(loc='left') == f'{metric[0]}@10, {protocol} protocol'
        assert [label.get_text() for label in axes.get_xticklabels()] == [label.split()[-1] for label in labels]

"""Pictures hold what they say."""

import numpy as np
import pytest

from grasp_jax.reproduce import grid, plots, results
from tests.evaluation.finished import run
from tests.evaluation.test_groups import from_sequences


def test_the_leak_is_shown_on_validation_and_on_the_test(tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    shop = from_sequences([rng.integers(1, 151, size) for size in rng.integers(3, 20, 60)], 150)
    cells = [cell for cell in grid.leaks() if cell.group in ('printed gate', 'hidden gate')][:6]
    tested = [run(tmp_path / cell.name, shop, seeds=(42, 43), best=0.1 + 0.1 * number)['runs'][0]['test']
              for number, cell in enumerate(cells)]
    drawn = []
    monkeypatch.setattr(plots, 'save', lambda figure, path: drawn.append(figure))
    text = results.write('leak', grid.leaks(), (42, 43), tmp_path, tmp_path / 'leak').read_text()
    assert '6 of 15 rows are done' in text and 'whole-history text' in text
    panels = drawn[0].axes
    assert [len(axes.lines) for axes in panels] == [10, 2], 'a line and a diamond for each run'
    assert all(axes.xaxis_inverted() for axes in panels), 'time runs from left to right'
    lines = [line for axes in panels for line in axes.lines]
    for line, diamond, test in zip(lines[::2], lines[1::2], tested, strict=True):
        assert line.get_xdata() == pytest.approx([1, 1 / 2, 1 / 3]) and line.get_ydata() == pytest.approx([10, 20, 15])
        assert (diamond.get_xdata(), diamond.get_ydata()) == ([1 / 2], [100 * test['sampled']['NDCG@10']])
        assert diamond.get_color() == line.get_color()

"""`benchmark device`: what is to be known of a device, part by part, within a few minutes.

Parts come in the order of what they are worth. One begins only while there is time, and one that fails says why and
stops no other. After each row DIR/device.json is written, so that a kill loses one row at most.
"""

import dataclasses
import functools
import itertools
import pathlib
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax

from grasp_jax.benchmark import evaluation, retrieval, serving, training, workload
from grasp_jax.benchmark.workload import Size
from grasp_jax.common import artefacts
from grasp_jax.data.interactions import Interactions
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.evaluation.plots import BLUE, GREY, bar_panel, figure_of, save

JSON, TRACES = 'device.json', 'traces'
_BACKBONES = ('sasrec', 'bert4rec', 'gru4rec')
_STRONG = ('none', 'grasp_id', 'grasp_mixture')  # under the recipe `strong`
_MORE_METHODS = ('grasp_id', 'grasp_mixture', 'llm_init', 'llm_esr', 'rlmrec')
_K = 10  # neighbours
Rows = Iterable[dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Options:
    """What `benchmark device` is asked for.

    Attributes:
      folder: DIR.
      minutes: after which no row begins.
      large: the size of the large catalogue.
      reference: whether the PyTorch reference takes turns.
      rounds, steps: as in `training.Options`.
      users: whom the reference ranks.
    """

    folder: pathlib.Path
    minutes: float
    large: Size
    reference: bool = True
    rounds: int = 5
    steps: int = 100
    users: int = 64


def measure(size: Size, options: Options) -> Iterator[dict[str, Any]]:
    """Yields rows; each has `part`, its `name`, `seconds`, and the figures or `why`, the reason that there are none."""
    begin, rows = time.monotonic(), list[dict[str, Any]]()
    for part, wanted in _parts(size, options).items():
        for name, row in wanted:
            known: dict[str, Any] = {'part': part, 'name': name}
            started = time.monotonic()
            if started - begin >= 60 * options.minutes:
                yield known | {'why': f'no time left of {options.minutes:g} minutes', 'seconds': 0.0}
                continue
            try:
                found = row()
            except Exception as error:  # an accelerator's memory, a missing library: the others go on
                found = [{'why': (str(error).splitlines() or [type(error).__name__])[0][:200]}]
            spent = time.monotonic() - started
            for one in found:
                rows.append(known | {'seconds': spent, 'device_peak_bytes': _peak()} | one)
                yield rows[-1]
            artefacts.write_json(options.folder / JSON, {'results': rows, 'complete': False})


def _parts(size: Size, options: Options) -> dict[str, list[tuple[str, Callable[[], Rows]]]]:
    """By part, the names of rows and what measures them."""
    data = _Data(size)

    def train(which: Size, backbone: str, method: str, reference: bool, recipe: str = 'paper') -> Callable[[], Rows]:
        wanted = training.Options(options.rounds, options.steps, reference and options.reference, parts=False,
                                  profile=options.folder / TRACES / f'{recipe}_{which.tables}', recipe=recipe)
        known = data if which is size else _Data(which)
        return lambda: [training.measure(which, backbone, method, known.interactions, known.tables, wanted)]

    def rank(method: str) -> Callable[[], Rows]:
        users = options.users if options.reference else None
        return lambda: [evaluation.measure(size, 'sasrec', method, data.interactions,
                                           workload.negatives_of(data.interactions), data.tables, users)]

    large = {place: dataclasses.replace(options.large, tables=place) for place in ('device', 'host')}
    return {
        'train': [(f'{backbone} {method}', train(size, backbone, method, True))
                  for method, backbone in itertools.product(('grasp', 'none'), _BACKBONES)],
        'strong': [(f'sasrec {method}', train(size, 'sasrec', method, False, 'strong'))
                   for method in _STRONG],
        'evaluate': [(f'sasrec {method}', rank(method)) for method in ('grasp', 'none')],
        'serve': [('sasrec grasp', lambda: serving.measure(size, None, 'grasp', True))],
        'large': [(f'tables on the {place}', train(large[place], 'sasrec', 'grasp', False)) for place in large],
        'retrieve': [('neighbours', lambda: retrieval.measure(size, _K, None, others=False))],
        'methods': [(f'sasrec {method}', train(size, 'sasrec', method, False)) for method in _MORE_METHODS]}


class _Data:
    """A workload, made when it is first asked for."""

    def __init__(self, size: Size):
        self._size = size

    @functools.cached_property
    def interactions(self) -> Interactions:
        """Its sequences."""
        return workload.interactions_of(self._size)

    @functools.cached_property
    def tables(self) -> FrozenVectors:
        """Its vectors."""
        return workload.tables_of(self._size)


def _peak() -> int | None:
    """Most bytes of the device that the process has held so far; None where the device does not tell."""
    stats = jax.local_devices()[0].memory_stats()
    return stats.get('peak_bytes_in_use') if stats else None


def plot(rows: list[dict[str, Any]], path: pathlib.Path) -> None:
    """Writes a picture of milliseconds a step and of ratios to the reference."""
    steps = [row for row in rows if 'step' in row]
    ratios = [row for row in rows if row.get('ratio') is not None]
    panels = [('milliseconds a training step', [(f'{row["part"]}: {row["name"]}', 1e3 * row['step'][training.OURS][
        'median_s']) for row in steps], BLUE),
              ('times as fast as PyTorch', [(f'{row["part"]}: {row["name"]}', row['ratio']) for row in ratios], GREY)]
    shown = [panel for panel in panels if panel[1]]
    if not shown:
        return
    height = 1.5 + 0.28 * max(len(bars) for _, bars, _ in shown)
    figure, axes = figure_of(len(shown), jax.devices()[0].device_kind, 'python -m grasp_jax.benchmark device',
                             (6.5 * len(shown), height))
    for each, (title, bars, colour) in zip(axes, shown, strict=True):
        bar_panel(each, title, bars, [colour] * len(bars))
    save(figure, path)

"""Measures speed, beside the PyTorch reference in turns on the same machine, and prints a table.

    python -m grasp_jax.benchmark train    --size=beauty_paper                    whole training steps and their parts
    python -m grasp_jax.benchmark evaluate --size=beauty_paper                    ranking under both protocols
    python -m grasp_jax.benchmark retrieve --size=beauty_paper                    exact search, ScaNN, scikit-learn
    python -m grasp_jax.benchmark prepare  --rows=10000000                        the stage prepare on a made-up table
    python -m grasp_jax.benchmark sweep    --plot=docs/benchmarks/scaling.png     time against catalogue, length, width
    python -m grasp_jax.benchmark communication --size=industry                   what devices send each other in a step
    python -m grasp_jax.benchmark serve    --workdir=runs/beauty                  lists of a trained run, one and all
    python -m grasp_jax.benchmark serve    --size=industry_narrow                 the same of a made-up catalogue
    python -m grasp_jax.benchmark device   --size=beauty_paper --out=DIR          all of it, in minutes, of a new device
    python -m grasp_jax.benchmark peers    --data=configs/beauty.py --out=DIR     RecTools, RecBole and Cornac beside it
    python -m grasp_jax.benchmark llm_esr  --export=/tmp/esr --clone=../LLM-ESR   the same data for LLM-ESR's trainer

--out=FILE keeps the figures as JSON; of `device` and `peers` it is a folder, for JSON, Markdown, a picture and more.
The reference needs `pip install -e ".[reference]"` and the project's root as the current folder; --noreference does
without it. `peers` makes an environment for each program in its folder, which takes minutes and gigabytes.
"""

import itertools
import os
import pathlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
from absl import flags

from grasp_jax.benchmark import workload
from grasp_jax.benchmark.peers import job as jobs
from grasp_jax.commands.command import reading_flags, require_picture, run_app
from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.models import methods

_SIZE = flags.DEFINE_enum('size', 'beauty_5core', sorted(workload.SIZES),
                          'Sizes of data, vectors and batches (sweep has its own); tiny takes a minute.')
_BACKBONES = flags.DEFINE_list('backbones', 'sasrec,gru4rec,bert4rec', 'Backbones to measure.')
_METHODS = flags.DEFINE_list('methods', 'grasp,none', 'Methods to measure; the reference has none and grasp.')
_ROUNDS = flags.DEFINE_integer('rounds', 7, 'Timed calls of each program.', lower_bound=1)
_STEPS = flags.DEFINE_integer('steps', 20, 'train: steps in a call of grasp_jax; the reference takes one.',
                              lower_bound=1)
_USERS = flags.DEFINE_integer('users', 4, 'evaluate: users that the reference ranks; its time is scaled up.',
                              lower_bound=1)
_REFERENCE = flags.DEFINE_bool('reference', True, 'Whether the PyTorch reference takes part.')
_COMPILE = flags.DEFINE_bool('compile', False, 'train: whether the reference goes through torch.compile.')
_PARTS = flags.DEFINE_bool('parts', True, 'train: whether the parts of a step are timed as well.')
_PROFILE = flags.DEFINE_string('profile', None, 'train: folder for a trace of one call, and a table of its longest '
                               'operations (on a CPU with XLA_FLAGS=--xla_cpu_enable_xprof_traceme=true).')
_K = flags.DEFINE_integer('k', 10, 'retrieve: neighbours a row.', lower_bound=1)
_VECTORS = flags.DEFINE_string('vectors', None, 'retrieve: .npy file of vectors [rows, width] instead of random ones.')
_MARKDOWN = flags.DEFINE_bool('markdown', False, 'Whether tables are printed as Markdown.')
_PLOT = flags.DEFINE_string('plot', 'scaling.png', 'sweep: the picture to write.')
_MESHES = flags.DEFINE_list('meshes', '1x1,2x1,4x1,8x1,16x1,32x1,64x1,128x1,256x1,1x2,1x4,2x4,16x4,64x4,1x8,32x8',
                            "communication: meshes 'data' x 'model'; their devices are simulated.")
_EXPORT = flags.DEFINE_string('export', 'llm_esr', 'llm_esr: folder for the files.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'serve: work folder of a finished run, or a bundle. Default: a made-up '
                               'model of --size.')
_EVERYBODY = flags.DEFINE_bool('everybody', True, 'serve: whether lists of all users are timed as well.')
_ROWS = flags.DEFINE_integer('rows', 1_000_000, 'prepare: interactions of the table.', lower_bound=100)
_TABLE = flags.DEFINE_enum('table', 'parquet', ('parquet', 'csv'), 'prepare: how the table is stored.')
_CLONE = flags.DEFINE_string('clone', '../LLM-ESR', 'llm_esr: where the public repository was cloned to.')
_MINUTES = flags.DEFINE_float('minutes', 6.0, 'device: after which nothing new begins.', lower_bound=0)
_LARGE = flags.DEFINE_enum('large', 'industry_narrow', sorted(workload.SIZES), 'device: the large catalogue.')
_DATA = flags.DEFINE_string('data', 'configs/beauty.py', 'peers: config file that names the data.')
_PROGRAMS = flags.DEFINE_list('programs', ','.join(jobs.NAMES), 'peers: programs that take part.')
_SETTINGS = flags.DEFINE_list('settings', ','.join(jobs.SETTINGS), 'peers: same (one width, length, batch and '
                              'loss for all) and defaults (those of their authors).')
_EPOCHS = flags.DEFINE_integer('epochs', 100, 'peers: epochs at most; those who stop by validation stop before.',
                               lower_bound=1)
_OUT = flags.DEFINE_string('out', None, 'JSON file for the figures; of device and peers a folder, by default named so.')


def main(rest: Sequence[str]) -> None:
    """Runs one command."""
    from grasp_jax.benchmark import markdown, timing  # after the flags: --help need not wait for JAX

    command, size = rest[1], workload.SIZES[_SIZE.value]
    results: list[dict[str, Any]] = []
    stopped: BaseException | None = None
    try:
        results.extend(_COMMANDS[command](size))
    except (KeyboardInterrupt, Exception) as error:
        if not results:
            raise
        print('stopped; this is what was measured until then', file=sys.stderr)
        stopped = error
    if not results:  # a command that measures nothing
        return
    of_a_size = command not in ('sweep', 'prepare', 'peers')  # they have sizes of their own
    measured = {'size': {'name': _SIZE.value, **vars(size)}} if of_a_size else {}
    found = {'command': command, **measured, 'machine': timing.machine(), 'results': results,
             'complete': stopped is None, 'matmul_flops_per_s': timing.matmul_rate()}
    print(markdown.render(found, _MARKDOWN.value))
    if command == 'sweep':
        from grasp_jax.benchmark import sweep
        sweep.plot(results, pathlib.Path(_PLOT.value))
    if command in _FOLDERS:
        from grasp_jax.benchmark import device
        from grasp_jax.benchmark.peers import compare
        markdown.write(found, _folder(command), {'device': device.plot, 'peers': compare.plot}[command])
    elif _OUT.value:
        pathlib.Path(_OUT.value).write_text(artefacts.json_text(found, indent=1) + '\n', encoding='utf-8')
        print(f'written: {_OUT.value}')
    if isinstance(stopped, KeyboardInterrupt):
        raise KeyboardInterrupt('what was measured until then is above')
    if stopped is not None:
        raise stopped


def _train(size: workload.Size) -> Iterator[dict[str, Any]]:
    from grasp_jax.benchmark import training
    options = training.Options(rounds=_ROUNDS.value, steps=_STEPS.value, reference=_REFERENCE.value,
                               compiled=_COMPILE.value, parts=_PARTS.value,
                               profile=pathlib.Path(_PROFILE.value) if _PROFILE.value else None)
    interactions = workload.interactions_of(size)
    vectors = workload.tables_of(size) if any(methods.named(name).uses_vectors for name in _METHODS.value) else None
    for method, backbone in itertools.product(_METHODS.value, _BACKBONES.value):
        yield training.measure(size, backbone, method, interactions, vectors, options)


def _evaluate(size: workload.Size) -> Iterator[dict[str, Any]]:
    from grasp_jax.benchmark import evaluation
    interactions = workload.interactions_of(size)
    negatives = workload.negatives_of(interactions)
    vectors = workload.tables_of(size) if any(methods.named(name).uses_vectors for name in _METHODS.value) else None
    users = _USERS.value if _REFERENCE.value else None
    for method, backbone in itertools.product(_METHODS.value, _BACKBONES.value):
        yield evaluation.measure(size, backbone, method, interactions, negatives, vectors, users)


def _retrieve(size: workload.Size) -> list[dict[str, Any]]:
    from grasp_jax.benchmark import retrieval
    return retrieval.measure(size, _K.value, retrieval.load(_VECTORS.value, _K.value) if _VECTORS.value else None)


def _serve(size: workload.Size) -> list[dict[str, Any]]:
    from grasp_jax.benchmark import serving
    return serving.measure(size, pathlib.Path(_WORKDIR.value) if _WORKDIR.value else None, 'grasp', _EVERYBODY.value)


def _prepare(_: workload.Size) -> list[dict[str, Any]]:
    from grasp_jax.benchmark import preparation
    return [preparation.measure(_ROWS.value, _TABLE.value)]


def _sweep(_: workload.Size) -> Iterator[dict[str, Any]]:
    from grasp_jax.benchmark import sweep
    return sweep.measure(_ROUNDS.value, _STEPS.value, _REFERENCE.value)


def _device(size: workload.Size) -> Iterator[dict[str, Any]]:
    from grasp_jax.benchmark import device
    options = device.Options(_folder('device'), _MINUTES.value, workload.SIZES[_LARGE.value], _REFERENCE.value,
                             _ROUNDS.value, _STEPS.value, _USERS.value)
    options.folder.mkdir(parents=True, exist_ok=True)
    return device.measure(size, options)


def _peers(_: workload.Size) -> Iterator[dict[str, Any]]:
    from grasp_jax.benchmark.peers import compare
    return compare.measure(compare.Options(_DATA.value, _folder('peers'), tuple(_PROGRAMS.value),
                                           tuple(_BACKBONES.value), tuple(_SETTINGS.value), _EPOCHS.value))


def _folder(command: str) -> pathlib.Path:
    return pathlib.Path(_OUT.value or command)


def _llm_esr(size: workload.Size) -> list[dict[str, Any]]:
    from grasp_jax.benchmark import llm_esr
    folder = pathlib.Path(_EXPORT.value)
    written = llm_esr.export(workload.interactions_of(size), workload.tables_of(size), folder)
    clone = pathlib.Path(_CLONE.value).resolve()
    print(f'written: {written}\nrun in {folder}, and read batches a second ({size.batch_size} users each) from its '
          'progress bar:')
    for backbone in _BACKBONES.value:
        print(f'  {llm_esr.command(size, backbone, str(clone))}')
    return []


def _communication(size: workload.Size) -> Iterator[dict[str, Any]]:
    shapes = [communication_mesh(text) for text in _MESHES.value]
    devices = max(data * model for data, model in shapes)
    os.environ['XLA_FLAGS'] = f'{os.environ.get("XLA_FLAGS", "")} --xla_force_host_platform_device_count={devices}'
    jax.config.update('jax_platforms', 'cpu')  # where there are others too
    from grasp_jax.benchmark import communication
    for backbone in _BACKBONES.value:
        yield from communication.measure(size, backbone, shapes, 'bfloat16')


def communication_mesh(text: str) -> tuple[int, int]:
    """A mesh from its text, as 64x4.

    Raises:
      UserError: it is none.
    """
    data, times, model = text.partition('x')
    if not (times and data.isdecimal() and model.isdecimal() and int(data) and int(model)):
        raise UserError(f"--meshes: {text!r} is no mesh; give devices along 'data' x along 'model', as 64x4")
    return int(data), int(model)


_COMMANDS: dict[str, Callable[[workload.Size], Iterable[dict[str, Any]]]] = {
    'train': _train, 'evaluate': _evaluate, 'retrieve': _retrieve, 'sweep': _sweep, 'llm_esr': _llm_esr,
    'communication': _communication, 'device': _device, 'serve': _serve, 'prepare': _prepare, 'peers': _peers}
_FOLDERS = ('device', 'peers')  # their --out is one
# By flag, what it may name; nothing: found out later.
_LISTS: dict[str, tuple[str, ...]] = {'backbones': jobs.BACKBONES, 'methods': (), 'meshes': (),
                                      'programs': jobs.NAMES, 'settings': jobs.SETTINGS}


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help'):
        rest: list[str] = flags.FLAGS(list(argv), known_only=False)
    if len(rest) != 2 or rest[1] not in _COMMANDS:
        raise UserError(f'command line: name one of {", ".join(_COMMANDS)}, as python -m grasp_jax.benchmark train')
    if rest[1] in _FOLDERS:
        if _folder(rest[1]).exists() and not _folder(rest[1]).is_dir():
            raise UserError(f'--out={_OUT.value}: is a file; name a folder')
    elif _OUT.value and (pathlib.Path(_OUT.value).is_dir() or not pathlib.Path(_OUT.value).parent.is_dir()):
        raise UserError(f'--out={_OUT.value}: name a file in a folder that exists')
    for name, known in _LISTS.items():
        named = flags.FLAGS[name].value or ()
        if not named:
            raise UserError(f'--{name}: names none')
        if known and (others := set(named) - set(known)):
            raise UserError(f'--{name}: {min(others)!r} is none of {", ".join(known)}')
    if rest[1] == 'sweep':
        require_picture('plot', pathlib.Path(_PLOT.value))
    if rest[1] == 'llm_esr' and not pathlib.Path(_CLONE.value, 'main.py').is_file():
        raise UserError(f'--clone={_CLONE.value}: there is no main.py; clone the repository of LLM-ESR and name its '
                        'folder')
    return rest


if __name__ == '__main__':
    run_app(main, _parse, resumable=False, keep_programs=False)

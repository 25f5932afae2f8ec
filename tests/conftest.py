"""Simulated devices and float checks, set before JAX is imported by anyone."""

import atexit
import contextlib
import ctypes
import gc
import importlib.metadata
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

# Tests spend their time in the compiler: without its optimisations and fused loops it takes half as long. Without fused
# loops, whether a product and a sum become one instruction depends on what stands around them; AVX has none such,
# so that equal sums stay equal to the last bit.
os.environ.setdefault('XLA_FLAGS_GIVEN', os.environ.get('XLA_FLAGS', ''))  # workers get what is set here
os.environ['XLA_FLAGS_ONE_DEVICE'] = '--xla_backend_optimization_level=0 --xla_cpu_max_isa=AVX'
if importlib.metadata.version('jaxlib') < '0.11':  # later ones know no such flag
    os.environ['XLA_FLAGS_ONE_DEVICE'] += ' --xla_cpu_use_fusion_emitters=false'
os.environ['XLA_FLAGS'] = ' '.join((os.environ['XLA_FLAGS_GIVEN'], '--xla_force_host_platform_device_count=8',
                                    os.environ['XLA_FLAGS_ONE_DEVICE']))
os.environ['JAX_PLATFORMS'] = 'cpu'
os.environ['JAX_NUMPY_RANK_PROMOTION'] = 'raise'
os.environ.setdefault('MPLBACKEND', 'agg')
# Which line of the code an operation comes from is noted at each of them; nothing here reads it.
os.environ.setdefault('JAX_TRACEBACK_IN_LOCATIONS_LIMIT', '0')
# What one process has compiled, the others find: workers and the commands that tests start. It lasts for one run.
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
    os.environ['JAX_COMPILATION_CACHE_DIR'] = tempfile.mkdtemp(prefix='grasp_jax_compiled_')
    os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
    os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'
    atexit.register(shutil.rmtree, os.environ['JAX_COMPILATION_CACHE_DIR'], ignore_errors=True)

import pytest

from tests.forked import Forks
from tests.tiny_runs import (  # noqa: F401 (fixtures that several folders of tests share)
    finished,
    gated,
    plain,
    tiny_table,
    untrained,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
gc.set_threshold(200_000, 50, 100)  # tracing makes very many small objects that stay
# Bytes of a process from which on compiled programs go: those of a finished module of tests, and those of a test.
_LARGE, _TOO_LARGE = 1.2e9, 2.2e9


@pytest.fixture(scope='module', autouse=True)
def small_process():
    """Compiled programs pile up in a process that runs hundreds of tests; those of before are found on the disk."""
    yield
    _forget_programs(_LARGE)


@pytest.fixture(autouse=True)
def small_test():
    """As `small_process`, within a module of many tests."""
    yield
    _forget_programs(_TOO_LARGE)


def _forget_programs(large):
    if 'jax' in sys.modules and _resident() > large:
        sys.modules['jax'].clear_caches()
        gc.collect()
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL('libc.so.6').malloc_trim(0)


def _resident():
    statm = pathlib.Path('/proc/self/statm')
    return int(statm.read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') if statm.exists() else 0


@pytest.fixture
def real_data():
    """Returns the folder of a real data set by name, or skips the test where it is not."""
    def find(name: str) -> pathlib.Path:
        base = pathlib.Path(os.environ.get('GRASP_JAX_DATA', ROOT.parent / 'shared' / 'data'))
        if not (base / name).is_dir():
            pytest.skip(f'{name} is not in {base}; set GRASP_JAX_DATA to run this test on real data')
        return base / name

    return find


@pytest.fixture(scope='session')
def forks():
    found = Forks(on_one_device())
    yield found
    found.close()


def on_one_device() -> dict[str, str]:
    return {**os.environ, 'XLA_FLAGS': os.environ['XLA_FLAGS_ONE_DEVICE']}


@pytest.fixture
def module(forks):
    """Runs `python -m grasp_jax.NAME FLAGS...` on one device, from the project's folder, quickly."""
    return lambda name, *flags: forks.run(f'grasp_jax.{name}', flags, on_one_device())


@pytest.fixture
def new_process():
    """Does the same as `module` in a process that begins with nothing."""
    def run(name: str, *flags: str) -> subprocess.CompletedProcess:
        return subprocess.run([sys.executable, '-m', f'grasp_jax.{name}', *flags], capture_output=True, text=True,
                              cwd=ROOT, env=on_one_device(), check=False)

    return run


def answered(path: pathlib.Path) -> list:
    """What a scripted server was asked so far; a line that it is writing at this moment is not there yet."""
    return [json.loads(line)['asked'] for line in path.read_text().split('\n')[:-1]]


@pytest.fixture
def scripted(tmp_path):
    """Starts servers: `with scripted({'429': 0.1}) as (url, log)`; log() are the prompts that were answered."""
    pytest.importorskip('openai', reason='the extra [llm] is not installed')

    @contextlib.contextmanager
    def start(faults=None):
        path = tmp_path / f'log_{len(list(tmp_path.glob("log_*")))}.jsonl'
        command = [sys.executable, ROOT / 'tests' / 'llm' / 'scripted_server.py', path, json.dumps(faults or {})]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                port = int(server.stdout.readline())
                yield f'http://127.0.0.1:{port}/v1', lambda: answered(path)
            finally:
                server.kill()

    return start

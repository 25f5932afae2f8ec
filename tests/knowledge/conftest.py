"""The scripted server, started for a test."""

import contextlib
import json
import pathlib
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


@pytest.fixture
def scripted(tmp_path):
    """Starts servers: `with scripted({'429': 0.1}) as (url, log)`; log() are the prompts that were answered."""
    pytest.importorskip('openai', reason='the extra [llm] is not installed')

    @contextlib.contextmanager
    def start(faults=None):
        path = tmp_path / f'log_{len(list(tmp_path.glob("log_*")))}.jsonl'
        command = [sys.executable, HERE / 'scripted_server.py', path, json.dumps(faults or {})]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                port = int(server.stdout.readline())
                yield (f'http://127.0.0.1:{port}/v1',
                       lambda: [json.loads(line)['asked'] for line in path.read_text().splitlines()])
            finally:
                server.kill()

    return start

"""The service: answers over HTTP with a trained model, and shows it on a page.

    python -m grasp_jax.serve --workdir=runs/demo --port=8000

    curl -s http://127.0.0.1:8000/health
    curl -s http://127.0.0.1:8000/recommend -d '{"history": ["p000001", "p000002"], "k": 5}'
    curl -s 'http://127.0.0.1:8000/search?q=lamp'

`--workdir` is the work folder of a finished run, or a bundle of `grasp_jax.export`. http://127.0.0.1:8000/ is a page
for people, /docs lists all routes, /metrics is for Prometheus. Requests from other machines are let in with
--host=0.0.0.0; then set a token, which clients show as `Authorization: Bearer TOKEN`:

    GRASP_JAX_TOKEN=$(cat token) python -m grasp_jax.serve --workdir=runs/demo --host=0.0.0.0

With a token, POST /reload lets a newer model answer. SIGTERM ends the service when all requests are answered. It needs
the extra [serve]; docs/guides/serving.md says more.
"""

import logging
import os
import pathlib
from collections.abc import Sequence

from absl import flags

from grasp_jax.commands.command import only_flags, reading_flags, run_app
from grasp_jax.common.errors import UserError

LOG = logging.getLogger('grasp_jax.serve')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Work folder of a finished run, or a bundle.')
_SEED = flags.DEFINE_integer('seed', None, 'Whose parameters. Default: the first seed that is finished.')
_HOST = flags.DEFINE_string('host', '127.0.0.1', 'Address to listen on. 0.0.0.0: every one of this machine.')
_PORT = flags.DEFINE_integer('port', 8000, 'Port to listen on; 0: any that is free.', lower_bound=0, upper_bound=65535)
_HOSTS = flags.DEFINE_list(
    'allowed_hosts', [], 'Names that the service is called by, as rec.example.com, beside localhost and 127.0.0.1. '
    'Requests to other names are refused. Default: any name where --host is no loopback address.')
_TOKEN_VARIABLE = flags.DEFINE_string(
    'token_variable', 'GRASP_JAX_TOKEN', 'Environment variable that holds the token. Where it is set, every route but '
    '/ and /health asks for it.')
_MODELS = flags.DEFINE_string(
    'models', None, 'Folder below which POST /reload may load models. Default: the folder that holds --workdir.')
_QUEUE = flags.DEFINE_integer('max_queue', 256, 'Requests that wait; more get 503.', lower_bound=1)
_WAIT = flags.DEFINE_float('max_wait', 2.0, 'Seconds that a request waits at most; then it gets 503.', lower_bound=0.01)
_BATCH = flags.DEFINE_integer('max_batch', 16, 'Requests that are scored together: 1, 4, 16, 64 or 256.', lower_bound=1)
_K = flags.DEFINE_integer('max_k', 100, 'Items of a list.', lower_bound=1, upper_bound=8192)
_HISTORY = flags.DEFINE_integer('max_history', 1000, 'Items of a history.', lower_bound=1)
_BODY = flags.DEFINE_integer('max_body', 1 << 20, 'Bytes of a request.', lower_bound=1024)
_NEW_ITEMS = flags.DEFINE_integer('max_new_items', 256, 'Items that can be added by POST /items.', lower_bound=0)
_CONNECTIONS = flags.DEFINE_integer('max_connections', 1000, 'Clients at once.', lower_bound=1)
_SECONDS = flags.DEFINE_float('client_seconds', 10.0, 'Seconds that a client has to send a request.', lower_bound=0.1)


def main(_: Sequence[str]) -> None:
    """Serves until a signal comes."""
    try:
        from grasp_jax.serving.http import server  # after the flags: --help need not wait
        from grasp_jax.serving.http.limits import Limits
    except ImportError as error:
        raise UserError(f'python -m grasp_jax.serve: {error.name} is not installed; install the extra [serve], as pip '
                        "install -e '.[serve]'") from error
    workdir = pathlib.Path(_WORKDIR.value or '')
    models = pathlib.Path(_MODELS.value) if _MODELS.value else workdir.resolve().parent
    if not models.is_dir():
        raise UserError(f'--models={models}: is no folder; name the one that holds the models')
    token = os.environ.get(_TOKEN_VARIABLE.value, '').strip()
    limits = Limits(_QUEUE.value, _WAIT.value, _K.value, _HISTORY.value, _BATCH.value, _BODY.value,
                    max_new_items=_NEW_ITEMS.value, max_connections=_CONNECTIONS.value, seconds=_SECONDS.value)
    door = server.listen_on(_HOST.value, _PORT.value)
    hosts = server.hosts_of(_HOST.value, _HOSTS.value)
    if not token and not server.is_loopback(_HOST.value):
        LOG.warning('warning: anyone who reaches --host=%s can ask, as no token is set; set %s', _HOST.value,
                    _TOKEN_VARIABLE.value)
    from grasp_jax.serving.http import run  # imports JAX, which takes seconds
    run.serve(run.Plan(workdir, models, _SEED.value, limits, token, hosts), door)


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help'):
        rest: list[str] = flags.FLAGS(list(argv), known_only=False)
    if not _WORKDIR.value:
        raise UserError('--workdir is missing: name the work folder of a finished run or a bundle, as '
                        '--workdir=runs/demo')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=False)

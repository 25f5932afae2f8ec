"""The daily job in one command: new data, a few epochs from where yesterday ended, a bundle, a service that swaps.

    python -m grasp_jax.daily --config=configs/own_data.py --previous=runs/monday --workdir=runs/tuesday \\
        --out=models/tuesday --service=http://127.0.0.1:8000

Before anything is made, the service is asked whether the token is right and whether it may load a bundle at --out.

1. Texts, vectors and neighbours are made anew for what changed since --previous (as grasp_jax.main --mode=refresh).
2. Training goes on from the best epoch of --previous, for --epochs at most.
3. The run is ranked and reported as any other. Where validation fell by more than --max_fall, the job ends here.
4. A bundle is written to --out.
5. The service is asked to swap it in. It refuses a damaged one and goes on with the old one.

The same command may be given again at any time: what is done is not done again. The token of the service is read from
the environment variable that --token_variable names.
"""

import json
import logging
import os
import pathlib
import shlex
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any

from absl import flags

from grasp_jax.commands import config_flag
from grasp_jax.commands.command import only_flags, reading_flags, run_app
from grasp_jax.common.errors import UserError

LOG = logging.getLogger('grasp_jax.daily')  # a command's own name is another one
_CONFIG = config_flag.define_config('Config of the run before, pointed at the new data.')
_PREVIOUS = flags.DEFINE_string('previous', None, 'Work folder of the run before; it is only read.')
_WORKDIR = flags.DEFINE_string('workdir', None, 'Work folder of the new run.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the new bundle. Default: none is written.')
_SERVICE = flags.DEFINE_string('service', None, 'Address of a running grasp_jax.serve, as http://127.0.0.1:8000, that '
                               'is to swap the bundle in. Default: none is asked.')
_TOKEN = flags.DEFINE_string('token_variable', 'GRASP_JAX_TOKEN', 'Environment variable with the token of the service.')
_EPOCHS = flags.DEFINE_integer('epochs', 2, 'Epochs of training at most.', lower_bound=1)
_MAX_FALL = flags.DEFINE_float('max_fall', 0.1, 'By which share validation NDCG@10 may be below that of the run '
                               'before; where it is lower still, nothing is exported.', lower_bound=0.0)
_TARGETS = 'next'  # of runs before there was another choice
_TIMEOUT = 600  # seconds that a service may take to load and compile
_CHECK_TIMEOUT = 20  # seconds that it may take to say whether it may


def main(argv: Sequence[str]) -> None:
    """Runs the job."""
    from grasp_jax.config import changed  # after the flags: --help need not wait for JAX
    from grasp_jax.evaluation.report import load_report
    from grasp_jax.evaluation.report_markdown import render_terminal
    from grasp_jax.models import methods
    from grasp_jax.pipeline.stages import refresh_knowledge, run_pipeline
    previous, workdir = pathlib.Path(_PREVIOUS.value or ''), pathlib.Path(_WORKDIR.value or '')
    config = changed(_CONFIG.value, {'train.start_from': str(previous), 'train.max_epochs': _EPOCHS.value})
    before, token = load_report(previous), os.environ.get(_TOKEN.value, '')
    evaluate = config.evaluate
    require_same_protocol(before, {'select_by': evaluate.selection_protocol, 'targets': evaluate.targets})
    if _OUT.value:
        from grasp_jax.serving.bundle import require_place
        require_place(pathlib.Path(_OUT.value))
        if _SERVICE.value:
            require_willing(_SERVICE.value, pathlib.Path(_OUT.value), token)
    if methods.named(config.model.method).uses_vectors:
        from grasp_jax.config import saved_config
        for what, number in refresh_knowledge(config, workdir, saved_config.load(previous)[1]):
            print(f'{number:>12,}  {what}')
    report = run_pipeline(config, workdir, command=shlex.join(['python', '-m', 'grasp_jax.daily', *sys.argv[1:]]))
    print(render_terminal(report))
    require_no_fall(before, report, _MAX_FALL.value)
    if not _OUT.value:
        return
    from grasp_jax.serving import assets, bundle
    out = pathlib.Path(_OUT.value)
    manifest, written = bundle.write_bundle(assets.open_folder(workdir), out, replace=True)
    print(f'bundle: {out}, version {manifest["version"]}{"" if written else " (up to date)"}')
    if _SERVICE.value:
        answer = swap(_SERVICE.value, out, token)
        print(f'service: {_SERVICE.value} serves {json.dumps(answer)}')


def require_no_fall(before: dict[str, Any], now: dict[str, Any], most: float) -> None:
    """Refuses a run that validates much worse than the one before.

    Args:
      before, now: their reports.
      most: share by which NDCG@10 may fall.

    Raises:
      UserError: it fell further, or the two were picked under different protocols.
    """
    require_same_protocol(before, now['protocol'])
    old, new = (float(report['validation']['NDCG@10']) for report in (before, now))
    if new < (1 - most) * old:
        raise UserError(f'validation NDCG@10 fell from {100 * old:.2f} to {100 * new:.2f}: nothing was exported; look '
                        f'at the new data, raise --epochs, or allow it by --max_fall={1 - new / old:.2f}')


def require_same_protocol(before: dict[str, Any], now: Mapping[str, Any]) -> None:
    """Refuses runs whose validation figures cannot be compared.

    Args:
      before: report of the run before.
      now: `select_by` and `targets` of the new one, as reports call them.

    Raises:
      UserError: names the setting that differs.
    """
    for key, setting in (('select_by', 'selection_protocol'), ('targets', 'targets')):
        old, new = (protocol.get(key, _TARGETS) for protocol in (before['protocol'], now))
        if old != new:
            raise UserError(f'evaluate.{setting}={new}: the run before was picked by {old}; the two cannot be '
                            'compared, use the same')


def require_willing(service: str, bundle: pathlib.Path, token: str) -> None:
    """Asks a service whether it may load a bundle that need not be there yet. Nothing changes.

    A service that cannot be reached is warned of: it may be back when the bundle is there.

    Args:
      service: its address.
      bundle: folder of the bundle, on the machine of the service.
      token: that it asks for.

    Raises:
      UserError: the token is wrong, or the service loads nothing at that place.
    """
    _require_address(service)
    try:
        _ask(service, {'path': str(bundle.resolve()), 'check': True}, token, _CHECK_TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code < 500:
            raise UserError(f'{_refusal(service, bundle, error)}; nothing was made') from error
        LOG.warning('--service=%s: is not ready (%d); it is asked again when the bundle is there', service, error.code)
    except (OSError, ValueError) as error:
        LOG.warning('--service=%s: cannot be reached (%s); it is asked again when the bundle is there', service, error)


def swap(service: str, bundle: pathlib.Path, token: str) -> Any:
    """Asks a service to serve a bundle.

    Args:
      service: its address.
      bundle: folder of the bundle, on the machine of the service.
      token: that it asks for.

    Returns:
      its answer, JSON.

    Raises:
      UserError: it cannot be reached or refuses; the bundle is kept.
    """
    _require_address(service)
    try:
        return _ask(service, {'path': str(bundle.resolve())}, token, _TIMEOUT)
    except urllib.error.HTTPError as error:
        raise UserError(f'{_refusal(service, bundle, error)}. The old model goes on serving and '
                        'the bundle is kept: then give the same command again') from error
    except (OSError, ValueError) as error:
        raise UserError(f'--service={service}: cannot be reached ({error}); the bundle is at {bundle}, and the same '
                        'command tries again') from error


def _ask(service: str, wanted: dict[str, Any], token: str, seconds: float) -> Any:
    """What POST /reload answers."""
    request = urllib.request.Request(
        f'{service.rstrip("/")}/reload', json.dumps(wanted).encode(),
        {'Content-Type': 'application/json', **({'Authorization': f'Bearer {token}'} if token else {})}, method='POST')
    with urllib.request.urlopen(request, timeout=seconds) as answer:
        return json.loads(answer.read())


def _require_address(service: str) -> None:
    if not service.startswith(('http://', 'https://')):
        raise UserError(f'--service={service}: is no address; give one as http://127.0.0.1:8000')


def _refusal(service: str, bundle: pathlib.Path, error: urllib.error.HTTPError) -> str:
    """What a service refuses, and the remedy."""
    try:
        said = str(json.loads(error.read(2000))['error'])
    except (OSError, ValueError, KeyError, TypeError):
        said = str(error.reason)
    variable = _TOKEN.value if flags.FLAGS.is_parsed() else _TOKEN.default
    remedies = {
        401: f'set {variable} to the token that the service was started with',
        403: (f'start the service with a token in the environment variable {variable}' if 'token' in said else
              f'start the service with --models={bundle.resolve().parent}, or a folder above it, or name an --out '
              'below its --models'),
        409: 'look at its log',
        421: 'start the service with --allowed_hosts, or name it as it is called'}
    remedy = remedies.get(error.code, 'name the address of python -m grasp_jax.serve, as http://127.0.0.1:8000')
    return f'--service={service}: refuses {bundle} with {error.code} ({" ".join(said.split())[:300]}); {remedy}'


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help and grasp_jax/config/settings.py'):
        rest = config_flag.parse(argv)
        config_flag.require_config_file(_CONFIG, 'configs/own_data.py')
    for name in ('previous', 'workdir'):
        if not flags.FLAGS[name].value:
            which = 'run before' if name == 'previous' else 'new run'
            raise UserError(f'--{name} is missing: name the work folder of the {which}')
    if _SERVICE.value and not _OUT.value:
        raise UserError('--service needs --out=BUNDLE, which it is to serve')
    if _SERVICE.value:
        _require_address(_SERVICE.value)
    if _CONFIG.value.train.start_from:
        raise UserError('train.start_from: is --previous here; leave it out')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True)

"""The daily job in one command: new data, a few epochs from where yesterday ended, a bundle, a service that swaps.

    python -m grasp_jax.daily --config=configs/own_data.py --previous=runs/monday --workdir=runs/tuesday \\
        --out=models/tuesday --service=http://127.0.0.1:8000

1. Texts, vectors and neighbours are made anew for what changed since --previous (as grasp_jax.main --mode=refresh).
2. Training goes on from the best epoch of --previous, for --epochs at most.
3. The run is ranked and reported as any other. Where validation fell by more than --max_fall, the job ends here.
4. A bundle is written to --out.
5. The service is asked to swap it in. It refuses a damaged one and goes on with the old one.

The same command may be given again at any time: what is done is not done again. The token of the service is read from
the environment variable that --token_variable names.
"""

import json
import os
import pathlib
import shlex
import sys
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from absl import flags

from grasp_jax.commands import config_flag
from grasp_jax.commands.command import only_flags, reading_flags, run_app
from grasp_jax.common.errors import UserError

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
_TIMEOUT = 600  # seconds that a service may take to load and compile


def main(argv: Sequence[str]) -> None:
    """Runs the job."""
    from grasp_jax.config import changed  # after the flags: --help need not wait for JAX
    from grasp_jax.evaluation.report import load_report
    from grasp_jax.evaluation.report_markdown import render_terminal
    from grasp_jax.models import methods
    from grasp_jax.pipeline.stages import refresh_knowledge, run_pipeline
    previous, workdir = pathlib.Path(_PREVIOUS.value or ''), pathlib.Path(_WORKDIR.value or '')
    config = changed(_CONFIG.value, {'train.start_from': str(previous), 'train.max_epochs': _EPOCHS.value})
    before = load_report(previous)
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
        answer = swap(_SERVICE.value, out, os.environ.get(_TOKEN.value, ''))
        print(f'service: {_SERVICE.value} serves {json.dumps(answer)}')


def require_no_fall(before: dict[str, Any], now: dict[str, Any], most: float) -> None:
    """Refuses a run that validates much worse than the one before.

    Args:
      before, now: their reports.
      most: share by which NDCG@10 may fall.

    Raises:
      UserError: it fell further, or the two were picked under different protocols.
    """
    protocols = [report['protocol']['select_by'] for report in (before, now)]
    if protocols[0] != protocols[1]:
        raise UserError(f'evaluate.select_by={protocols[1]}: the run before was picked by {protocols[0]}; the '
                        'two cannot be compared, use the same')
    targets = [report['protocol'].get('targets', 'next') for report in (before, now)]
    if targets[0] != targets[1]:
        raise UserError(f'evaluate.targets={targets[1]}: the run before was picked by {targets[0]}; the two '
                        'cannot be compared, use the same')
    old, new = (float(report['validation']['NDCG@10']) for report in (before, now))
    if new < (1 - most) * old:
        raise UserError(f'validation NDCG@10 fell from {100 * old:.2f} to {100 * new:.2f}: nothing was exported; look '
                        f'at the new data, raise --epochs, or allow it by --max_fall={1 - new / old:.2f}')


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
    if not service.startswith(('http://', 'https://')):
        raise UserError(f'--service={service}: is no address; give one as http://127.0.0.1:8000')
    request = urllib.request.Request(
        f'{service.rstrip("/")}/reload', json.dumps({'path': str(bundle.resolve())}).encode(),
        {'Content-Type': 'application/json', **({'Authorization': f'Bearer {token}'} if token else {})}, method='POST')
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        said = ' '.join(error.read(2000).decode('utf-8', 'replace').split())
        raise UserError(f'--service={service}: refuses the bundle with {error.code} ({said[:300]}); the old model goes '
                        'on serving, and the same command tries again') from error
    except (OSError, ValueError) as error:
        raise UserError(f'--service={service}: cannot be reached ({error}); the bundle is at {bundle}, and the same '
                        'command tries again') from error


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
    if _CONFIG.value.train.start_from:
        raise UserError('train.start_from: is --previous here; leave it out')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=True)

"""Exports a trained run as a bundle: a folder of plain files that serves without the run, and without this package.

    python -m grasp_jax.export --workdir=runs/demo --out=demo_bundle
    python -m grasp_jax.export --check=demo_bundle

`grasp_jax.Recommender.load` opens a bundle like a work folder; docs/serve_bundle.py reads it with JAX and NumPy alone.
A bundle of the same contents is left as it is. One of other contents is refused, or replaced in one step:

    python -m grasp_jax.export --workdir=runs/demo --out=demo_bundle --replace

A bundle can be exported too (`--workdir=BUNDLE`), which makes its program anew when the old one is too old.
"""

import pathlib
from collections.abc import Sequence

from absl import flags

from grasp_jax.commands.command import only_flags, reading_flags, run_app
from grasp_jax.common.errors import UserError

_WORKDIR = flags.DEFINE_string('workdir', None, 'Work folder of a finished run, or a bundle.')
_OUT = flags.DEFINE_string('out', None, 'Folder of the bundle.')
_SEED = flags.DEFINE_integer('seed', None, 'Whose best checkpoint; default: the first seed that is finished.')
_REPLACE = flags.DEFINE_bool('replace', False, 'Whether a bundle of other contents is replaced.')
_CHECK = flags.DEFINE_string('check', None, 'A bundle to look through: every file, and its program against its model.')
_CLOSE = 1e-5  # how far the program may be from the model


def main(_: Sequence[str]) -> None:
    """Exports, or checks."""
    if _CHECK.value:
        _check(pathlib.Path(_CHECK.value))
    else:
        _export(pathlib.Path(_WORKDIR.value or ''), pathlib.Path(_OUT.value or ''))


def _export(workdir: pathlib.Path, out: pathlib.Path) -> None:
    from grasp_jax.serving import assets, bundle  # after the flags: --help need not wait for JAX
    known = assets.open_folder(workdir, _SEED.value)
    manifest, written = bundle.write_bundle(known, out, _REPLACE.value)
    size = sum(facts['bytes'] for facts in manifest['files'].values())
    what = f'written, {size / 1e6:.1f} MB in {len(manifest["files"]) + 1} files' if written else 'up to date'
    print(f'{out}: {what}; {manifest["method"]} + {manifest["backbone"]} on {manifest["dataset"]}, seed '
          f'{manifest["seed"]}, epoch {manifest["epoch"]}, version {manifest["version"]}; JAX is promised to run its '
          f'program until {manifest["scorer"]["expires"]}')


def _check(path: pathlib.Path) -> None:
    from grasp_jax.serving import bundle, opening, stablehlo
    if not (path / bundle.BUNDLE).is_file():
        raise UserError(f'--check={path}: holds no {bundle.BUNDLE}, so it is no bundle; name the --out of an export')
    known = bundle.open_bundle(path)
    files = opening.read_manifest(path)['files']
    print(f'{len(files)} files are as they were written')
    difference, users = stablehlo.largest_difference(known, stablehlo.read(path / opening.SCORER))
    if not difference <= _CLOSE:
        raise UserError(f'{path / opening.SCORER}: its scores differ from the model\'s by {difference:.1e}, more than '
                        f'{_CLOSE:.0e}; export the bundle anew')
    print(f'the program gives the scores of the model: for {users} users the largest difference is {difference:.1e}')


def _parse(argv: Sequence[str]) -> list[str]:
    """Parses flags; what is wrong with them is an error of one line."""
    with reading_flags('--help'):
        rest: list[str] = flags.FLAGS(list(argv), known_only=False)
    others = [name for name in ('workdir', 'out', 'seed', 'replace') if flags.FLAGS[name].present]
    if _CHECK.value and others:
        raise UserError(f'--{others[0]}: goes not with --check; see --help')
    if not _CHECK.value and not (_WORKDIR.value and _OUT.value):
        raise UserError('command line: name a run and a folder, as --workdir=runs/demo --out=demo_bundle, or a bundle '
                        'to --check')
    return only_flags(rest)


if __name__ == '__main__':
    run_app(main, _parse, resumable=False)

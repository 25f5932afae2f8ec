"""Finished runs in four files instead of four each: what a run leaves that a table or a comparison reads.

    python -m grasp_jax.reproduce.kept unpack docs/results runs/kept       the work folders, as they were
    python -m grasp_jax.reproduce.kept pack runs/reproduce docs/results    adds the runs that are done there

| file | what it holds |
|---|---|
| `runs.csv` | a line for each run and seed: commit, versions, checksums |
| `ranks.npz` | ranks of all test items; ranks are halves, so that twice a rank is a whole number of one or two bytes |
| `metrics.jsonl.gz` | every line of every `metrics.jsonl`, after the run that it is of |
| `records.json.gz` | `manifest.json`, `report.json` and the other small files, as they were |

Checkpoints are not kept. What is unpacked is byte for byte what was packed, but for the packing of ranks themselves.
"""

import argparse
import csv
import gzip
import hashlib
import io
import json
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from grasp_jax.commands.command import Parser
from grasp_jax.commands.flag_names import as_flags
from grasp_jax.common import archives, artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.ranking.metrics import PROTOCOLS, RANKS_FILE, UNMASKED
from grasp_jax.training.metrics_log import METRICS_FILE

INDEX, RANKS, METRICS, RECORDS = 'runs.csv', 'ranks.npz', 'metrics.jsonl.gz', 'records.json.gz'
_RECORDS = (artefacts.MANIFEST, 'report.json', 'gates.json', 'trust.json', 'view_weights.json', 'changes.json')
_COLUMNS = ('run', 'commit', 'python', 'jax', 'flax', 'numpy', 'epochs', 'ranks_sha256', 'metrics_sha256')
_SHARED = ('users', 'targets')  # arrays that many runs have alike
_RANKS = (*PROTOCOLS, UNMASKED)  # arrays of ranks; others are kept as they are


class Runs:
    """What is kept of some runs, by the path of a file within their common folder.

    Attributes:
      ranks: arrays of each archive of ranks.
      texts: all other files.
    """

    def __init__(self) -> None:
        """Begins without any."""
        self.ranks: dict[str, dict[str, np.ndarray]] = {}
        self.texts: dict[str, str] = {}

    def rows(self) -> Iterator[dict[str, Any]]:
        """The lines of the index, in the order of the runs."""
        for path in sorted(self.ranks):
            run = path.rpartition('/')[0]
            manifest = json.loads(self.texts.get(f'{run}/{artefacts.MANIFEST}', '{}'))
            metrics = self.texts.get(f'{run}/{METRICS_FILE}', '')
            versions = manifest.get('versions', {})
            yield {'run': run, 'commit': manifest.get('commit', ''),
                   **{name: versions.get(name, '') for name in ('python', 'jax', 'flax', 'numpy')},
                   'epochs': metrics.count('\n'), 'ranks_sha256': checksum(self.ranks[path]),
                   'metrics_sha256': hashlib.sha256(metrics.encode()).hexdigest()}


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Hex SHA-256 of arrays: their names, types, shapes and bytes."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f'{name} {array.dtype.str} {array.shape}\n'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def find(folder: pathlib.Path) -> Runs:
    """What is done in the work folders below a folder; runs without ranks are left out.

    Raises:
      UserError: a file is damaged.
    """
    found, folders = Runs(), {folder}
    for path in sorted(folder.rglob(RANKS_FILE)):
        found.ranks[_name(path, folder)] = archives.read(path)
        folders |= {above for above in path.parents if above.is_relative_to(folder)}
    for file in (place / name for place in folders for name in (METRICS_FILE, *_RECORDS)):
        if file.is_file():
            found.texts[_name(file, folder)] = file.read_text(encoding='utf-8')
    return found


def write(kept: pathlib.Path, runs: Runs) -> None:
    """Writes the four files, each in one step, the index last."""
    kept.mkdir(parents=True, exist_ok=True)
    arrays: dict[str, np.ndarray] = {}
    shared: dict[str, str] = {}
    for path, ranks in sorted(runs.ranks.items()):
        for name, values in ranks.items():
            key = f'{path}:{name}'
            if name in _SHARED:
                mark = checksum({name: values})
                if mark in shared:
                    arrays[f'{key}={shared[mark]}'] = np.zeros(0, np.uint8)
                    continue
                shared[mark] = key
                arrays[key] = values
            else:
                arrays[key] = _halves(values) if name in _RANKS else values
    archives.write(kept / RANKS, arrays)
    logs = {path: text for path, text in sorted(runs.texts.items()) if path.endswith(METRICS_FILE)}
    _write_gzip(kept / METRICS, ''.join(f'{json.dumps(path)}\n{text}' for path, text in logs.items()))
    _write_gzip(kept / RECORDS, json.dumps({path: text for path, text in sorted(runs.texts.items())
                                            if path not in logs}, indent=0, ensure_ascii=False))
    lines = io.StringIO()
    table = csv.DictWriter(lines, _COLUMNS, lineterminator='\n')
    table.writeheader()
    table.writerows(runs.rows())
    artefacts.write_text(kept / INDEX, lines.getvalue())


def read(kept: pathlib.Path) -> Runs:
    """Reads the four files.

    Raises:
      UserError: one is missing or damaged, or is not what the index says.
    """
    found, arrays = Runs(), archives.read(kept / RANKS)
    for key, values in arrays.items():
        key, _, same = key.partition('=')
        path, _, name = key.rpartition(':')
        whole = arrays[same] if same else values
        found.ranks.setdefault(path, {})[name] = _ranks(whole) if name in _RANKS else whole
    try:
        found.texts |= json.loads(_read_gzip(kept / RECORDS))
        path = ''
        for line in _read_gzip(kept / METRICS).splitlines(keepends=True):
            if line.startswith('"'):
                path = json.loads(line)
                found.texts[path] = ''
            else:
                found.texts[path] += line
    except UserError:
        raise
    except (ValueError, KeyError) as error:
        raise UserError(f'{kept}: {RECORDS} or {METRICS} is damaged ({error}); bring back what was '
                        'committed') from error
    with (kept / INDEX).open(newline='', encoding='utf-8') as file:
        stated = {row['run']: (row['ranks_sha256'], row['metrics_sha256']) for row in csv.DictReader(file)}
    for row in found.rows():
        if stated.get(row['run']) != (row['ranks_sha256'], row['metrics_sha256']):
            raise UserError(f'{kept / INDEX}: does not state what {RANKS} and {METRICS} hold of {row["run"]}; bring '
                            'back what was committed')
    return found


def pack(folder: pathlib.Path, kept: pathlib.Path) -> list[str]:
    """Adds the finished runs of a folder to those that are kept.

    Args:
      folder: with work folders below it, as that of `grasp_jax.reproduce`.
      kept: gets the four files.

    Returns:
      the runs that are new or were made anew.

    Raises:
      UserError: nothing is done there, or a file is damaged.
    """
    new = find(folder)
    if not new.ranks:
        raise UserError(f'{folder}: no run is done there; name the --workdir of grasp_jax.reproduce')
    both = read(kept) if (kept / INDEX).exists() else Runs()
    before = {row['run']: row for row in both.rows()}
    both.ranks |= new.ranks
    both.texts |= new.texts
    write(kept, both)
    return [row['run'] for row in both.rows() if before.get(row['run']) != row]


def unpack(kept: pathlib.Path, folder: pathlib.Path, only: str = '') -> int:
    """Writes the work folders of the runs that are kept; files that are there already stay.

    Args:
      kept: folder of the four files.
      folder: gets the work folders.
      only: what the paths of the runs begin with, as `beauty/paper/gru4rec_none`; empty: all.

    Returns:
      how many runs there are.

    Raises:
      UserError: as `read`.
    """
    runs, count = read(kept), 0
    for path in filter(lambda path: path.startswith(only), [*runs.texts, *runs.ranks]):
        file = _inside(folder, path)
        count += path in runs.ranks
        if file.exists():
            continue
        file.parent.mkdir(parents=True, exist_ok=True)
        if path in runs.ranks:
            archives.write(file, runs.ranks[path], compress=False)
        else:
            artefacts.write_text(file, runs.texts[path])
    return count


def _inside(folder: pathlib.Path, path: str) -> pathlib.Path:
    """A path below a folder; a UserError where it leads out of it."""
    file = folder / path
    if not file.resolve().is_relative_to(folder.resolve()):
        raise UserError(f'{path}: leads out of {folder}; bring back what was committed')
    return file


def _name(path: pathlib.Path, folder: pathlib.Path) -> str:
    return path.relative_to(folder).as_posix()


def _halves(ranks: np.ndarray) -> np.ndarray:
    """Twice the ranks as the smallest whole numbers that hold them; 0 for users who have none."""
    double = np.nan_to_num(np.rint(ranks.astype(np.float64) * 2))
    whole = double.astype(np.min_scalar_type(int(double.max(initial=0))))
    if not np.array_equal(_ranks(whole), ranks, equal_nan=True):
        raise UserError('ranks: are no multiples of one half; they are damaged')
    return whole


def _ranks(double: np.ndarray) -> np.ndarray:
    return np.where(double > 0, double / 2, np.nan).astype(np.float32)


def _write_gzip(path: pathlib.Path, text: str) -> None:
    with artefacts.replacing(path) as partial, partial.open('wb') as file, \
            gzip.GzipFile('', 'wb', 9, file, mtime=0) as packed:
        packed.write(text.encode())


def _read_gzip(path: pathlib.Path) -> str:
    try:
        with gzip.open(path, 'rt', encoding='utf-8', newline='') as file:
            return file.read()
    except (OSError, EOFError, ValueError) as error:
        raise UserError(f'{path}: cannot be read ({error}); bring back what was committed') from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = Parser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('what', choices=['pack', 'unpack'])
    parser.add_argument('source', type=pathlib.Path)
    parser.add_argument('target', type=pathlib.Path)
    parser.add_argument('--only', default='', help='unpack: what the paths of the runs begin with, as beauty/paper')
    try:
        flags = parser.parse_args(arguments)
        if flags.what == 'pack':
            new = pack(flags.source, flags.target)
            print(f'{len(new)} runs are new' + (': ' + ', '.join(new) if new else ''))
        else:
            print(f'{unpack(flags.source, flags.target, flags.only)} runs are in {flags.target}')
    except (UserError, OSError) as error:
        print(f'error: {as_flags(error)}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())

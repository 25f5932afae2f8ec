"""The figures of a benchmark as text."""

import pathlib
from collections.abc import Callable
from typing import Any

from grasp_jax.benchmark.peers import compare
from grasp_jax.benchmark.peers import job as jobs
from grasp_jax.common import artefacts
from grasp_jax.evaluation.report_markdown import BACKBONES, aligned, markdown
from grasp_jax.models import methods

Rows = list[list[str]]


def render(found: dict[str, Any], as_markdown: bool = False) -> str:
    """The machine in a few lines, and a table of what was measured."""
    machine = found['machine']
    versions = ', '.join(f'{name} {version}' for name, version in machine['versions'].items())
    head = [f'{machine["command"]}   ({machine["date"]})',
            f'{machine["processor"]}, {machine["cores"]} cores; JAX on {machine["device"]}; '
            f'Python {machine["python"]}; {versions}',
            f'float32 matrix products: {found["matmul_flops_per_s"] / 1e9:,.0f} GFLOP/s']
    if found['command'] in ('train', 'evaluate', 'communication'):
        size = found['size']
        head.append(f'{size["name"]}: {size["users"]:,} users, {size["items"]:,} items, E {size["width"]}, '
                    f'L {size["max_length"]}, B {size["batch_size"]}, mean length {size["mean_length"]}')
    style = markdown if as_markdown else aligned
    tables = [style(table, left) for table, left in _TABLES[found['command']](found)]
    return '\n\n'.join(['\n'.join(head), *tables])


def write(found: dict[str, Any], folder: pathlib.Path,
          plot: Callable[[list[dict[str, Any]], pathlib.Path], None]) -> None:
    """Writes the figures of a command as JSON, a page of them, and a picture, all by its name.

    Args:
      found: all figures.
      folder: where they go.
      plot: makes the picture of `results`, or none.
    """
    name = found['command']
    artefacts.write_json(folder / f'{name}.json', found)
    (folder / f'{name}.md').write_text(render(found, as_markdown=True) + '\n', encoding='utf-8')
    plot(found['results'], folder / f'{name}.png')
    print(f'written: {folder / name}.json, .md, .png')


def _train(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    rows = [['model', 'grasp_jax ms', 'sequences/s', 'memory MB', 'pytorch ms', 'sequences/s', 'memory MB', 'ratio',
             'loss differs by']]
    for result in found['results']:
        rows.append([_model(result), *_step(result, 'grasp_jax'), *_step(result, 'pytorch'),
                     _number(result.get('ratio'), '.1f'), _number(result.get('loss_difference'), '.0e')])
    tables = [(rows, 1)]
    parts = [['model', 'part of a step', 'grasp_jax ms', 'pytorch ms', 'ratio', 'E-wide GFLOP/s', 'of the matrix rate']]
    for result in found['results']:
        for name, part in result.get('parts', {}).items():
            rate = part.get('flops_per_s')
            share = None if rate is None else 100 * rate / part['matmul_flops_per_s']
            parts.append([_model(result), name, f'{1e3 * part["grasp_jax_s"]:.2f}',
                          _number(part.get('pytorch_s'), '.2f', 1e3), _number(part.get('ratio'), '.1f'),
                          _number(rate, '.0f', 1e-9), _number(share, '.0f') + ('' if share is None else '%')])
    return [*tables, *([(parts, 2)] if len(parts) > 1 else []), *_longest(found['results'])]


def _longest(results: list[dict[str, Any]]) -> list[tuple[Rows, int]]:
    """The operations that take most of a traced call, if any was."""
    rows = [['model', 'operation', 'calls', 'ms in all']]
    for result in results:
        rows += [[_model(result), one['name'], str(one['calls']), f'{1e3 * one["seconds"]:.2f}']
                 for one in result.get('operations', [])]
    return [(rows, 2)] if len(rows) > 1 else []


def _step(result: dict[str, Any], name: str) -> list[str]:
    times = result['step'].get(name)
    if times is None:
        return ['-', '-', '-']
    return [f'{1e3 * times["median_s"]:.1f}', f'{times["sequences_per_s"]:,.0f}',
            _number(times['peak_bytes'], ',.0f', 1e-6)]


def _evaluate(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    rows = [['model', 'users', 'sampled s', 'sampled + full s', 'ms a user', 'pytorch full ms a user', 'of users',
             'ratio', 'scores differ by']]
    for result in found['results']:
        both = result['both']
        rows.append([_model(result), f'{result["users"]:,}', f'{result["sampled"]["grasp_jax_s"]:.1f}',
                     f'{both["grasp_jax_s"]:.1f}', f'{1e3 * both["grasp_jax_s_per_user"]:.2f}',
                     _number(both.get('pytorch_s_per_user'), '.0f', 1e3), str(both.get('pytorch_users', '-')),
                     _number(result.get('ratio'), '.0f'), _number(both.get('largest_difference'), '.0e')])
    return [(rows, 1)]


def _retrieve(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    rows = [['search', 'rows', 'width', 'k', 'seconds', 'memory MB', 'recall']]
    for result in found['results']:
        rows.append([result['search'], f'{result["rows"]:,}', str(result['width']), str(result['k']),
                     f'{result["seconds"]:.1f}', _number(result['peak_bytes'], ',.0f', 1e-6),
                     f'{result["recall"]:.4f}'])
    return [(rows, 1)]


def _prepare(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    rows = [['table', 'interactions', 'GB', 'users left', 'items left', 'seconds', 'processor s', 'memory GB',
             'written GB']]
    for result in found['results']:
        rows.append([result['ending'], f'{result["rows"]:,}', f'{result["source_bytes"] / 1e9:.2f}',
                     f'{result["users"]:,}', f'{result["items"]:,}', f'{result["seconds"]:.0f}',
                     f'{result["cpu_seconds"]:.0f}', f'{result["peak_bytes"] / 1e9:.2f}',
                     f'{result["written_bytes"] / 1e9:.2f}'])
    return [(rows, 1)]


def _serve(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    of_lists = [f'{name}@{k}' for k in (10, 100) for name in ('p50 ms', 'p99 ms', 'recall')]
    rows = [['model', 'search', 'items', 'ready s', *of_lists, 'users', 'all @100 s']]
    for result in found['results']:
        rows.append([f'{_model(result)}, gate {result["gate"]}', 'exact' if result['exact'] else 'candidates',
                     f'{result["items"]:,}', f'{result["ready_s"]:.1f}',
                     *(text for k in (10, 100) for text in (
                         f'{1e3 * result[f"p50_s@{k}"]:.2f}', f'{1e3 * result[f"p99_s@{k}"]:.2f}',
                         f'{result[f"recall@{k}"]:.3f}')),
                     f'{result["users"]:,}', _number(result['everybody_s'], '.1f')])
    return [(rows, 2)]


def _communication(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    kinds = sorted({kind for result in found['results'] for kind in result['sent_mb']})
    rows = [['backbone', 'mesh', 'devices', 'collectives', *(f'{kind} MB' for kind in kinds), 'MB a device sends']]
    for result in found['results']:
        rows.append([result['backbone'], 'x'.join(map(str, result['mesh'])), str(result['devices']),
                     str(result['collectives']), *(f'{result["sent_mb"].get(kind, 0):.2f}' for kind in kinds),
                     f'{result["sent_mb_in_all"]:.2f}'])
    return [(rows, 2)]


def _sweep(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    rows = [['axis', 'value', 'grasp_jax ms', 'fastest', 'slowest', 'pytorch ms', 'ratio']]
    for result in found['results']:
        ours, theirs = result['step']['grasp_jax'], result['step'].get('pytorch')
        rows.append([result['axis'], f'{result["value"]:,}', *(f'{1e3 * ours[key]:.1f}'
                                                               for key in ('median_s', 'min_s', 'max_s')),
                     _number(theirs and theirs['median_s'], '.1f', 1e3), _number(result.get('ratio'), '.1f')])
    return [(rows, 1)]


def _model(result: dict[str, Any]) -> str:
    name = BACKBONES[result['backbone']]
    return name if methods.is_plain(result['method']) else f'{name} + {methods.label(result["method"])}'


def _number(value: float | None, form: str, factor: float = 1.0) -> str:
    return '-' if value is None else format(factor * value, form)


def _device(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    rows = found['results']
    tables = [(_trained([row for row in rows if 'step' in row]), 2)]
    for part in ('evaluate', 'serve', 'retrieve'):
        if some := [row for row in rows if row['part'] == part and 'why' not in row]:
            tables += _TABLES[part](found | {'results': some})
    tables += _longest([row for row in rows if row['part'] in ('train', 'strong')])
    return tables + _missing(rows, ('part', 'name'))


def _peers(found: dict[str, Any]) -> list[tuple[Rows, int]]:
    tables: list[tuple[Rows, int]] = []
    for settings in dict.fromkeys(row['settings'] for row in found['results']):
        rows = [[f'program, settings: {settings}', 'backbone', 'seconds an epoch', 'of ours', 'epochs',
                 'minutes in all', 'lists of all users, s', 'memory GB', 'NDCG@10', 'HR@10', 'GFLOP/s then']]
        some = [row for row in found['results'] if row['settings'] == settings and 'why' not in row]
        for row in some:
            ours = [one['epoch_s'] for one in some
                    if one['backbone'] == row['backbone'] and one['program'] == jobs.OURS]
            rows.append([compare.label(row), BACKBONES[row['backbone']], f'{row["epoch_s"]:.1f}',
                         _number(row['epoch_s'] / ours[0] if ours else None, '.1f'),
                         f'{row["epochs"]}{" (bound)" if row["bound"] else ""}', f'{row["train_s"] / 60:.1f}',
                         f'{row["list_s"]:.1f}', f'{row["peak_bytes"] / 1e9:.1f}', f'{100 * row["ndcg10"]:.2f}',
                         f'{100 * row["hr10"]:.2f}', ', '.join(
                             f'{1e-9 * rate:.0f}' for rate in row['matmul_flops_per_s'])])
        tables += [(rows, 2)] if some else []
    versions = {f'{name} {version}' for row in found['results'] for name, version in row.get('versions', {}).items()}
    tables.append(([['versions'], [', '.join(sorted(versions))]], 1))
    return tables + _missing(found['results'], ('program', 'backbone', 'settings'))


def _missing(results: list[dict[str, Any]], keys: tuple[str, ...]) -> list[tuple[Rows, int]]:
    """The rows that were not measured, if any was not."""
    rows = [[*(row[key] for key in keys), row['why']] for row in results if 'why' in row]
    return [([[*keys, 'not measured, because'], *rows], len(keys) + 1)] if rows else []


def _trained(results: list[dict[str, Any]]) -> Rows:
    """Steps of all parts in one table; memory is what the device had held at most until then."""
    rows = [['part', 'row', 'grasp_jax ms', 'sequences/s', 'pytorch ms', 'ratio', 'first call s', 'operations a step',
             'device GB']]
    for result in results:
        rows.append([result['part'], result['name'], *_step(result, 'grasp_jax')[:2], _step(result, 'pytorch')[0],
                     _number(result.get('ratio'), '.1f'), f'{result["first_call_s"]:.1f}',
                     _number(result.get('operations_per_step'), '.0f'),
                     _number(result['device_peak_bytes'], '.1f', 1e-9)])
    return rows


_TABLES = {'device': _device, 'peers': _peers, 'train': _train, 'evaluate': _evaluate, 'retrieve': _retrieve,
           'communication': _communication, 'sweep': _sweep, 'serve': _serve, 'prepare': _prepare}

"""Files with one object a line, plain or gzipped, that came from outside."""

import collections.abc
import gzip
import json
import os
import pathlib
import re
import zlib
from typing import Any, BinaryIO

from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar

Parse = collections.abc.Callable[[bytes], Any]
_HALF = re.compile(rb'\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]')  # a surrogate, escaped or in bytes, of a pair or alone


def read_objects(path: pathlib.Path, parse: Parse = json.loads) -> collections.abc.Iterator[tuple[int, dict[str, Any]]]:
    """Yields (line number from 1, object) with a progress bar over the file's bytes; blank lines are skipped.

    Half of a surrogate pair, as in a title that was cut inside an emoji, becomes U+FFFD: no file could hold it. Whole
    pairs are joined, also where each half was written as bytes of its own (CESU-8).

    Args:
      path: a file; gzip is seen by its first bytes.
      parse: turns a line into an object, or into None to skip the line.

    Raises:
      UserError: the file cannot be read to its end, or a line holds no object.
    """
    for row, line in read_lines(path):
        if line.isspace():
            continue
        try:
            record = parse(line)
        except UserError:
            raise
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            record = line
        if record is None:
            continue
        if not isinstance(record, dict):
            start = line[:60].decode('utf-8', 'replace').strip()
            spread = row == 1 and (start[:1] == '[' or start == '{')  # a list, or an object over several lines
            raise UserError(f'{path}, line {row}: holds no JSON object ({start!r}); '
                            + ('write one object a line' if spread else 'correct or delete this line'))
        yield row, without_halves(record) if _HALF.search(line) else record


def without_halves(value: Any) -> Any:
    """A JSON value in whose texts pairs of surrogates are joined and U+FFFD stands for every one that is alone."""
    if isinstance(value, str):
        return value.encode('utf-16', 'surrogatepass').decode('utf-16', 'replace')
    if isinstance(value, dict):
        return {without_halves(key): without_halves(part) for key, part in value.items()}
    return [*map(without_halves, value)] if isinstance(value, (list, tuple)) else value


def is_gzip(path: pathlib.Path) -> bool:
    """Whether a file is packed by gzip, as its first bytes say; one that is too short to tell, as its name says."""
    with path.open('rb') as stream:
        start = stream.read(2)
    return start == b'\x1f\x8b' or len(start) < 2 and path.name.lower().endswith('.gz')


def opened(path: pathlib.Path) -> BinaryIO:
    """The bytes of a file, unpacked where it is packed by gzip."""
    return gzip.open(path) if is_gzip(path) else path.open('rb')  # type: ignore[return-value]


def read_lines(path: pathlib.Path) -> collections.abc.Iterator[tuple[int, bytes]]:
    """Yields (line number from 1, line) with a progress bar over the file's (compressed) bytes.

    Raises:
      UserError: the file is not there, is no gzip file or ends before its time.
    """
    try:
        with path.open('rb') as raw:
            with Bar(total=os.fstat(raw.fileno()).st_size, desc=f'read {path.name}', unit='B', delay=1,
                           unit_scale=True, mininterval=0.5) as bar:
                stream = gzip.open(raw) if is_gzip(path) else raw
                for row, line in enumerate(stream, 1):
                    if row % 4096 == 0:
                        bar.update(raw.tell() - bar.n)
                    yield row, line
                bar.update(bar.total - bar.n)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f'{path}: cannot be read ({error}); fetch or copy this file again') from error

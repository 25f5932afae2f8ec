"""Which version of the source is running, as a manifest notes it."""

import functools
import pathlib
import subprocess


@functools.cache
def commit() -> str:
    """The commit of this source, `with changes` behind it where files differ; empty where it is no checkout."""
    here = pathlib.Path(__file__).parent
    if _git(here, 'ls-files', '--error-unmatch', pathlib.Path(__file__).name) is None:
        return ''  # no checkout, or one of something else that this lies in
    changed = _git(here.parent, 'status', '--porcelain', '--untracked-files=no', '.')
    return f'{_git(here, "rev-parse", "HEAD")}{" with changes" if changed else ""}'


def _git(folder: pathlib.Path, *arguments: str) -> str | None:
    """What git prints, None where it is not there or refuses."""
    try:
        found = subprocess.run(['git', '-C', str(folder), *arguments], capture_output=True, text=True, check=True,
                               timeout=10)
    except (OSError, subprocess.SubprocessError):
        return None
    return found.stdout.strip()

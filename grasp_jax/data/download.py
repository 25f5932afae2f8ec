"""Fetches the public Amazon dumps from the McAuley lab's addresses, whole and checked."""

import hashlib
import http.client
import os
import pathlib
import urllib.error
import urllib.parse
import urllib.request

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.common.progress import Bar

_CHUNK = 1 << 20
_TIMEOUT = 60  # seconds without a byte

# Folder of each file by layout and what it holds; the file's own name follows.
ADDRESSES = {
    ('2014', 'reviews'): 'https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/',
    ('2014', 'core'): 'https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/',
    ('2014', 'metadata'): 'https://snap.stanford.edu/data/amazon/productGraph/categoryFiles/',
    ('2018', 'reviews'): 'https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2/categoryFiles/',
    ('2018', 'core'): 'https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2/categoryFilesSmall/',
    ('2018', 'metadata'): 'https://datarepo.eng.ucsd.edu/mcauley_group/data/amazon_v2/metaFiles2/',
    ('2023', 'reviews'): 'https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/review_categories/',
    ('2023', 'metadata'): 'https://mcauleylab.ucsd.edu/public_datasets/data/amazon_2023/raw/meta_categories/',
}


def fetch(url: str, target: pathlib.Path) -> pathlib.Path:
    """Downloads a file unless it was downloaded before, under a temporary name until it is complete.

    The SHA-256 of what arrived is kept beside it as `<name>.sha256` and checked when the file is used again. Another
    process on this machine that wants a file of the same folder waits.

    Args:
      url: the address.
      target: where the file goes; its folder is made.

    Returns:
      `target`.

    Raises:
      UserError: the network or the server fails, fewer bytes arrive than announced, or a kept file has changed.
    """
    record = target.with_name(target.name + '.sha256')
    partial = target.with_name(target.name + '.partial')
    try:
        with artefacts.lock(target.parent):
            known = record.read_text(encoding='utf-8').split() if target.exists() and record.exists() else []
            if known:  # a record that lost its contents, as when the power fails, is none
                if artefacts.file_checksum(target) != known[0]:
                    raise UserError(f'{target}: differs from what was downloaded ({record.name}); delete it and run '
                                    'again')
                return target
            try:
                checksum = _receive(url, partial)
                record.write_text(f'{checksum}  {target.name}\n', encoding='utf-8')
                os.replace(partial, target)
            finally:
                partial.unlink(missing_ok=True)
    except UserError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(f'{url}: download failed ({" ".join(str(error).split())})') from error
    return target


def _receive(url: str, partial: pathlib.Path) -> str:
    """Writes the body to `partial` and returns its hex SHA-256."""
    name = urllib.parse.urlsplit(url).path.rpartition('/')[2]
    digest, received = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=_TIMEOUT) as response, partial.open('wb') as file:
        announced = response.headers.get('Content-Length')
        total = int(announced) if announced else None
        with Bar(total=total, desc=f'download {name}', unit='B', unit_scale=True, mininterval=0.5) as bar:
            while chunk := response.read(_CHUNK):
                file.write(chunk)
                digest.update(chunk)
                received += len(chunk)
                bar.update(len(chunk))
    if total is not None and received != total:
        raise ValueError(f'{received} of {total} bytes arrived')
    return digest.hexdigest()

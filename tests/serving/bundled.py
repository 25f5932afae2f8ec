"""Bundles of tiny runs, and how to damage them."""

import hashlib
import json
import pathlib

from grasp_jax.serving import assets, bundle


def export(workdir: pathlib.Path, target: pathlib.Path, **more) -> pathlib.Path:
    bundle.write_bundle(assets.open_folder(workdir), target, **more)
    return target


def edit(folder: pathlib.Path, change) -> None:
    """Changes what the manifest says."""
    path = folder / assets.BUNDLE
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def seal(folder: pathlib.Path, name: str, content: bytes) -> None:
    """Puts another file in, and its checksum into the manifest."""
    (folder / name).write_bytes(content)
    facts = {'bytes': len(content), 'sha256': hashlib.sha256(content).hexdigest()}
    edit(folder, lambda manifest: manifest['files'].update({name: facts}))


def files(folder: pathlib.Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob('*') if path.is_file()}

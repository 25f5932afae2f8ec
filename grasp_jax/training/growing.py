"""A run may be given more epochs in the folder that it has: `train.max_epochs` and `train.patience` say where it ends,
not how it gets there, so that it goes on from its last checkpoint and ends as a run that had them from the start.

A folder fits two such numbers where a run with them would have come by all of its epochs. Ranks that were made before
a run went on stay until those of another best epoch take their place; the manifest notes which epoch they are of.
"""

import pathlib
from collections.abc import Sequence
from typing import Any

import ml_collections

from grasp_jax.common import artefacts
from grasp_jax.common.errors import UserError
from grasp_jax.ranking.metrics import COLD_RANKS_FILE, RANKS_FILE
from grasp_jax.training.metrics_log import read_metrics

SETTINGS = ('max_epochs', 'patience')  # of the section `train`
_RANKED = 'ranked_epoch'


def ends_after(values: Sequence[float], max_epochs: int, patience: int) -> int | None:
    """After how many epochs a run with these validation values ends; None where it goes on after the last of them.

    Args:
      values: validation NDCG@10 of the epochs so far.
      max_epochs, patience: as in the config.
    """
    best = None
    for epoch in range(len(values) + 1):
        if epoch >= max_epochs or out_of_patience(epoch, best, patience):
            return epoch
        if epoch < len(values) and (best is None or values[epoch] > values[best]):
            best = epoch
    return None


def out_of_patience(epoch: int, best: int | None, patience: int) -> bool:
    """Whether a run ends before an epoch: its best one, None where there is none yet, lies too far back."""
    return best is not None and epoch - 1 - best >= patience


def is_done(folder: pathlib.Path, config: ml_collections.ConfigDict) -> bool:
    """Whether a claimed folder needs neither training nor ranking.

    Args:
      folder: of a seed, with a manifest that differs from the config in `SETTINGS` at most.
      config: the full config.

    Raises:
      UserError: the folder has more epochs than a run of this config would have, or no checkpoint to go on from.
    """
    manifest, ranked = _manifest(folder), (folder / RANKS_FILE).exists()
    changed = _settings(manifest['config']['train']) != _settings(config.train)
    if not changed and _RANKED not in manifest:
        return ranked
    values = [float(line['valid_ndcg10']) for line in read_metrics(folder)]
    asked = ', '.join(f'train.{name}={config.train[name]}' for name in SETTINGS)
    end = ends_after(values, config.train.max_epochs, config.train.patience)
    if end is not None and end < len(values):
        raise UserError(f'{folder}: holds {len(values)} epochs already, and a run with {asked} ends after {end}; raise '
                        'them, or choose another --workdir for a shorter run')
    if ranked and end is None and not (folder / 'checkpoints' / str(len(values) - 1)).is_dir():
        raise UserError(f'{folder}: has no checkpoint of its last epoch to go on from with {asked}; choose another '
                        '--workdir')
    return ranked and end is not None and manifest.get(_RANKED, _best(values)) == _best(values)


def grow(folder: pathlib.Path, config: ml_collections.ConfigDict) -> None:
    """Notes that a folder for which `is_done` raises nothing belongs to a config from now on."""
    manifest = _manifest(folder)
    before, now = (_settings(section) for section in (manifest['config']['train'], config.train))
    if before == now:
        return
    if (folder / RANKS_FILE).exists() and _RANKED not in manifest:
        manifest[_RANKED] = _best([float(line['valid_ndcg10']) for line in read_metrics(folder)])
    manifest['config']['train'] |= now
    manifest['fingerprint'] = artefacts.fingerprint(manifest['stage'], manifest['config'], manifest['inputs'])
    artefacts.write_json(folder / artefacts.MANIFEST, manifest)


def is_ranked(folder: pathlib.Path, epoch: int) -> bool:
    """Whether the ranks of a folder are of an epoch (from 0)."""
    return (folder / RANKS_FILE).exists() and _manifest(folder).get(_RANKED) == epoch + 1


def forget_best(folder: pathlib.Path) -> None:
    """Drops what is made from the best epoch once and kept, before ranks of another one are written; the lists are
    written with the ranks, and a report is always made anew."""
    (folder / COLD_RANKS_FILE).unlink(missing_ok=True)


def note_ranked(folder: pathlib.Path, epoch: int) -> None:
    """Notes, after the ranks of an epoch (from 0) were written, that they are of it; only of a run that went on."""
    manifest = _manifest(folder)
    if _RANKED in manifest:
        artefacts.write_json(folder / artefacts.MANIFEST, {**manifest, _RANKED: epoch + 1})


def _best(values: Sequence[float]) -> int:
    """The number of the best epoch, from 1, the first of equals; 0 where there is none."""
    return 1 + max(range(len(values)), key=lambda epoch: (values[epoch], -epoch)) if values else 0


def _settings(section: Any) -> dict[str, int]:
    return {name: section[name] for name in SETTINGS if name in section}


def _manifest(folder: pathlib.Path) -> dict[str, Any]:
    found: dict[str, Any] = artefacts.read_json(folder / artefacts.MANIFEST)
    return found

"""Every encoder, one file each; a file that is put here is found by itself."""

import importlib
import pathlib
import pkgutil

import ml_collections

from grasp_jax.common.errors import UserError
from grasp_jax.vectors.encoders.base import ENCODERS, Encoder, Texts, Vectors, register

__all__ = ['ENCODERS', 'Encoder', 'Texts', 'Vectors', 'encoder_of', 'register']

for _module in pkgutil.iter_modules(__path__, f'{__name__}.'):
    importlib.import_module(_module.name)


def encoder_of(config: ml_collections.ConfigDict, answers: pathlib.Path | None = None) -> Encoder:
    """The encoder that a config asks for, nothing loaded yet.

    Args:
      config: the full config; reads `encode.kind`, and what the encoder reads.
      answers: folder in which vectors of models are kept.

    Raises:
      UserError: there is none of this name.

    Example:
      >>> from grasp_jax.config import changed, default
      >>> config = changed(default(), {'encode.kind': 'hashed', 'encode.width': 16})
      >>> found = encoder_of(config).encode(['red pump', 'blue bell', 'red pump'], ['likes pumps'])
      >>> items = found.items[found.item_rows]
      >>> items.shape, np.array_equal(items[0], items[2]), np.array_equal(items[0], items[1])
      ((3, 16), True, False)
    """
    kind = config.encode.kind
    if kind not in ENCODERS:
        raise UserError(f'encode.kind={kind!r} is not known; choose one of {", ".join(sorted(ENCODERS))}')
    return ENCODERS[kind](config, answers)

"""Settings that cannot work are refused before anything is read or made."""

import logging
from collections.abc import Sequence

import ml_collections

from grasp_jax.config.rules import require
from grasp_jax.data import time_split
from grasp_jax.distributed.sharding import make_mesh
from grasp_jax.models.spec import model_spec
from grasp_jax.pipeline.rules import RULES, TEXT_RULES
from grasp_jax.training.deterministic import check_micro_batches

LOG = logging.getLogger(__name__)


def check_config(config: ml_collections.ConfigDict) -> None:
    """Refuses settings that cannot work, before anything is read.

    Raises:
      UserError: names the setting and the remedy.
    """
    require(RULES, config)
    time_split.warn_of_unused_moments(config.data)
    if model_spec(config, num_items=1).uses_vectors:
        require(TEXT_RULES, config)


def check_devices(config: ml_collections.ConfigDict) -> None:
    """Refuses what the devices of this run cannot do, before the stages take their time.

    What fits any devices is let through unseen: JAX takes most of a GPU's memory once it is asked for devices, and a
    text encoder may need it first.

    Raises:
      UserError: names the setting and the remedy.
    """
    shape = tuple(config.train.mesh)
    if shape != (-1, 1) or config.train.micro_batches:
        check_micro_batches(config.train.micro_batches, model_spec(config, num_items=1), make_mesh(shape))


def warn_of_cut_offs(ks: Sequence[int], items: int) -> None:
    """Says which cut-offs of a report lie beyond the catalogue.

    Args:
      ks: `evaluate.ks`.
      items: how many there are.
    """
    beyond = [k for k in ks if k >= items]
    if beyond:
        kept = tuple(k for k in ks if 2 * k <= items) or (1,)
        LOG.warning('evaluate.ks: the catalogue has %s items, so every target is a hit at %s and lists are no '
                    'longer than that; leave such numbers out, as evaluate.ks="%s"', f'{items:,}',
                    ', '.join(map(str, beyond)), str(kept).replace(' ', ''))

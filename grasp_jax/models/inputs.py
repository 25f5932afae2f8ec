"""What a model reads of the data, and users' sequences as it reads them when it ranks."""

from typing import NamedTuple

import jax
from jax.sharding import Mesh

from grasp_jax.batching import batches
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.distributed.sharding import split_rows
from grasp_jax.models.recommender import Inputs
from grasp_jax.models.spec import ModelSpec


class DeviceData(NamedTuple):
    """What a step reads, on the devices.

    Attributes:
      items: int32 [interactions].
      tables: the frozen tables, None without text.
      cumulative: uint32 [m], chances of items 1..m as negatives, see `draws.cumulated`; None: all have the same.
    """

    items: jax.Array
    tables: FrozenVectors | None
    cumulative: jax.Array | None = None


def input_rows(spec: ModelSpec, mesh: Mesh, items: jax.Array, placement: batches.RowPlacement, rows: int,
               width: int | None = None) -> Inputs:
    """Users' inputs as in testing, behind them the mask where the backbone needs one; rows are by default as wide as
    in training."""
    packed = split_rows(batches.pack_rows(items, placement, rows, width or spec.row_width, spec.mask_slots), mesh)
    return Inputs(packed, (packed.items == 0) & (packed.segment > 0), batches.ends(placement, spec.mask_slots))

"""What a training run is made of: config, model, devices and data."""

import dataclasses
import functools
import logging
import pathlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from grasp_jax.batching.sampling import cumulated
from grasp_jax.common.errors import UserError
from grasp_jax.config.rules import require
from grasp_jax.data.interactions import Interactions, Split
from grasp_jax.distributed import processes
from grasp_jax.distributed.frozen_vectors import ROW_MULTIPLE, FrozenVectors
from grasp_jax.distributed.sharding import put_replicated, put_tables, state_shardings, table_mesh
from grasp_jax.distributed.vectors_on_host import HostVectors, fit_on_devices
from grasp_jax.models.inputs import DeviceData
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import model_spec
from grasp_jax.ranking.evaluator import Evaluator
from grasp_jax.ranking.streamed import StreamedEvaluator
from grasp_jax.training.deterministic import check_micro_batches
from grasp_jax.training.recipe import RECIPE_RULES, require_rules_of_host
from grasp_jax.training.state import TrainState, init_state
from grasp_jax.training.train_spec import train_spec

LOG = logging.getLogger(__name__)
TABLES = ('auto', 'device', 'host')
# On a CPU: compiled programs that stay when a run begins. Each holds some 180 memory maps, and a process that comes to
# the 65,530 that Linux grants crashes; a grid adds five or so programs a run.
_PROGRAMS = 150
TABLE_DTYPES = ('', 'float32', 'bfloat16', 'float16')


class PretrainedInputs(NamedTuple):
    """What methods besides GRASP get from the LLM vectors before training.

    Attributes:
      start: [m + 1, H], the items' vectors reduced to H, from which id embeddings start; row 0 is zero.
      similar_users: int32 [n, K], the nearest users of each user, -1 where there is none.
      projection: [E, H], the items' principal components.
    """

    start: np.ndarray | None = None
    similar_users: np.ndarray | None = None
    projection: np.ndarray | None = None


NOT_PRETRAINED = PretrainedInputs()


@dataclasses.dataclass(frozen=True)
class TrainingSetup:
    """Everything that a run needs and does not change.

    Attributes:
      config: the full config.
      model: the recommender.
      mesh: devices.
      data: items and tables on the devices; where tables stay on the host, tables with nothing but padding.
      interactions: all sequences.
      negatives: stored negatives by split.
      host: the tables where they stay on the host, else None.
      pretrained: reduced vectors and similar users, where the method needs them.
      stages: folder of the stages before training; None where the data come from elsewhere.
    """

    config: ml_collections.ConfigDict
    model: Recommender
    mesh: Mesh
    data: DeviceData
    interactions: Interactions
    negatives: dict[str, np.ndarray]
    host: HostVectors | None = None
    pretrained: PretrainedInputs = NOT_PRETRAINED
    stages: pathlib.Path | None = None

    def evaluator(self, split: Split) -> Evaluator | StreamedEvaluator:
        """Ranks the held-out items of 'valid' or 'test'.

        Raises:
          UserError: no user has another candidate, so that no epoch could be picked.
        """
        given = (self.model, self.mesh, self.data, self.interactions, split, self.negatives[split],
                 self.config.evaluate.users_per_batch, self.config.evaluate.max_users, self.config.evaluate.repeats)
        found = Evaluator(*given) if self.host is None else StreamedEvaluator(*given, host=self.host)
        settings = self.config.evaluate
        no_candidates = found.alone[settings.selection_protocol].all() or (
            found.alone['sampled'].all() and not settings.repeats)
        if split == 'valid' and no_candidates:
            raise UserError(f'{self.config.data.name or "the data set"}: none of its {len(found.users):,} evaluated '
                            'users has an item that could stand against the held-out one, as they have every item; '
                            'give more items')
        return found

    def fresh_state(self, seed: int) -> TrainState:
        """An initial state, created where it will live."""
        init = functools.partial(init_state, self.model, train_spec(self.config))
        shapes = self.state_shapes(seed)
        start = self.pretrained.start if self.model.spec.starts_from_text else None
        return jax.jit(init, static_argnums=1, out_shardings=state_shardings(shapes, self.mesh))(
            self.data.tables, seed, start, self.pretrained.projection)

    def state_shapes(self, seed: int) -> TrainState:
        """Shapes of the state, nothing computed."""
        init = functools.partial(init_state, self.model, train_spec(self.config), seed=seed)
        return jax.eval_shape(init, self.data.tables)


def make_training_setup(config: ml_collections.ConfigDict, mesh: Mesh, interactions: Interactions,
                        negatives: dict[str, np.ndarray], tables: FrozenVectors | None,
                        pretrained: PretrainedInputs = NOT_PRETRAINED) -> TrainingSetup:
    """Checks the model section and moves data to the devices.

    Args:
      config: the full config.
      mesh: devices.
      interactions: all sequences.
      negatives: int32 [v, N] for 'valid' and 'test'.
      tables: LLM vectors (may be memory-mapped), None for method 'none'.
      pretrained: reduced vectors and similar users, where the method needs them.

    Raises:
      UserError: settings of the model or the recipe do not go together.
    """
    _forget_programs()
    width = 0 if tables is None else tables.items.shape[1]
    spec = model_spec(config, interactions.num_items, width)
    model = Recommender(dataclasses.replace(spec, table_mesh=table_mesh(mesh)))
    require(RECIPE_RULES, config)
    check_micro_batches(config.train.micro_batches, model.spec, mesh)
    items, cumulative = put_replicated((np.asarray(interactions.items, np.int32), _cumulative(config, interactions)),
                                       mesh)
    if tables is None or not spec.uses_vectors_in_forward:
        return TrainingSetup(config, model, mesh, DeviceData(items, None, cumulative),
                             interactions, negatives, pretrained=pretrained)
    settings, needs_users = config.train, model.spec.uses_user_vectors
    dtype = jnp.dtype(settings.vector_dtype or min(tables.items.dtype, np.dtype(np.float32)))
    where = settings.vector_placement
    if where == 'auto':
        fit = fit_on_devices(tables, mesh, dtype.itemsize, needs_users, keys_kept=spec.gate_scores_are_constant)
        where = 'device' if processes.all_say(fit) else 'host'
    if where == 'device':
        data = DeviceData(items, put_tables(tables, mesh, needs_users, dtype), cumulative)
        return TrainingSetup(config, model, mesh, data, interactions, negatives, pretrained=pretrained)
    require_rules_of_host(config, spec)
    LOG.info('vectors stay on the host; the rows of a chunk of steps travel (train.vector_placement)')
    host = HostVectors(tables, mesh, needs_users, dtype)
    nothing = np.zeros(0, np.int32)
    padding = host.fetch(nothing, nothing, ROW_MULTIPLE, ROW_MULTIPLE)
    return TrainingSetup(config, model, mesh, DeviceData(items, padding, cumulative),
                         interactions, negatives, host, pretrained)


def _forget_programs() -> None:
    """Drops the compiled programs of earlier runs where there are many, as in a grid or a search."""
    device = jax.devices()[0]
    if device.platform == 'cpu' and len(device.client.live_executables()) > _PROGRAMS:
        jax.clear_caches()


def _cumulative(config: ml_collections.ConfigDict, interactions: Interactions) -> np.ndarray | None:
    """Cumulated chances of items as negatives, see `draws.cumulated`; None where all have the same."""
    power = config.train.negative_popularity
    if not power:
        return None
    return cumulated(np.maximum(interactions.train_item_counts()[1:], 1) ** float(power))

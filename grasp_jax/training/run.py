"""What a training run is made of: config, model, devices and data."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
from jax.sharding import Mesh

from grasp_jax.data.interactions import Interactions, Split
from grasp_jax.evaluation.host_ranks import HostEvaluator
from grasp_jax.evaluation.ranks import Evaluator
from grasp_jax.models.recommender import Recommender
from grasp_jax.models.spec import ROW_MULTIPLE, Tables, model_spec
from grasp_jax.training.host_tables import HostTables, fit_on_devices
from grasp_jax.training.sharding import put_replicated, put_tables, state_shardings
from grasp_jax.training.step import Data, TrainState, init_state, train_spec

LOG = logging.getLogger(__name__)
TABLES = ('auto', 'device', 'host')
TABLE_DTYPES = ('', 'float32', 'bfloat16', 'float16')


@dataclasses.dataclass(frozen=True)
class Run:
    """Everything that a run needs and does not change.

    Attributes:
      config: the full config.
      model: the recommender.
      mesh: devices.
      data: items and tables on the devices; where tables stay on the host, tables with nothing but padding.
      interactions: all sequences.
      negatives: stored negatives by split.
      host: the tables where they stay on the host, else None.
    """

    config: ml_collections.ConfigDict
    model: Recommender
    mesh: Mesh
    data: Data
    interactions: Interactions
    negatives: dict[str, np.ndarray]
    host: HostTables | None = None

    def evaluator(self, split: Split) -> Evaluator | HostEvaluator:
        """Ranks the held-out items of 'valid' or 'test'."""
        given = (self.model, self.mesh, self.data, self.interactions, split, self.negatives[split],
                 self.config.evaluate.users_per_batch)
        return Evaluator(*given) if self.host is None else HostEvaluator(*given, host=self.host)

    def fresh_state(self, seed: int) -> TrainState:
        """An initial state, created where it will live."""
        init = functools.partial(init_state, self.model, train_spec(self.config))
        shapes = self.state_shapes(seed)
        return jax.jit(init, static_argnums=1, out_shardings=state_shardings(shapes, self.mesh))(
            self.data.tables, seed)

    def state_shapes(self, seed: int) -> TrainState:
        """Shapes of the state, nothing computed."""
        init = functools.partial(init_state, self.model, train_spec(self.config), seed=seed)
        return jax.eval_shape(init, self.data.tables)


def make_run(config: ml_collections.ConfigDict, mesh: Mesh, interactions: Interactions,
             negatives: dict[str, np.ndarray], tables: Tables | None) -> Run:
    """Checks the model section and moves data to the devices.

    Args:
      config: the full config.
      mesh: devices.
      interactions: all sequences.
      negatives: int32 [v, N] for 'valid' and 'test'.
      tables: LLM vectors (may be memory-mapped), None for method 'none'.
    """
    width = 0 if tables is None else tables.items.shape[1]
    model = Recommender(model_spec(config, interactions.num_items, width))
    items = put_replicated(np.asarray(interactions.items, np.int32), mesh)
    if tables is None:
        return Run(config, model, mesh, Data(items, None), interactions, negatives)
    settings, needs_users = config.train, model.spec.reads_users
    dtype = jnp.dtype(settings.table_dtype or min(tables.items.dtype, np.dtype(np.float32)))
    where = settings.tables
    if where == 'auto':
        where = 'device' if fit_on_devices(tables, mesh, dtype.itemsize, needs_users) else 'host'
    if where == 'device':
        return Run(config, model, mesh, Data(items, put_tables(tables, mesh, needs_users, dtype)), interactions,
                   negatives)
    LOG.info('vectors stay on the host; the rows of a chunk of steps travel (config.train.tables)')
    host = HostTables(tables, mesh, needs_users, dtype)
    nothing = np.zeros(0, np.int32)
    padding = host.fetch(nothing, nothing, ROW_MULTIPLE, ROW_MULTIPLE)
    return Run(config, model, mesh, Data(items, padding), interactions, negatives, host)

"""Parts of a training step by themselves: the batch, the item encoder, the backbone, the optimiser."""

import functools
import statistics
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from grasp_jax.batching import batches
from grasp_jax.benchmark import timing
from grasp_jax.benchmark.reference import Reference
from grasp_jax.distributed.frozen_vectors import padded_rows
from grasp_jax.models.recommender import Recommender
from grasp_jax.training.batch import draw_samples
from grasp_jax.training.epochs import Epochs
from grasp_jax.training.optimizer import make_optimizer
from grasp_jax.training.state import TrainState
from grasp_jax.training.train_spec import train_spec
from grasp_jax.training.training_setup import TrainingSetup

_REPEATS = 5  # a call runs a part so often, as parts are short


def measure(run: TrainingSetup, epochs: Epochs, state: TrainState,
            reference: Reference | None, rounds: int) -> dict[str, Any]:
    """Median seconds of each part, ours and the reference's; of our E-wide work also the rate it reaches."""
    result: dict[str, Any] = {}
    theirs = reference.parts() if reference is not None else {}
    product, product_flops = timing.matmul()
    wide = run.model.spec.gated and run.model.spec.gate_space == 'llm'
    for name, program in _ours(run, epochs, state).items():
        programs: dict[str, Callable[[], Any]] = {'grasp_jax': functools.partial(_repeat, program)}
        if name in theirs:
            programs['pytorch'] = theirs[name]
        if wide and name == 'item encoder':  # in turns as well: other work on the machine slows both
            programs['matmul'] = product
        seconds = timing.alternate(programs, rounds, label=name)
        result[name] = {'grasp_jax_s': statistics.median(seconds['grasp_jax']) / _REPEATS}
        if name in theirs:
            result[name] |= {'pytorch_s': statistics.median(seconds['pytorch'])}
            result[name]['ratio'] = result[name]['pytorch_s'] / result[name]['grasp_jax_s']
        if 'matmul' in programs:
            flops = wide_flops(run, epochs.shape)
            result[name] |= {'flops': flops, 'flops_per_s': flops / result[name]['grasp_jax_s'],
                             'matmul_flops_per_s': product_flops / statistics.median(seconds['matmul'])}
    return result


def _repeat(program: Callable[[], Any]) -> None:
    for _ in range(_REPEATS):
        program()


def wide_flops(run: TrainingSetup, shape: batches.BatchSizes) -> int:
    """Floating-point operations of the E-wide products of a step: the first layer of Eq. 5's MLP over inputs and
    negatives, forward and for the gradient of its kernel."""
    spec = run.model.spec
    positions = shape.rows * spec.row_width
    drawn = shape.groups * shape.targets or positions
    return 2 * (positions + drawn) * 4 * spec.llm_width * spec.fusion_size * 2


def _ours(run: TrainingSetup, epochs: Epochs, state: TrainState) -> dict[str, Any]:
    spec, settings, data, shape = run.model.spec, train_spec(run.config), run.data, epochs.shape
    placement = jax.tree.map(lambda field: jnp.asarray(field[0]), epochs.plan(0).placement)

    @jax.jit
    def batch(items: jax.Array, key: jax.Array) -> Any:
        packed = batches.pack_rows(items, placement, shape.rows, spec.row_width)
        return packed, draw_samples(run.model, settings, shape, packed, key)[0]

    packed, drawn = batch(data.items, jax.random.key(0))
    if run.host is not None:  # rows of this batch, as a chunk of training has them
        ids = np.concatenate([np.ravel(packed.items), np.ravel(drawn.negatives)])
        users = np.asarray(placement.user)
        data = data._replace(tables=run.host.fetch(ids, users, padded_rows(len(ids) + 1), padded_rows(len(users))))

    def represent(model: Recommender, tables: Any) -> Any:
        """All that is done with items: the inputs of the backbone and the features of what is scored."""
        inputs, features, context = model.represent_rows(tables, placement.user, packed, drawn.masked)
        return inputs, model.target_features(tables, features, context, drawn)

    @jax.jit
    def item_encoder(params: Any, tables: Any) -> Any:
        out, backward = jax.vjp(lambda now: run.model.apply({'params': now}, tables, method=represent), params)
        return backward(jax.tree.map(lambda field: field + 1, out))

    @jax.jit
    def backbone(params: Any, inputs: jax.Array, key: jax.Array) -> Any:
        def forward(params: Any, inputs: jax.Array) -> Any:
            return run.model.apply({'params': params}, inputs, packed, train=True, rngs={'dropout': key},
                                   method=Recommender.run_backbone)
        out, backward = jax.vjp(forward, params, inputs)
        return backward(out + 1)

    @jax.jit
    def optimizer(state: TrainState, gradients: Any) -> Any:
        updates, moments = make_optimizer(settings).update(gradients, state.optimizer, state.params)
        return optax.apply_updates(state.params, updates), moments

    inputs = jax.random.normal(jax.random.key(1), (*packed.items.shape, spec.all_views * spec.hidden_size))
    gradients = jax.tree.map(jnp.ones_like, state.params)
    arguments: dict[str, tuple[Any, tuple[Any, ...]]] = {
        'batch': (batch, (data.items, jax.random.key(0))), 'item encoder': (item_encoder, (state.params, data.tables)),
        'backbone': (backbone, (state.params, inputs, jax.random.key(2))), 'optimizer': (optimizer, (state, gradients))}
    return {name: lambda call=call, given=given: jax.block_until_ready(call(*given))
            for name, (call, given) in arguments.items()}

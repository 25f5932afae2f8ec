"""A recommender: an item encoder feeds a backbone, and its states score items of the same encoder."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from grasp_jax.batching.batches import LastPositions, PackedRows, same_user
from grasp_jax.batching.sampling import StepSamples
from grasp_jax.distributed.frozen_vectors import FrozenVectors
from grasp_jax.models.attention import row_dot
from grasp_jax.models.bert4rec import BERT4Rec
from grasp_jax.models.gru4rec import GRU4Rec
from grasp_jax.models.item_encoders import EMBEDDING_INIT, GatedItemEncoder, ItemEncoder
from grasp_jax.models.sasrec import SASRec
from grasp_jax.models.spec import ModelSpec
from grasp_jax.models.user_context import NO_GATES, Context
from grasp_jax.models.views import stack_views, unstack_views

BACKBONES = {'sasrec': SASRec, 'gru4rec': GRU4Rec, 'bert4rec': BERT4Rec}


class Encoded(NamedTuple):
    """What a forward pass leaves for scoring, for every position.

    Attributes:
      states: [R, W, H], user representations o of Eq. 6; V * H wide where items have V views.
      item_features: of the rows' items, [R, W, ?], as `ItemEncoder.encode_items` gives them.
      context: what the gates see of the user at each position.
    """

    states: jax.Array
    item_features: Any
    context: Context


class Inputs(NamedTuple):
    """Users' inputs as in testing.

    Attributes:
      packed: their sequences.
      masked: bool [R, W], the mask behind each sequence where the backbone needs one.
      ends: fields [B], where their last states are.
    """

    packed: PackedRows
    masked: jax.Array
    ends: LastPositions


class AuxiliaryInputs(NamedTuple):
    """What a method's own loss may read.

    Attributes:
      tables: frozen LLM vectors; None for a method without.
      users: int32 [B].
      packed: the batch's rows.
      masked: bool [R, W], items that the model did not see.
      encoded: of the batch's rows.
      last: where in `encoded` the states are that users are ranked by; the sequences to find them with where the
        batch's rows do not have them, as those of BERT4Rec, in which other items are hidden.
      similar: K similar users of each user by the width of their rows, where the method uses such.
    """

    tables: FrozenVectors | None
    users: jax.Array
    packed: PackedRows
    masked: jax.Array
    encoded: Encoded
    last: LastPositions | Inputs
    similar: tuple[Inputs, ...] = ()


VIEW_WEIGHTS = 'view_weights'  # among parameters that rank


class Recommender(nn.Module):
    """Item encoder + backbone + scoring."""

    spec: ModelSpec

    def setup(self) -> None:
        """Makes the parameters."""
        self.encoder: ItemEncoder = self.spec.facts.item_encoder(self.spec)
        self.backbone = BACKBONES[self.spec.backbone](self.spec)
        for name, module in self.spec.facts.modules(self.spec).items():
            setattr(self, name, module)
        if self.spec.masks_inputs:
            self.mask_vector = self.param('mask_vector', EMBEDDING_INIT, (self.spec.num_views * self.spec.hidden_size,))

    def __call__(self, tables: FrozenVectors | None, users: jax.Array, packed: PackedRows, masked: jax.Array, *,
                 train: bool) -> Encoded:
        """Encodes packed rows.

        Args:
          tables: frozen LLM vectors; None for method 'none'.
          users: int32 [B].
          packed: the batch's rows.
          masked: bool [R, W], items that the model must not see (see `ModelSpec.masks_inputs`).
          train: whether dropout is on.
        """
        inputs, item_features, context = self.represent_rows(tables, users, packed, masked, train=train)
        return Encoded(self.run_backbone(inputs, packed, train=train), item_features, context)

    def init_all(self, tables: FrozenVectors | None, users: jax.Array, packed: PackedRows, masked: jax.Array) -> None:
        """Runs everything that has parameters once, also what training alone needs; arguments as in `__call__`."""
        encoded = self(tables, users, packed, masked, train=False)
        if self.spec.facts.default_auxiliary_weight:
            zeros = jnp.zeros_like(users)
            ends = LastPositions(zeros, zeros, jnp.ones_like(users))
            self._auxiliary_loss(AuxiliaryInputs(tables, users, packed, masked, encoded, ends,
                                                 (Inputs(packed, masked, ends),)))

    def run_backbone(self, inputs: jax.Array, packed: PackedRows, *, train: bool,
                     ends: LastPositions | None = None) -> jax.Array:
        """Item representations [R, W, H] of packed rows -> states [R, W, H], or [B, H] at `ends` alone."""
        own = same_user(packed.segment)
        visible = own & _past(own) if self.spec.causal else own  # padding sees nothing
        if not self.spec.facts.further_views:
            return self._backbone_states(inputs, packed, visible, train, ends)
        inputs, further = jnp.split(inputs, [self.spec.num_views * self.spec.hidden_size], -1)
        states = self._backbone_states(inputs, packed, visible, train, ends)
        further = self.spec.facts.further_states(self, further, packed.position, visible)
        return self._weighed(jnp.concatenate([states, further if ends is None else ends.pick(further)], -1))

    def _weighed(self, states: jax.Array) -> jax.Array:
        """States [..., V * H] by the weights of views [V], which parameters hold that rank (`view_weights.weighed`)."""
        if not self.has_variable('params', VIEW_WEIGHTS):
            return states
        weights: jax.Array = self.get_variable('params', VIEW_WEIGHTS)
        each = jnp.repeat(weights, self.spec.hidden_size)
        return states * jnp.broadcast_to(each, states.shape)

    def _backbone_states(self, inputs: jax.Array, packed: PackedRows, visible: jax.Array, train: bool,
                         ends: LastPositions | None) -> jax.Array:
        """As `run_backbone`, of the views that the backbone encodes, one at a time."""
        inputs = self.spec.facts.before_backbone(self, inputs, packed.position, visible, train=train)
        if self.spec.num_views == 1:
            return self.backbone(inputs, packed.position, visible, train=train, pick=ends and ends.pick)
        stacked = stack_views(inputs)
        position, visible = (jnp.repeat(field, 2, axis=0) for field in (packed.position, visible))
        if ends is None:
            return unstack_views(self.backbone(stacked, position, visible, train=train))

        def pick(states: jax.Array) -> jax.Array:
            return jnp.stack([ends._replace(row=2 * ends.row + view).pick(states) for view in range(2)], 1)

        return self.backbone(stacked, position, visible, train=train, pick=pick).reshape(ends.row.shape[0], -1)

    def represent_rows(self, tables: FrozenVectors | None, users: jax.Array, packed: PackedRows, masked: jax.Array, *,
                       train: bool = False) -> tuple[jax.Array, Any, Context]:
        """All that is done with the items of the rows before the backbone; arguments as in `__call__`.

        Returns:
          the backbone's inputs [R, W, H], and `item_features` and `context` as in `Encoded`.
        """
        seen, _ = self._visible(packed, masked)
        looked_up = self.encoder.look_up(tables, packed.items, self.spec.table_mesh)
        item_features = self.encoder.encode_items(looked_up)
        context = self.encoder.context(tables, users, looked_up, packed.segment, seen, train)
        return self._inputs(context, item_features, packed, masked), item_features, context

    def row_scores(self, tables: FrozenVectors, users: jax.Array,
                   packed: PackedRows, masked: jax.Array) -> tuple[jax.Array, Context]:
        """The arguments of the gates for the rows' items [R, W, 3], and `context` of `Encoded`; dropout off."""
        _, item_features, context = self.represent_rows(tables, users, packed, masked)
        return self.gated_encoder.level_scores(context, item_features), context

    def known_states(self, item_features: Any, context: Context, packed: PackedRows, masked: jax.Array) -> jax.Array:
        """States [R, W, H], dropout off, where the features of the rows' items are known and, with gates, their
        `row_scores` (in `context.gate_scores`)."""
        return self.run_backbone(self._inputs(context, item_features, packed, masked), packed, train=False)

    def _inputs(self, context: Context, item_features: Any, packed: PackedRows, masked: jax.Array) -> jax.Array:
        """What the backbone reads, [R, W, H]."""
        together = self._visible(packed, masked)[1]
        inputs = self.encoder.represent(self.encoder.pair_features(context, item_features, together))
        if self.spec.masks_inputs:
            hidden = jnp.pad(self.mask_vector, (0, self.spec.facts.further_views * self.spec.hidden_size))
            inputs = jnp.where(masked[..., None], hidden[None, None], inputs)
        return inputs

    def _visible(self, packed: PackedRows, masked: jax.Array) -> tuple[jax.Array, jax.Array]:
        """bool [R, W, W]: the items that a position has seen so far, and those that its own is looked at with."""
        own = same_user(packed.segment)
        there = own & ((packed.items > 0) & ~masked)[:, None, :]
        seen = there & _past(own)
        return seen, seen if self.spec.causal else there

    def score_targets(self, tables: FrozenVectors | None, encoded: Encoded, drawn: StepSamples) -> jax.Array:
        """Scores the true item and the negatives of every position that is to be predicted.

        The true item is the next one of the row (causal) or the hidden one at the position (BERT4Rec).

        Args:
          tables: as in `__call__`.
          encoded: of the batch's rows.
          drawn: what was drawn for this batch; negatives [G, T, N] for each target, or [N] that all targets share.

        Returns:
          [G, T, 1 + N], the true item first; meaningless where a target does not exist.
        """
        states = drawn.targets.pick(encoded.states)
        if drawn.negatives.ndim > 1:
            return self._dot(states, *self.target_features(tables, encoded.item_features, encoded.context, drawn))
        context, true = self._true_items(encoded.item_features, encoded.context, drawn)
        query, offset = self.encoder.fold(states)
        positive = row_dot(query, self.encoder.pair_features(context, true))
        catalogue = self.catalogue(tables, drawn.negatives)

        def of_group(query: jax.Array, context: Context) -> jax.Array:
            return self.encoder.score_all(query, context, catalogue)

        # Group by group, not position by position: a loop over what lies on several devices could not be split.
        shared = jax.vmap(of_group)(query, context)
        return jnp.concatenate([positive[..., None], shared], -1) + offset[..., None]

    def softmax_terms(self, tables: FrozenVectors | None, encoded: Encoded, drawn: StepSamples,
                      dtype: str = 'float32') -> tuple[jax.Array, jax.Array]:
        """What a softmax over the whole catalogue needs, where items look alike to every user.

        Args:
          tables, encoded, drawn: as in `score_targets`.
          dtype: of factors in the products of the whole catalogue, as in `products.product`.

        Returns:
          states [G, T, H] and representations of items 1..m, [m, H]: not folded, as every item meets every state and
          features are wider.
        """
        everything = self.catalogue(tables, jnp.arange(1, self.spec.num_items + 1), dtype)
        items = self.encoder.represent(self.encoder.pair_features(NO_GATES, everything), dtype)
        return drawn.targets.pick(encoded.states), items

    def auxiliary(self, tables: FrozenVectors | None, users: jax.Array, packed: PackedRows, drawn: StepSamples,
                  encoded: Encoded, last: LastPositions | Inputs, similar: tuple[Inputs, ...]) -> jax.Array:
        """The method's own loss, not weighted; zero where it has none.

        Args:
          tables, users, packed: as in `__call__`.
          drawn: what was drawn for the batch.
          encoded: of the batch's rows.
          last, similar: as in `AuxiliaryInputs`.
        """
        if not self.spec.facts.default_auxiliary_weight:
            return jnp.zeros(())
        return self._auxiliary_loss(AuxiliaryInputs(tables, users, packed, drawn.masked, encoded, last, similar))

    def _auxiliary_loss(self, inputs: AuxiliaryInputs) -> jax.Array:
        return self.spec.facts.auxiliary_loss(self, inputs)

    def users_last_states(self, inputs: AuxiliaryInputs) -> tuple[jax.Array, jax.Array]:
        """States [B, ?] that the batch's users are ranked by, and int32 [B], 1 where there is such a user."""
        if isinstance(inputs.last, Inputs):
            return self.last_states(inputs.tables, inputs.last, train=True), inputs.last.ends.exist
        return inputs.last.pick(inputs.encoded.states), inputs.last.exist

    def last_states(self, tables: FrozenVectors | None, sequences: Inputs, *, train: bool) -> jax.Array:
        """States [B, ?] behind sequences, for methods whose items look alike to every user."""
        nobody = jnp.zeros(len(sequences.ends.row), jnp.int32)
        inputs, _, _ = self.represent_rows(tables, nobody, sequences.packed, sequences.masked, train=train)
        return self.run_backbone(inputs, sequences.packed, train=train, ends=sequences.ends)

    def _true_items(self, item_features: Any, context: Context, drawn: StepSamples) -> tuple[Context, Any]:
        """Contexts and features of the true items at the targets, [G, T, ?]."""
        if self.spec.causal:
            # The barrier makes it one copy; else every use shifts the E-wide rows anew.
            later = jax.tree.map(lambda field: jnp.roll(field, -1, axis=1), item_features)
            item_features = jax.lax.optimization_barrier(later)
        context, true = jax.tree.map(drawn.targets.pick, (context, item_features))
        return context, true

    def target_features(self, tables: FrozenVectors | None, item_features: Any, context: Context,
                        drawn: StepSamples) -> tuple[jax.Array, jax.Array]:
        """Features of the true item [G, T, 1, F] and of the negatives [G, T, N, F] of each target.

        `item_features` and `context` are those of `Encoded`, the others as in `score_targets`.
        """
        context, true = self._true_items(item_features, context, drawn)
        negatives = self.encoder.encode_items(self.encoder.look_up(tables, drawn.negatives, self.spec.table_mesh))
        return self.encoder.joined_features(context, true, negatives)

    def score(self, states: jax.Array, context: Context, item_features: Any,
              exist: jax.Array | None = None) -> jax.Array:
        """Scores N candidates of each state: states [..., H], context [..., ?], item_features [..., N, ?] -> [..., N].

        `exist`, bool [..., N], says which candidates there are (the softmax gate counts them).
        """
        return self._dot(states, self.encoder.pair_features(context.for_candidates(), item_features, exist))

    def score_all(self, states: jax.Array, context: Context, item_features: Any) -> jax.Array:
        """Scores every item for each of B states: states [B, H], item_features [N, ?] -> [B, N]."""
        query, offset = self.encoder.fold(states)
        return self.encoder.score_all(query, context, item_features) + offset[:, None]

    def log_normaliser(self, context: Context, item_features: Any, counted: jax.Array) -> jax.Array:
        """What a softmax gate over N items divides by: contexts [B, ?], counted bool [B, N] -> [B, 3]."""
        return self.gated_encoder.log_normaliser(context, item_features, counted)

    def gate_scores(self, tables: FrozenVectors, context: Context, ids: jax.Array) -> jax.Array:
        """The arguments of the gates for N candidates each: context [..., ?], ids [..., N] -> [..., N, 3]."""
        return self.gated_encoder.level_scores(context.for_candidates(), self.catalogue(tables, ids))

    def catalogue(self, tables: FrozenVectors | None, ids: jax.Array, dtype: str = 'float32') -> Any:
        """The item encoder's work on `ids`, shared by all users that are scored; `dtype` as in `products.product`."""
        return self.encoder.encode_items(self.encoder.look_up(tables, ids), dtype)

    def stored_catalogue(self, tables: FrozenVectors | None, ids: jax.Array) -> Any:
        """As `catalogue`, for keeping: what is as wide as the vectors is in the type of their table."""
        return self.encoder.stored(self.catalogue(tables, ids), None if tables is None else tables.items.dtype)

    @property
    def gated_encoder(self) -> GatedItemEncoder:
        """The item encoder, of a method with gates."""
        assert isinstance(self.encoder, GatedItemEncoder), f'method {self.spec.method} has no gates'
        return self.encoder

    def _dot(self, states: jax.Array, *features: jax.Array) -> jax.Array:
        query, offset = self.encoder.fold(states)
        scores = [row_dot(jnp.broadcast_to(query[..., None, :], some.shape), some) for some in features]
        return jnp.concatenate(scores, -1) + offset[..., None]


def _past(own: jax.Array) -> jax.Array:
    """bool [1, W, W]: which positions are not later, for same-user masks [R, W, W]."""
    return jnp.tril(jnp.ones(own.shape[1:], bool))[None]

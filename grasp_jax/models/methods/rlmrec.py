"""RLMRec (Ren et al., Representation Learning with Large Language Models for Recommendation, WWW 2024), for sequences.

RLMRec ties what a graph model learned of users and items to their LLM vectors. A sequence model has no embedding of a
user; the state at the end of a sequence takes its place, and the id embedding is that of an item.

contrastive: LLM vectors go through an MLP down to H, and InfoNCE makes each user and item recognise its own.
generative: some items of the sequence are hidden, and the states at their places, sent through an MLP up to E, must
recognise the LLM vectors of what is hidden. (BERT4Rec hides items anyway.)
"""

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
from flax import linen as nn

from grasp_jax.models.item_encoders import IdEncoder, text_rows
from grasp_jax.models.losses import NEVER
from grasp_jax.models.methods.base import Method
from grasp_jax.models.spec import ModelSpec

if TYPE_CHECKING:
    from grasp_jax.models.recommender import AuxiliaryInputs, Recommender

# Share of items that the generative form hides from a causal model.
HIDDEN_SHARE = 0.1


class Adapter(nn.Module):
    """Two dense layers with half-way width, as in RLMRec's public code.

    Attributes:
      width: of what comes out.
    """

    width: int

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        """[..., ?] -> [..., width]."""
        hidden = nn.Dense((inputs.shape[-1] + self.width) // 2)(inputs)
        return nn.Dense(self.width)(nn.leaky_relu(hidden))


class Alignment(nn.Module):
    """The adapters of one of the two forms, and its loss."""

    spec: ModelSpec

    def setup(self) -> None:
        """Makes the parameters."""
        if self.spec.alignment == 'contrastive':
            self.of_items = Adapter(self.spec.hidden_size)
            self.of_users = Adapter(self.spec.hidden_size)
        else:
            self.of_states = Adapter(self.spec.llm_width)

    def contrastive(self, embeddings: jax.Array, item_vectors: jax.Array, ids: jax.Array, states: jax.Array,
                    user_vectors: jax.Array, user_mask: jax.Array) -> jax.Array:
        """The sum of both InfoNCE losses.

        Args:
          embeddings: [P, H] of the batch's items.
          item_vectors: [P, E] of the same items.
          ids: int32 [P], which items they are; 0 is none.
          states: [B, H] of the batch's users.
          user_vectors: [B, E] of the same users.
          user_mask: bool [B].
        """
        temperature = self.spec.aux_loss_temperature
        # An item that stands in the batch several times is no negative of itself.
        others = (ids[:, None] != ids[None]) & (ids > 0)[None]
        apart = ~jnp.eye(len(states), dtype=bool) & user_mask[None]
        return (info_nce(embeddings, self.of_items(item_vectors), others, ids > 0, temperature)
                + info_nce(states, self.of_users(user_vectors), apart, user_mask, temperature))

    def generative(self, states: jax.Array, item_vectors: jax.Array, ids: jax.Array, hidden: jax.Array) -> jax.Array:
        """States recognise what is hidden at their place.

        Args:
          states: [P, H].
          item_vectors: [P, E], of the items at the same places.
          ids: int32 [P], which items they are; 0 is none.
          hidden: bool [P], places whose item the model did not see.
        """
        others = (ids[:, None] != ids[None]) & (ids > 0)[None]
        return info_nce(self.of_states(states), item_vectors, others, hidden & (ids > 0),
                        self.spec.aux_loss_temperature)


def info_nce(queries: jax.Array, keys: jax.Array, others: jax.Array,
             row_mask: jax.Array, temperature: float) -> jax.Array:
    """Mean over rows of -log(exp(s_ii) / (exp(s_ii) + sum over others of exp(s_ij))), s = cosine / temperature.

    Args:
      queries: [P, D].
      keys: [P, D], row i belongs to row i of the queries.
      others: bool [P, P], which keys are negatives of a row.
      row_mask: bool [P], rows that count.
      temperature: the temperature.

    Returns:
      scalar; 0 where no row counts.
    """
    scores = unit(queries) @ unit(keys).T / temperature
    itself = jnp.eye(len(scores), dtype=bool)
    among = jax.nn.logsumexp(jnp.where(others | itself, scores, NEVER), axis=-1)
    losses = (among - jnp.diagonal(scores)) * row_mask
    return jnp.sum(losses) / jnp.maximum(jnp.sum(row_mask), 1)


def unit(vectors: jax.Array) -> jax.Array:
    """[..., D] at length 1; zero stays zero, with a gradient of zero."""
    square = jnp.sum(vectors ** 2, -1, keepdims=True)
    return vectors * jnp.where(square > 1e-12, jax.lax.rsqrt(jnp.maximum(square, 1e-12)), 0.0)


class RLMRec(Method):
    """Id embeddings, and a loss that ties them and the users' states to LLM vectors."""

    name = 'rlmrec'
    label = 'RLMRec'
    uses_vectors = uses_vectors_in_forward = True
    training_modules = ('alignment',)
    default_auxiliary_weight = 0.01
    settings = ('alignment',)

    def trains_with_user_vectors(self, spec: ModelSpec) -> bool:
        """In the contrastive form, which aligns users too."""
        return spec.alignment == 'contrastive'

    def trains_with_last_states(self, spec: ModelSpec) -> bool:
        """In the contrastive form, where they stand for the users."""
        return spec.alignment == 'contrastive'

    def hidden_share(self, spec: ModelSpec) -> float:
        """In the generative form."""
        return HIDDEN_SHARE if spec.alignment == 'generative' else 0.0

    def item_encoder(self, spec: ModelSpec) -> IdEncoder:
        """Makes the item encoder."""
        return IdEncoder(spec)

    def modules(self, spec: ModelSpec) -> dict[str, nn.Module]:
        """The adapters."""
        return {'alignment': Alignment(spec)}

    def auxiliary_loss(self, model: 'Recommender', inputs: 'AuxiliaryInputs') -> jax.Array:
        """The loss of `Alignment`, over all items of the batch."""
        def flat(field: jax.Array) -> jax.Array:
            return field.reshape(inputs.packed.items.size, -1)

        tables, items = inputs.tables, inputs.packed.items
        assert tables is not None, 'RLMRec needs LLM vectors'
        ids, vectors = items.reshape(-1), flat(text_rows(tables.items, tables.item_slots, items))
        alignment: Alignment = model.alignment
        if model.spec.alignment == 'generative':
            return alignment.generative(flat(inputs.encoded.states), vectors, ids, inputs.masked.reshape(-1))
        states, there = model.users_last_states(inputs)
        people = text_rows(tables.users, tables.user_slots, inputs.users)
        return alignment.contrastive(flat(inputs.encoded.item_features), vectors, ids, states, people, there > 0)


METHOD = RLMRec()

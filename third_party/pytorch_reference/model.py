"""GRASP and its backbones in plain PyTorch: padded batches and the equations as the paper prints them.

The opponent of every benchmark and the other side of the parity tests. Shapes: B users, L padded positions, N items,
E width of the LLM vectors, H hidden size, F width between the two layers of Eq. 5's MLP.
"""

from typing import Any

import torch
from torch import nn
from torch.nn import functional


class SelfAttention(nn.Module):
    """Multi-head attention; `visible` (bool, broadcast to [B, heads, L, L]) None means causal."""

    def __init__(self, width: int, num_heads: int, dropout: float):
        super().__init__()
        self.num_heads, self.dropout = num_heads, dropout
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, visible: torch.Tensor | None) -> torch.Tensor:
        """queries, keys [B, L, H] -> [B, L, H]."""
        def heads(inputs: torch.Tensor) -> torch.Tensor:
            return inputs.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

        mixed = functional.scaled_dot_product_attention(
            heads(self.query(queries)), heads(self.key(keys)), heads(self.value(keys)), attn_mask=visible,
            is_causal=visible is None, dropout_p=self.dropout if self.training else 0.0)
        return self.out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Sequential):
    """H -> inner -> H, dropout after each layer."""

    def __init__(self, width: int, inner: int, activation: nn.Module, dropout: float):
        super().__init__(nn.Linear(width, inner), activation, nn.Dropout(dropout), nn.Linear(inner, width),
                         nn.Dropout(dropout))


class Block(nn.Module):
    """One transformer block: attention and feed-forward with a LayerNorm before each."""

    def __init__(self, spec: Any, inner: int, activation: nn.Module):
        super().__init__()
        self.attention_norm, self.forward_norm = (nn.LayerNorm(spec.hidden_size, eps=1e-6) for _ in range(2))
        self.attention = SelfAttention(spec.hidden_size, spec.num_heads, spec.dropout)
        self.feed_forward = FeedForward(spec.hidden_size, inner, activation, spec.dropout)
        self.dropout = nn.Dropout(spec.dropout)


class Transformer(nn.Module):
    """What SASRec and BERT4Rec have in common: places, blocks and a last LayerNorm."""

    def __init__(self, spec: Any, inner: int, activation: nn.Module):
        super().__init__()
        self.position = nn.Embedding(spec.max_length + 1, spec.hidden_size)
        nn.init.normal_(self.position.weight, std=0.02)
        self.dropout = nn.Dropout(spec.dropout)
        self.blocks = nn.ModuleList(Block(spec, inner, activation) for _ in range(spec.num_layers))
        self.norm = nn.LayerNorm(spec.hidden_size, eps=1e-6)


class SASRec(Transformer):
    """Kang and McAuley, ICDM 2018. Sequences are padded on the right, so a causal mask also hides the padding."""

    def __init__(self, spec: Any):
        super().__init__(spec, spec.hidden_size, nn.ReLU())
        self.scale = spec.hidden_size ** 0.5

    def forward(self, inputs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """inputs [B, L, H], valid bool [B, L] -> [B, L, H]."""
        states = self.dropout(inputs * self.scale + self.position.weight[:inputs.shape[1]])
        for block in self.blocks:
            queries = block.attention_norm(states)
            states = queries + block.attention(queries, states, None)
            normed = block.forward_norm(states)
            states = normed + block.feed_forward(normed)
        return self.norm(states)


class BERT4Rec(Transformer):
    """Sun et al., CIKM 2019."""

    def __init__(self, spec: Any):
        super().__init__(spec, 4 * spec.hidden_size, nn.GELU(approximate='tanh'))
        self.input_norm = nn.LayerNorm(spec.hidden_size, eps=1e-6)

    def forward(self, inputs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """inputs [B, L, H], valid bool [B, L] -> [B, L, H]."""
        states = self.dropout(self.input_norm(inputs + self.position.weight[:inputs.shape[1]]))
        visible = valid[:, None, None]
        for block in self.blocks:
            normed = block.attention_norm(states)
            states = states + block.dropout(block.attention(normed, normed, visible))
            states = states + block.feed_forward(block.forward_norm(states))
        return self.norm(states)


class GRU4Rec(nn.Module):
    """Hidasi et al., ICLR 2016: recurrent layers with dropout between them, and a dense layer."""

    def __init__(self, spec: Any):
        super().__init__()
        between = spec.dropout if spec.num_layers > 1 else 0.0
        self.gru = nn.GRU(spec.hidden_size, spec.hidden_size, spec.num_layers, batch_first=True, dropout=between)
        self.out = nn.Linear(spec.hidden_size, spec.hidden_size)
        # nn.GRU has two biases for the reset and the update gate where one is enough: the second stays zero.
        for layer in range(spec.num_layers):
            bias = getattr(self.gru, f'bias_hh_l{layer}')
            bias.data = _of_candidate(bias.data)
            bias.register_hook(_of_candidate)

    def forward(self, inputs: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """inputs [B, L, H] -> [B, L, H]."""
        return self.out(self.gru(inputs)[0])


def _of_candidate(bias: torch.Tensor) -> torch.Tensor:
    """A bias [3H] of nn.GRU, or its gradient, with zeros for the reset and the update gate; on whichever device."""
    gates, candidate = bias.split([2 * len(bias) // 3, len(bias) // 3])
    return torch.cat([torch.zeros_like(gates), candidate])


class IdEncoder(nn.Module):
    """A trained embedding per item, the same for every user."""

    def __init__(self, spec: Any):
        super().__init__()
        self.embedding = nn.Embedding(spec.vocabulary, spec.hidden_size)
        nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """users (not needed) and items [...] -> [..., H]."""
        return self.embedding(items)


def attention(query: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Eq. 3: A(q, v) = sigmoid(q v^T / sqrt(d)) v, for [..., d]."""
    score = (query * value).sum(-1, keepdim=True) / query.shape[-1] ** 0.5
    return torch.sigmoid(score) * value


class GraspEncoder(nn.Module):
    """Eq. 4 and 5 as printed, from frozen tables of LLM vectors."""

    def __init__(self, spec: Any, tables: Any):
        super().__init__()
        for name in ('users', 'users_similar', 'items', 'items_similar'):
            self.register_buffer(name, torch.as_tensor(getattr(tables, name)), persistent=False)
        self.fusion = nn.Linear(4 * spec.llm_width, spec.fusion_size)
        self.output = nn.Linear(spec.fusion_size, spec.hidden_size)

    def forward(self, users: torch.Tensor, items: torch.Tensor) -> torch.Tensor:
        """users [..., 1] and items [..., N] (ids) -> [..., N, H]."""
        user, user_similar, item, item_similar = (
            functional.embedding(ids, table) for ids, table in (
                (users, self.users), (users, self.users_similar), (items, self.items), (items, self.items_similar)))
        both = attention(torch.cat([user, user_similar], -1), torch.cat([item, item_similar], -1))
        wide = torch.cat([attention(user, item), attention(user_similar, item_similar), both], -1)
        return self.output(torch.relu(self.fusion(wide)))


BACKBONES = {'sasrec': SASRec, 'bert4rec': BERT4Rec, 'gru4rec': GRU4Rec}


class Recommender(nn.Module):
    """Item encoder + backbone + scoring.

    Args:
      spec: has the fields of `grasp_jax.models.spec.ModelSpec`; gate 'paper', space 'llm', user context 'text'.
      tables: users, users_similar [n, E], items, items_similar [m + 1, E] float32; None without LLM vectors.
    """

    def __init__(self, spec: Any, tables: Any = None):
        super().__init__()
        printed = (spec.gate, spec.gate_space, spec.user_context, spec.use_similar, spec.use_global)
        if spec.method == 'grasp' and printed != ('paper', 'llm', 'text', True, True):
            raise ValueError(f'the reference has the equations as printed only, not {printed}')
        self.encoder = IdEncoder(spec) if spec.method == 'none' else GraspEncoder(spec, tables)
        self.backbone = BACKBONES[spec.backbone](spec)
        self.mask_vector = (nn.Parameter(0.02 * torch.randn(spec.hidden_size)) if spec.backbone == 'bert4rec'
                            else None)

    def states(self, users: torch.Tensor, items: torch.Tensor, masked: torch.Tensor | None,
               valid: torch.Tensor) -> torch.Tensor:
        """users [B], items [B, L], masked and valid bool [B, L] -> [B, L, H]."""
        inputs = self.encoder(users[:, None], items)
        if masked is not None:
            inputs = torch.where(masked[..., None], self.mask_vector, inputs)
        return self.backbone(inputs, valid)

    def forward(self, batch: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of a batch's true items and negatives, both [B, L] (causal) or [masked positions] (cloze)."""
        states = self.states(batch.users, batch.inputs, batch.masked, batch.valid)
        users, positives, negatives = batch.users[:, None], batch.positives, batch.negatives
        if batch.masked is not None:  # a fifth of the positions: only those are scored
            users, states = users.expand_as(positives)[batch.masked][:, None], states[batch.masked][:, None]
            positives, negatives = positives[batch.masked][:, None], negatives[batch.masked][:, None]
        return tuple((states * self.encoder(users, items)).sum(-1) for items in (positives, negatives))

    def loss(self, batch: Any) -> torch.Tensor:
        """Eq. 6 over one positive and one negative for each position with a target."""
        positive, negative = self(batch)
        if batch.masked is None:
            positive, negative = positive[batch.counted], negative[batch.counted]
        both = torch.cat([positive.flatten(), negative.flatten()])
        truth = torch.cat([torch.ones(positive.numel()), torch.zeros(negative.numel())]).to(both)
        return functional.binary_cross_entropy_with_logits(both, truth)

    @torch.no_grad()
    def score_all(self, users: torch.Tensor, states: torch.Tensor, num_items: int, chunk: int = 4096) -> torch.Tensor:
        """Scores of items 1..m for users [B] with states [B, H]: [B, m], `chunk` (user, item) pairs at a time."""
        columns = []
        step = max(1, chunk // len(users))
        for start in range(1, num_items + 1, step):
            items = torch.arange(start, min(start + step, num_items + 1), device=users.device)
            columns.append((self.encoder(users[:, None], items.expand(len(users), -1)) * states[:, None]).sum(-1))
        return torch.cat(columns, 1)

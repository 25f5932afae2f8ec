"""Moves weights and batches between grasp_jax and the reference."""

from typing import Any

import numpy as np
import torch

from third_party.pytorch_reference.data import Batch

Path = tuple[str, ...]


def weights_to_torch(params: dict[str, Any], spec: Any) -> dict[str, torch.Tensor]:
    """Flax parameters (nested dicts of arrays) -> state dict of the reference's `Recommender`."""
    state = {name: torch.from_numpy(_to_torch(path, np.asarray(_get(params, path)))) for path, name in _pairs(spec)}
    for layer in range(spec.num_layers if spec.backbone == 'gru4rec' else 0):
        name = f'backbone.gru.bias_hh_l{layer}'
        state[name] = torch.cat([torch.zeros(2 * spec.hidden_size), state[name]])
    return state


def weights_to_flax(state: dict[str, torch.Tensor], spec: Any) -> dict[str, Any]:
    """State dict of the reference -> Flax parameters as NumPy arrays. The inverse of `weights_to_torch`."""
    params: dict[str, Any] = {}
    for path, name in _pairs(spec):
        value = state[name].detach().cpu().numpy()
        if name.startswith('backbone.gru.bias_hh'):
            if value[:2 * spec.hidden_size].any():
                raise ValueError(f'{name}: second bias of the reset and update gates is not zero; add it to bias_ih')
            value = value[2 * spec.hidden_size:]
        *folders, last = path
        place = params
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = _to_flax(path, value, spec.num_heads)
    return params


def batch_to_torch(packed: Any, users: np.ndarray, drawn: Any) -> Batch:
    """A packed batch of `grasp_jax.batching.batches` -> the same users, targets and negatives as a padded batch.

    Args:
      packed: `Packed`, fields [R, W].
      users: int [B].
      drawn: `grasp_jax.batching.sampling.Drawn` of this batch, with one negative for each target.
    """
    segment, position = np.asarray(packed.segment), np.asarray(packed.position)
    there = segment > 0
    owner, place = segment[there] - 1, position[there]

    def padded(values: np.ndarray) -> torch.Tensor:
        full = np.zeros((len(users), segment.shape[1]), np.asarray(values).dtype)
        full[owner, place] = np.asarray(values)[there]
        return torch.from_numpy(full)

    causal = drawn.targets.position is None
    negatives = np.zeros(segment.size, np.int64)
    where = np.arange(segment.size).reshape(len(drawn.targets.exist), -1)
    where = where if causal else np.take_along_axis(where, np.asarray(drawn.targets.position), 1)
    exist = np.asarray(drawn.targets.exist)
    negatives[where[exist]] = np.asarray(drawn.negatives)[exist][:, 0]
    items, draws, valid = padded(packed.items).long(), padded(negatives.reshape(segment.shape)), padded(there)
    who = torch.from_numpy(np.array(users)).long()
    if causal:
        return Batch(who, items[:, :-1], items[:, 1:], draws[:, :-1], valid[:, :-1], valid[:, 1:], None)
    hidden = padded(drawn.masked)
    return Batch(who, items, items, draws, valid, hidden, hidden)


def _pairs(spec: Any) -> list[tuple[Path, str]]:
    """Path in the Flax parameters and name in the state dict, for every parameter of a model."""
    if spec.method == 'none':
        pairs = {'encoder/embedding': 'encoder.embedding.weight'}
    else:
        pairs = {'encoder/fusion_kernel': 'encoder.fusion.weight', 'encoder/fusion_bias': 'encoder.fusion.bias',
                 'encoder/output_kernel': 'encoder.output.weight', 'encoder/output_bias': 'encoder.output.bias'}
    if spec.backbone == 'gru4rec':
        pairs |= _dense('backbone/Dense_0', 'backbone.out')
        for layer in range(spec.num_layers):
            flax, gru = f'backbone/GRULayer_{layer}', 'backbone.gru'
            pairs |= {f'{flax}/input/kernel': f'{gru}.weight_ih_l{layer}',
                      f'{flax}/input/bias': f'{gru}.bias_ih_l{layer}',
                      f'{flax}/recurrent': f'{gru}.weight_hh_l{layer}',
                      f'{flax}/candidate_bias': f'{gru}.bias_hh_l{layer}'}
    else:
        pairs |= _transformer(spec)
    if spec.backbone == 'bert4rec':
        pairs['mask_vector'] = 'mask_vector'
    return [(tuple(path.split('/')), name) for path, name in pairs.items()]


def _transformer(spec: Any) -> dict[str, str]:
    pairs = {'backbone/position': 'backbone.position.weight'}
    norms = ['backbone.input_norm'] if spec.backbone == 'bert4rec' else []
    for layer in range(spec.num_layers):
        block = f'backbone.blocks.{layer}'
        norms += [f'{block}.attention_norm', f'{block}.forward_norm']
        for part in ('query', 'key', 'value', 'out'):
            pairs |= _dense(f'backbone/SelfAttention_{layer}/{part}', f'{block}.attention.{part}', part != 'key')
        for dense, place in (('Dense_0', 0), ('Dense_1', 3)):
            pairs |= _dense(f'backbone/FeedForward_{layer}/{dense}', f'{block}.feed_forward.{place}')
    for number, norm in enumerate([*norms, 'backbone.norm']):
        pairs |= {f'backbone/LayerNorm_{number}/scale': f'{norm}.weight',
                  f'backbone/LayerNorm_{number}/bias': f'{norm}.bias'}
    return pairs


def _dense(flax: str, name: str, bias: bool = True) -> dict[str, str]:
    pairs = {f'{flax}/kernel': f'{name}.weight'}
    return pairs | {f'{flax}/bias': f'{name}.bias'} if bias else pairs


def _get(params: dict[str, Any], path: Path) -> Any:
    for key in path:
        params = params[key]
    return params


def _is_kernel(path: Path) -> bool:
    return 'kernel' in path[-1] or path[-1] == 'recurrent'


def _to_torch(path: Path, value: np.ndarray) -> np.ndarray:
    """Kernels [in, out] become weights [out, in]; the heads of an attention are flattened."""
    if not _is_kernel(path):
        return value.reshape(-1).copy() if path[-1] == 'bias' else value.copy()
    rows = value.shape[0] * value.shape[1] if path[-2] == 'out' else value.shape[0]
    return np.ascontiguousarray(value.reshape(rows, -1).T)


def _to_flax(path: Path, value: np.ndarray, num_heads: int) -> np.ndarray:
    in_heads = len(path) > 2 and path[1].startswith('SelfAttention')
    if not _is_kernel(path):
        return value.reshape(num_heads, -1).copy() if in_heads and path[-2] != 'out' else value.copy()
    kernel = value.T
    if in_heads:
        kernel = (kernel.reshape(num_heads, -1, kernel.shape[1]) if path[-2] == 'out'
                  else kernel.reshape(len(kernel), num_heads, -1))
    return np.ascontiguousarray(kernel)

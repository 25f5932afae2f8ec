"""Two views of an item side by side, for a backbone that encodes one at a time."""

import jax


def stack_views(inputs: jax.Array) -> jax.Array:
    """[R, W, 2H] -> [2R, W, H]; the two views of a row stay neighbours, so rows stay where they are on a mesh."""
    rows, width, both = inputs.shape
    return inputs.reshape(rows, width, 2, both // 2).swapaxes(1, 2).reshape(2 * rows, width, both // 2)


def unstack_views(states: jax.Array) -> jax.Array:
    """[2R, W, H] -> [R, W, 2H], the inverse of `stack_views`."""
    rows, width, hidden = states.shape
    return states.reshape(rows // 2, 2, width, hidden).swapaxes(1, 2).reshape(rows // 2, width, 2 * hidden)

"""World knowledge of language models in sequential recommenders.

`Recommender` opens a trained run; it is imported when it is asked for, so that `import grasp_jax` stays light.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from grasp_jax.common.errors import UserError
    from grasp_jax.serving.recommender import Recommender

__all__ = ['Recommender', 'UserError']


def __getattr__(name: str) -> Any:
    if name == 'Recommender':
        from grasp_jax.serving.recommender import Recommender
        return Recommender
    if name == 'UserError':
        from grasp_jax.common.errors import UserError
        return UserError
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')

"""Every method by its name, which is the name of its file in this folder.

A method is a `base.Method`, the last thing in its file, called METHOD: what it is called, what it needs, its item
encoder and its own loss stand together there. Nothing else in the package asks what a method is called. A file that
is added to this folder is a new value of `config.model.method`; a method from elsewhere is added with `register`.
"""

import functools
import importlib
import pkgutil

from grasp_jax.models.methods.base import Method

_registered: dict[str, Method] = {}


def names() -> tuple[str, ...]:
    """All names that `config.model.method` may have, sorted.

    Example:
      >>> 'grasp' in names()
      True
    """
    return tuple(sorted({*_files(), *_registered}))


def named(name: str) -> Method:
    """The method of a name.

    Raises:
      KeyError: there is none.

    Example:
      >>> named('llm_esr').label
      'LLM-ESR'
    """
    return _registered[name] if name in _registered else _of_file(name)


def label(name: str) -> str:
    """What tables and plots call a method; of one that is not there any more, as of an old report, the name.

    Example:
      >>> label('rlmrec'), label('of_last_year')
      ('RLMRec', 'of_last_year')
    """
    return named(name).label if name in names() else name


def is_plain(name: str) -> bool:
    """Whether a method is the backbone alone, by name as `label`.

    Example:
      >>> is_plain('none'), is_plain('grasp')
      (True, False)
    """
    return name in names() and named(name).plain


def register(method: Method) -> None:
    """Adds a method that is not a file of this folder, as one that a notebook tries out.

    Raises:
      ValueError: the name is taken.
    """
    if method.name in names():
        raise ValueError(f'there is a method {method.name} already')
    _registered[method.name] = method


def unregister(name: str) -> None:
    """Takes a method out again that `register` added."""
    del _registered[name]


@functools.cache
def _files() -> frozenset[str]:
    return frozenset(module.name for module in pkgutil.iter_modules(__path__)) - {'base'}


@functools.cache
def _of_file(name: str) -> Method:
    if name not in names():
        raise KeyError(name)
    method: Method = importlib.import_module(f'{__name__}.{name}').METHOD
    assert method.name == name, f'{name}.py: its method is called {method.name}'
    return method

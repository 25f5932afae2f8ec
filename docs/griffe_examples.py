"""Shows the section `Example:` of a docstring as code with prompts, as mkdocstrings shows `Examples:`."""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section before docstrings are parsed."""

    def on_object(self, *, obj: Any, **_: Any) -> None:
        """Called for every object that was found."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r'^(\s*)Example:$', r'\1Examples:', obj.docstring.value, flags=re.MULTILINE)

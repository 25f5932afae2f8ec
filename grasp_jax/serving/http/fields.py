"""Requests in JSON, field by field: what is missing, unknown, of another kind or too much is refused by its name."""

import json
from collections.abc import Sequence
from typing import Any

from grasp_jax.serving.http.problems import Problem

_SHOWN = 80  # characters of a value in an error


class Fields:
    """The fields of a JSON object."""

    def __init__(self, values: dict[str, Any], known: Sequence[str]):
        """Takes the fields.

        Args:
          values: by name.
          known: all names that there are.

        Raises:
          Problem: there is another one.
        """
        other = next((name for name in values if name not in known), None)
        if other is not None:
            raise Problem(400, f'there is no field {shown(other)}; there are {", ".join(known)}')
        self._values = values

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    def number(self, name: str, default: int, most: int) -> int:
        """A whole number from 1 to `most`.

        Raises:
          Problem: it is something else.
        """
        return whole(name, self._values.get(name, default), most)

    def flag(self, name: str, default: bool) -> bool:
        """true or false; `default` where it is null or not there.

        Raises:
          Problem: it is something else.
        """
        found = self._values.get(name)
        found = default if found is None else found
        if not isinstance(found, bool):
            raise Problem(400, f'{name}={shown(found)}: give true or false')
        return found

    def identity(self, name: str, longest: int) -> Any:
        """An id: a text or a number; None where there is none.

        Raises:
          Problem: it is something else, or too long.
        """
        found = self._values.get(name)
        if found is not None:
            _require_id(name, found, longest)
        return found

    def identities(self, name: str, most: int | None, longest: int) -> list[Any] | None:
        """A list of ids; None where there is none.

        Args:
          name: of the field.
          most: how many at most; None: as many as fit into a request.
          longest: characters of an id.

        Raises:
          Problem: it is something else, or too much.
        """
        found = self._values.get(name)
        if found is None:
            return None
        if not isinstance(found, list):
            raise Problem(400, f'{name}={shown(found)}: give a list of ids')
        if most is not None and len(found) > most:
            raise Problem(400, f'{name}: has {len(found)} items; give the last {most} at most')
        for value in found:
            _require_id(name, value, longest)
        return found

    def text(self, name: str, longest: int) -> str | None:
        """A text; None where there is none.

        Raises:
          Problem: it is something else, or too long.
        """
        found = self._values.get(name)
        if found is not None and (not isinstance(found, str) or len(found) > longest):
            raise Problem(400, f'{name}={shown(found)}: give a text of at most {longest} characters')
        return found

    def rows(self, name: str, most: int) -> list[dict[str, Any]]:
        """A list of objects, at least one.

        Raises:
          Problem: it is something else, or too much.
        """
        found = self._values.get(name)
        if not isinstance(found, list) or not found or not all(isinstance(row, dict) for row in found):
            raise Problem(400, f'{name}: give a list of objects, each with an item_id and a title')
        if len(found) > most:
            raise Problem(400, f'{name}: are {len(found)}; give {most} at most')
        return found


def read(body: bytes, known: Sequence[str], empty: bool = False) -> Fields:
    """The fields of a body.

    Args:
      body: JSON.
      known: all names that there are.
      empty: whether there may be no body.

    Raises:
      Problem: it is no JSON object, or has other fields.
    """
    if empty and not body:
        return Fields({}, known)
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):  # not UTF-8, not JSON, a number of 5000 digits, brackets without end
        raise Problem(400, 'the body is no JSON; send an object, as {"history": ["an id"], "k": 10}') from None
    if not isinstance(found, dict):
        raise Problem(400, f'the body is {shown(found)}; send an object, as {{"history": ["an id"], "k": 10}}')
    return Fields(found, known)


def whole(name: str, value: Any, most: int) -> int:
    """A whole number from 1 to `most`.

    Args:
      name: of the field.
      value: a number, or a text from the address.
      most: the largest.

    Raises:
      Problem: it is something else.
    """
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise Problem(400, f'{name}={shown(value)}: give a whole number from 1 to {most}')
    return value


def shown(value: Any) -> str:
    """A value in an error, shortened."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10 ** 20:
        return 'a number of more than 20 digits'
    if isinstance(value, (list, dict)):
        return 'a list' if isinstance(value, list) else 'an object'
    found = json.dumps(value, ensure_ascii=False) if isinstance(value, (bool, type(None))) else repr(value)
    return found if len(found) <= _SHOWN else found[:_SHOWN] + '...'


def _require_id(name: str, value: Any, longest: int) -> None:
    if isinstance(value, str):
        if len(value) > longest:
            raise Problem(400, f'{name}: the id {shown(value)} has {len(value)} characters; {longest} are the most')
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Problem(400, f'{name}: {shown(value)} is no id; give texts or numbers')

"""Values of fields from files and command lines, checked against the types of a dataclass's fields.

Known types: whole numbers, numbers, true or false, text, each or None, and tuples of them, nested as well; of what JSON
holds also lists, and mappings by text.
"""

from __future__ import annotations

import ast
import dataclasses
import sys
import types
import typing
from typing import Any

from data.errors import UserError

_PLAIN: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


def typed(value: Any, hint: Any) -> Any:
    """A value as the type of its field: lists become tuples, and whole numbers numbers where those are meant.

    Raises:
        TypeError: it is something else.
    """
    if is_optional(hint):
        return None if value is None else typed(value, _inner(hint))
    if typing.get_origin(hint) is tuple and isinstance(value, list | tuple):
        inner = typing.get_args(hint)
        each = [inner[0]] * len(value) if _is_open_tuple(hint) else inner
        if len(each) == len(value):
            return tuple(typed(item, kind) for item, kind in zip(value, each, strict=True))
    elif typing.get_origin(hint) is list and isinstance(value, list):
        return [typed(item, typing.get_args(hint)[0]) for item in value]
    elif typing.get_origin(hint) is dict and isinstance(value, dict):
        return {typed(key, str): typed(item, typing.get_args(hint)[1]) for key, item in value.items()}
    elif hint is float and type(value) in (int, float):
        return float(value)
    elif type(value) is hint:
        return value
    raise TypeError


def check_plain(config: Any, **least: float) -> None:
    """UserError unless the fields of a dataclass that are of plain types hold whole numbers, numbers, true or false, or
    text, as their types say; or None where those say so. NaN and infinity are no numbers.

    Annotations have to be postponed where the dataclass is written. Fields of other types are not looked at.

    Args:
        least: the least number that a field of that name may hold.
    """
    for field in dataclasses.fields(config):
        value, optional = getattr(config, field.name), field.type.endswith(" | None")
        kind = _PLAIN.get(field.type.removesuffix(" | None"))
        if kind is None or (optional and value is None):
            continue
        if not _is_plain(value, kind) or (field.name in least and value < least[field.name]):
            start = f" from {least[field.name]:g} on" if field.name in least else ""
            raise UserError(
                f"{field.name} = {value!r}: has to be {wording(kind)}{start}{' or None' if optional else ''}"
            )


def _is_plain(value: Any, kind: type) -> bool:
    if kind is float:
        # Whole numbers may be too large for one.
        return isinstance(value, int | float) and type(value) is not bool and abs(value) <= sys.float_info.max
    return type(value) is kind


def from_text(text: str, hint: Any) -> Any:
    """What a command line says of a field: `3`, `0.5,1.5`, `true`, `[[4, 10], [3.5, 8]]`; to be checked by `typed`."""
    if hint is str or (is_optional(hint) and _inner(hint) is str):
        return text
    value: Any
    if text.strip().lower() in ("true", "false"):
        value = text.strip().lower() == "true"
    else:
        try:
            value = ast.literal_eval(text.strip())
        except (ValueError, SyntaxError):
            value = text
    return (value,) if _is_open_tuple(hint) and not isinstance(value, list | tuple) else value


def wording(hint: Any) -> str:
    """What a field takes, for messages."""
    if is_optional(hint):
        return f"{wording(_inner(hint))} or nothing"
    if typing.get_origin(hint) is not tuple:
        return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}[hint]
    inner = typing.get_args(hint)
    if _is_open_tuple(hint):
        return "a list of whole numbers"
    if typing.get_origin(inner[0]) is tuple:
        return f"a list of {len(inner)} pairs of numbers"
    return "a pair of whole numbers" if inner[0] is int else "a pair of numbers"


def is_optional(hint: Any) -> bool:
    """Whether a type is another one or None."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and type(None) in typing.get_args(hint)


def _inner(hint: Any) -> Any:
    (inner,) = (kind for kind in typing.get_args(hint) if kind is not type(None))
    return inner


def _is_open_tuple(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[-1] is Ellipsis

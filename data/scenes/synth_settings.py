"""What synthetic data is like, from a file of settings and from the command line, which goes first."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from data.errors import UserError
from data.fields import typed
from data.scenes.synth import SynthSettings


def synth_settings(
    given: Mapping[str, Any], where: str, options: Mapping[str, Any], scene: Mapping[str, Any]
) -> SynthSettings:
    """Settings as a file has them, with `options` (None: not given) and fields of `scene` in place of the file's.

    Args:
        given: the file's fields; empty without a file.
        where: the file, for messages.

    Raises:
        UserError: an unknown field, or a value of another type or out of its range.
    """
    _check(given, where)
    values = dict(given)
    of_scene = values.pop("scene", None) or {}
    if not isinstance(of_scene, dict):
        raise UserError(f"{where}: scene = {of_scene!r}: has to be a mapping of fields")
    values |= {name: value for name, value in options.items() if value is not None}
    return SynthSettings(**values, scene={**of_scene, **scene})


def _check(given: Mapping[str, Any], where: str) -> None:
    kinds = {field.name: str(field.type) for field in fields(SynthSettings)}
    hints = typing.get_type_hints(SynthSettings)
    for name, value in given.items():
        if name not in kinds:
            near = difflib.get_close_matches(str(name), kinds, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{where}: {name!r} is not a field; {hint}there are: {', '.join(kinds)}")
        if name == "scene":
            continue  # which has fields of its own
        try:
            typed(value, hints[name])
        except TypeError:
            raise UserError(f"{where}: {name} = {value!r}: has to be of type {kinds[name]}") from None

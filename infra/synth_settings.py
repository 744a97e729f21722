"""What synthetic data is like, from a YAML file and from the command line, which goes first."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from data.errors import UserError
from data.synth import SynthSettings
from infra.console.yaml_files import read_mapping

_TYPES: dict[str, tuple[type, ...]] = {
    "int": (int,),
    "int | None": (int, type(None)),
    "float": (int, float),
    "bool": (bool,),
    "str": (str,),
}


def synth_settings(file: Path | None, options: Mapping[str, Any], scene: Mapping[str, Any]) -> SynthSettings:
    """Settings from the file, with `options` (None: not given) and fields of `scene` in place of the file's.

    Raises:
        UserError: a file that is no YAML mapping, an unknown field, or a value out of its range.
    """
    values = {} if file is None else _read(file)
    of_scene = values.pop("scene", None) or {}
    if not isinstance(of_scene, dict):
        raise UserError(f"{file}: scene = {of_scene!r}: has to be a mapping of fields")
    values |= {name: value for name, value in options.items() if value is not None}
    return SynthSettings(**values, scene={**of_scene, **scene})


def _read(file: Path) -> dict[str, Any]:
    values = read_mapping(file, "fields, e.g. `train_clips: 20`")
    kinds = {field.name: str(field.type) for field in fields(SynthSettings)}
    for name, value in values.items():
        if name not in kinds:
            near = difflib.get_close_matches(str(name), kinds, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise UserError(f"{file}: {name!r} is not a field; {hint}there are: {', '.join(kinds)}")
        expected = _TYPES.get(kinds[name])
        if expected is not None and type(value) not in expected:
            raise UserError(f"{file}: {name} = {value!r}: has to be of type {kinds[name]}")
    return values
